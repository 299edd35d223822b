package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// eventsLog is the log of the events that are kept.
const eventsLog = "selvedge.dev/events"

// The pages of events.
const (
	defaultEvents = 100
	maxEvents     = 1000
)

// entryOfEvent is an event as an entry: its payload is the event in CloudEvents'
// JSON, its insert id follows from source and id.
func entryOfEvent(e *event.Event) (logstore.Entry, error) {
	text, err := encode(e)
	if err != nil {
		return logstore.Entry{}, err
	}
	out := logstore.Entry{
		Log: eventsLog, Time: e.Time().UTC(), InsertID: hashOf(e.Source(), e.ID()),
		Labels:  map[string]string{"event_type": e.Type()},
		Payload: logstore.Payload{Kind: logstore.JSON, Data: text},
	}
	if e.Type() == event.TypeAlert {
		out.Severity = logstore.Warning
	}
	for _, name := range []string{e.Subject(), strings.TrimPrefix(e.Source(), event.Authority)} {
		if device, err := resource.ParseDevice(name); err == nil {
			out.ResourceType = deviceType
			out.ResourceLabels = map[string]string{"project_id": device.Project(), "device_id": device.ID()}
			break
		}
	}
	return out, nil
}

// PutEvents writes events of a project as the function does. The result has for
// each of them nil or why it was refused; an error is of all.
func (d *Doors) PutEvents(ctx context.Context, project string, events []event.Event) ([]error, error) {
	verdicts := make([]error, len(events))
	entries, places := map[string][]logstore.Entry{}, map[string][]int{} // by device
	for i := range events {
		e, err := entryOfEvent(&events[i])
		if err != nil {
			verdicts[i] = &fault.Error{Op: "logging.PutEvents", Kind: fault.Invalid, Reason: "NO_JSON_FORM", Field: "data", Err: err}
			continue
		}
		device := deviceOf(&events[i])
		entries[device], places[device] = append(entries[device], e), append(places[device], i)
	}
	for device, of := range entries {
		found, err := d.Put(ctx, project, device, of)
		if err != nil {
			return nil, err
		}
		for i, err := range found {
			verdicts[places[device][i]] = err
		}
	}
	return verdicts, nil
}

// encode is an event in CloudEvents' JSON. Data that would not come back from it
// as it was, such as text in no UTF-8, is put in base64.
func encode(e *event.Event) ([]byte, error) {
	text, err := json.Marshal(e) // which refuses data that is not the JSON that it says
	if err != nil {
		return nil, err
	}
	if text, err = logstore.CompactJSON(text); err == nil {
		var back event.Event
		if back, err = event.FromJSON(text); err == nil && bytes.Equal(compactData(back.Data()), compactData(e.Data())) {
			return text, nil
		}
	}
	if e.DataBase64 {
		return nil, errors.Join(errors.New("the event has no form in JSON"), err)
	}
	clone := event.Clone(e)
	clone.DataBase64 = true
	return encode(&clone)
}

// compactData is data without the white space of JSON, if it is JSON.
func compactData(data []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, data) != nil {
		return data
	}
	return out.Bytes()
}

// eventQuery is what a list of events is about: each attribute as a whole, ""
// being any.
type eventQuery struct {
	eventType, source, subject string
	from, to                   time.Time
	size                       int
	token                      string
}

// eventList is the answer of a list of events.
type eventList struct {
	Events        []json.RawMessage `json:"events"`
	NextPageToken string            `json:"nextPageToken,omitempty"`
}

// restEvents answers GET /v1/projects/P/events, the newest first.
func (d *Doors) restEvents(w http.ResponseWriter, r *http.Request) error {
	project := chi.URLParam(r, "project")
	if err := d.allow(r.Context(), ListEvents, resource.Name("projects/"+project)); err != nil {
		return err
	}
	if err := checkProject(project); err != nil {
		return err
	}
	q, err := parseEventQuery(r)
	if err != nil {
		return err
	}
	answer, err := d.events(r.Context(), project, q)
	if err != nil {
		return err
	}
	return reply(w, append(mustJSON(json.Marshal(answer)), '\n'))
}

