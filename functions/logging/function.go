package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"cloud.google.com/go/logging/apiv2/loggingpb"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/resource"
)

// deviceLog is the log of what devices say that name none.
const deviceLog = "device"

// Function is the function of events: those of the type loggingv1.TypeLog bring
// entries of their own, all others become one entry each. What it returned for is
// durable; the same event again is stored once. Handle may be called
// concurrently.
type Function struct {
	// Entries are where the entries go.
	Entries Entries
}

// Entries take in what events bring: [Doors], or those of another process
// ([NewRemote]).
type Entries interface {
	// Put writes entries of a project, durably on return, into the bucket that has
	// the name of a device, or into the default one if there is none. The result
	// has for each entry nil or why it was refused; an error is of all.
	Put(ctx context.Context, project, device string, entries []logstore.Entry) ([]error, error)
}

var _ function.Handler = (*Function)(nil)

// Handle stores e in its project.
func (f *Function) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	bad := func(reason, field string, err error) error {
		return &fault.Error{Op: "logging.Handle", Kind: fault.Invalid, Reason: reason, Field: field, Err: err}
	}
	project := event.Extension(&e, event.Project)
	if _, err := resource.Project.Format(project); err != nil {
		return nil, bad("NO_PROJECT", event.Project, errors.New("the event belongs to no project"))
	}
	var entries []logstore.Entry
	if e.Type() == loggingv1.TypeLog {
		var err error
		if entries, err = entriesOfEvent(&e, project); err != nil {
			return nil, bad("MALFORMED_LOG", "data", err)
		}
	} else {
		one, err := entryOfEvent(&e)
		if err != nil {
			return nil, bad("NO_JSON_FORM", "data", err)
		}
		entries = []logstore.Entry{one}
	}
	verdicts, err := f.Entries.Put(ctx, project, deviceOf(&e), entries)
	if err != nil {
		return nil, err
	}
	lost := losses(verdicts)
	if len(entries) == 1 && len(lost) == 1 {
		return nil, verdicts[0]
	}
	for _, l := range lost {
		function.Drop(ctx, l.Reason, l.Count)
	}
	return nil, nil
}

// Put implements [Entries].
func (d *Doors) Put(ctx context.Context, project, device string, entries []logstore.Entry) ([]error, error) {
	s, err := d.o.Registry.scope(ctx, project)
	if err != nil {
		return nil, err
	}
	return d.put(ctx, s, s.bucketOf(device), &delivery{project: project, entries: entries})
}

// deviceOf is the id of the device that an event comes from, "" if it comes from
// somebody else.
func deviceOf(e *event.Event) string {
	name, ours := strings.CutPrefix(e.Source(), event.Authority)
	device, err := resource.ParseDevice(name)
	if !ours || err != nil || device.Project() != event.Extension(e, event.Project) {
		return ""
	}
	return device.ID()
}

// entriesOfEvent are the entries that an event brings: its data is a LogEntry of
// Google's in JSON, or {"entries": […]} of them. What they do not say follows
// from the event: the time, the insert id, and the device that they are about.
func entriesOfEvent(e *event.Event, project string) ([]logstore.Entry, error) {
	data := bytes.TrimSpace(e.Data())
	var several struct {
		Entries []json.RawMessage `json:"entries"`
	}
	if err := json.Unmarshal(data, &several); err != nil {
		return nil, err
	}
	if several.Entries == nil {
		several.Entries = []json.RawMessage{data}
	}
	if len(several.Entries) > maxEntries {
		return nil, fmt.Errorf("there are %d entries, and at most %d can be", len(several.Entries), maxEntries)
	}
	out := make([]logstore.Entry, len(several.Entries))
	for i, text := range several.Entries {
		p, raw, err := entryFromJSON(text)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		if out[i], err = entryWithin(e, project, p, raw); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		if out[i].InsertID == "" {
			out[i].InsertID = hashOf(e.Source(), e.ID(), fmt.Sprint(i))
		}
	}
	return out, nil
}

// entryWithin is one of the entries of an event.
func entryWithin(e *event.Event, project string, p *loggingpb.LogEntry, raw []byte) (logstore.Entry, error) {
	out, err := fromGoogle(p, raw)
	if err != nil {
		return out, err
	}
	out.Log = deviceLog
	if p.GetLogName() != "" {
		var of string
		if of, out.Log, err = parseLogName("logName", p.GetLogName()); err != nil {
			return out, err
		}
		if of != project {
			return out, fmt.Errorf("the log %s is of another project", p.GetLogName())
		}
	}
	if out.Time.IsZero() {
		out.Time = e.Time().UTC()
	}
	if device := deviceOf(e); device != "" { // which is who says so, whatever it says
		out.ResourceType = deviceType
		out.ResourceLabels = map[string]string{"project_id": project, "device_id": device}
	}
	defaults(&out, project, nil, nil)
	return out, nil
}