// events is a page of the events of a project.
func (d *Doors) events(ctx context.Context, project string, q *eventQuery) (*eventList, error) {
	of := hashOf(project, q.eventType, q.source, q.subject, q.from.String(), q.to.String())
	after, err := readToken(q.token, of)
	if err != nil {
		return nil, err
	}
	s, err := d.o.Registry.scope(ctx, project)
	if err != nil {
		return nil, err
	}
	sel := &selection{parts: []part{{project, s.ids()}}, filter: q.filter(), from: q.from, to: q.to}
	out := &eventList{Events: []json.RawMessage{}}
	for {
		found, next, err := d.list(ctx, sel, true, q.size, after)
		if err != nil {
			return nil, err
		}
		for i := range found {
			if !q.fits(found[i].Payload.Data) {
				continue // the language of filters does not tell case apart
			}
			if len(out.Events) == q.size {
				// Reached only if what was left out before made room.
				last := &found[i-1]
				next = map[string]place{project: {last.Time.UnixNano(), last.InsertID, last.Log, last.Bucket}}
				out.NextPageToken = token{of, next}.String()
				return out, nil
			}
			out.Events = append(out.Events, found[i].Payload.Data)
		}
		if next == nil {
			return out, nil
		}
		if len(out.Events) == q.size {
			out.NextPageToken = token{of, next}.String()
			return out, nil
		}
		after = next
	}
}

// filter selects the events of a query, and those that differ in case only.
func (q *eventQuery) filter() filter.Expr {
	terms := []filter.Expr{ofLog(eventsLog)}
	for name, v := range map[string]string{"type": q.eventType, "source": q.source, "subject": q.subject} {
		if v != "" {
			terms = append(terms, &filter.Comparison{Path: []string{"jsonPayload", name}, Op: filter.Equal, Value: filter.Value{Text: v, Quoted: true}})
		}
	}
	if len(terms) == 1 {
		return terms[0]
	}
	return &filter.And{Terms: terms}
}

// fits reports whether an event is one of the query.
func (q *eventQuery) fits(text []byte) bool {
	var e struct{ Type, Source, Subject string }
	if json.Unmarshal(text, &e) != nil {
		return false
	}
	return (q.eventType == "" || e.Type == q.eventType) && (q.source == "" || e.Source == q.source) && (q.subject == "" || e.Subject == q.subject)
}

// parseEventQuery reads the parameters of a list of events. One that is unknown
// or there twice is an error, and so is one that is there and empty: none of them
// selects nothing.
func parseEventQuery(r *http.Request) (*eventQuery, error) {
	q := &eventQuery{size: defaultEvents}
	for name, values := range r.URL.Query() {
		var err error
		switch v := values[0]; {
		case len(values) > 1:
			err = errors.New("is there more than once")
		case v == "" && name != "pageToken":
			err = errors.New("is empty")
		default:
			err = q.set(name, v)
		}
		if err != nil {
			return nil, &fault.Error{
				Op: "logging.events", Kind: fault.Invalid, Reason: "INVALID_PARAMETER", Field: name,
				Err: fmt.Errorf("the parameter %q %w", name, err),
			}
		}
	}
	return q, nil
}

// set sets the parameter name of q. The error ends a sentence that begins with
// the parameter.
func (q *eventQuery) set(name, v string) (err error) {
	switch name {
	case "type":
		q.eventType = v
	case "source":
		q.source = v
	case "subject":
		q.subject = v
	case "startTime":
		q.from, err = parseTime(v)
	case "endTime":
		q.to, err = parseTime(v)
	case "pageSize":
		n, e := strconv.Atoi(v)
		if e != nil || n < 0 {
			return fmt.Errorf("is %q, not a whole number from 0 on", v)
		}
		if n > 0 {
			q.size = min(n, maxEvents)
		}
	case "pageToken":
		q.token = v
	default:
		err = errors.New("does not exist")
	}
	return err
}

// parseTime reads an RFC 3339 time.
func parseTime(v string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return t, fmt.Errorf("is %q, not a time like 2026-06-01T12:00:00Z", v)
	}
	return t.UTC(), nil
}

// HasEvents reports whether something of a project is kept, but records of the
// audit.
func (d *Doors) HasEvents(ctx context.Context, project string) (bool, error) {
	s, err := d.o.Registry.scope(ctx, project)
	if err != nil {
		return false, err
	}
	found, err := d.o.Reader.List(ctx, logstore.Query{Selection: logstore.Selection{Project: project, Buckets: s.ids()}, Limit: 1})
	return len(found) > 0, err
}

// bucketOf is the bucket of what a device says: the one of its own name, if it
// has one, and otherwise the default one.
func (s *scope) bucketOf(device string) *bucket {
	if b := s.buckets[device]; b != nil && device != "" && !strings.HasPrefix(device, "_") {
		return b
	}
	return s.buckets[loggingv1.DefaultBucket]
}
