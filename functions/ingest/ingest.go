// Package ingest is the door for events: POST /v1/events takes CloudEvents 1.0
// over HTTP in all three content modes (SPEC C4).
//
// An event is answered with 2xx only when it is durable in the broker's
// journal. In a batch every event has a verdict of its own, so one bad event
// sinks no other. The door stamps each event with its project and its first
// topic, and refuses events that bring such attributes along: what begins with
// "selvedge" is the platform's word.
package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/go-chi/chi/v5"

	devicesv1 "selvedge.dev/functions/devices/v1"
	ingestv1 "selvedge.dev/functions/ingest/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/triggers/broker"
)

// Publisher makes events durable; the embedded broker is one.
type Publisher interface {
	// Publish returns a verdict for every event once all are durable. It may
	// keep the events.
	Publish(ctx context.Context, events []event.Event) ([]broker.Verdict, error)
}

// DefaultProject is the project of an administrator's events that name none.
const DefaultProject = "default"

// Service is the door. All fields are required but Limits and MayPublish.
type Service struct {
	Broker  Publisher
	Devices devicesv1.Reader
	Limits  event.Limits
	// MayPublish is iam.Authorizer's; nil decides by what the caller is alone.
	MayPublish func(ctx context.Context, source, device string) error

	mu     sync.Mutex
	counts map[string]int64
}

// Routes adds the door to r, which must put an iam.Principal in the context.
func (s *Service) Routes(r chi.Router) {
	r.Post("/v1/events", s.post)
}

// post handles POST /v1/events.
func (s *Service) post(w http.ResponseWriter, r *http.Request) {
	principal := iam.PrincipalOf(r.Context())
	if principal.Kind == iam.Anonymous {
		s.refuse(w, iam.Allow(principal, "", iam.Publish))
		return
	}
	items, mode, err := event.FromRequest(r, s.Limits)
	if err != nil {
		s.refuse(w, err)
		return
	}
	verdicts, err := s.take(r.Context(), principal, items)
	if err != nil {
		s.refuse(w, err)
		return
	}
	if mode != event.Batch {
		if err := items[0].Err; err != nil {
			fault.Write(w, err)
			return
		}
		w.Header().Set(ingestv1.VerdictHeader, verdicts[0].Status)
		w.WriteHeader(http.StatusAccepted)
		return
	}
	status := http.StatusAccepted
	for i := range verdicts {
		if verdicts[i].Status == ingestv1.StatusRejected {
			status = http.StatusMultiStatus
		}
	}
	body, err := json.Marshal(verdicts)
	if err != nil {
		fault.Write(w, fmt.Errorf("verdicts: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the events are safe whether or not the client reads this
}

// take admits and publishes the events of a request. Items that are not
// admitted get their error. The error returned is about all of them.
func (s *Service) take(ctx context.Context, p iam.Principal, items []event.Item) ([]ingestv1.Verdict, error) {
	events := make([]event.Event, 0, len(items))
	for i := range items {
		if items[i].Err == nil {
			items[i].Err = s.admit(ctx, p, &items[i].Event)
		}
		if items[i].Err == nil {
			events = append(events, items[i].Event)
		} else if kind := fault.KindOf(items[i].Err); kind == fault.Unavailable || kind == fault.Internal {
			// Not the event's fault: the publisher must try them all again.
			return nil, items[i].Err
		}
	}
	outcome, err := s.Broker.Publish(ctx, events)
	if err != nil {
		return nil, err
	}
	verdicts := make([]ingestv1.Verdict, len(items))
	next := 0
	counts := map[string]int64{}
	for i := range items {
		v := &verdicts[i]
		v.ID, v.Source = items[i].Event.ID(), event.SourceOf(&items[i].Event)
		switch {
		case items[i].Err != nil:
			v.Status, v.Error = ingestv1.StatusRejected, new(fault.ProblemOf(items[i].Err).Error)
			counts[ingestv1.StatusRejected+":"+fault.ReasonOf(items[i].Err)]++
			continue
		case outcome[next] == broker.Duplicate:
			v.Status = ingestv1.StatusDuplicate
		default:
			v.Status = ingestv1.StatusAccepted
		}
		counts[v.Status]++
		next++
	}
	s.count(counts)
	return verdicts, nil
}

// admit checks that p may post e, and stamps e with its project and topic.
func (s *Service) admit(ctx context.Context, p iam.Principal, e *event.Event) error {
	if name := event.FirstReserved(e); name != "" {
		return &fault.Error{
			Op: "ingest", Kind: fault.Invalid, Reason: "RESERVED_ATTRIBUTE", Field: name,
			Err: fmt.Errorf("%s: attributes that begin with %q are set by the platform only", name, event.Reserved),
		}
	}
	resolved, err := s.resolveOwn(ctx, p, e)
	if err != nil {
		return err
	}
	mayPublish := s.MayPublish
	if mayPublish == nil {
		mayPublish = func(ctx context.Context, source, device string) error {
			return iam.MayPublish(iam.PrincipalOf(ctx), source, device)
		}
	}
	source := event.SourceOf(e)
	if err := mayPublish(ctx, source, resolved); err != nil {
		return err
	}
	project := p.Project
	if name, ok := strings.CutPrefix(source, event.Authority); ok {
		if in := resource.Name(name).Project(); in != "" {
			project = in
		}
	}
	if project == "" {
		project = DefaultProject
	}
	if _, err := resource.Project.Parse("projects/" + project); err != nil {
		return &fault.Error{Op: "ingest", Kind: fault.Invalid, Reason: "INVALID_EVENT", Field: "source", Err: fmt.Errorf("source: %w", err)}
	}
	event.Set(e, event.Project, project)
	event.Set(e, event.Route, event.RouteProcessor)
	return nil
}

// resolveOwn resolves the alias of an event that a device posts under another
// source than its own name: the device may do so if the alias is its own. For
// everybody else the processor resolves it later, and "" is returned.
func (s *Service) resolveOwn(ctx context.Context, p iam.Principal, e *event.Event) (string, error) {
	alias := devicesv1.External{
		Network: event.Extension(e, event.NetworkID),
		Key:     event.Extension(e, event.AliasKey),
		Value:   event.Extension(e, event.AliasValue),
	}
	if p.Kind != iam.Device || alias == (devicesv1.External{}) || e.Source() == event.Source(string(p.Device)) {
		return "", nil
	}
	d, err := s.Devices.Resolve(ctx, p.Project, alias)
	switch {
	case fault.KindOf(err) == fault.NotFound && err != nil:
		return "", nil
	case err != nil:
		return "", fmt.Errorf("resolve alias: %w", err)
	}
	return d.Name, nil
}

// refuse answers a request of which no event was taken.
func (s *Service) refuse(w http.ResponseWriter, err error) {
	s.count(map[string]int64{ingestv1.StatusRejected + ":" + fault.ReasonOf(err): 1})
	fault.Write(w, err)
}

// maxCounted bounds the distinct words in Counts. There are about twenty; more
// would mean that a reason is made from input.
const maxCounted = 100

// count adds to the figures of Counts.
func (s *Service) count(add map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[string]int64{}
	}
	for k, n := range add {
		if _, known := s.counts[k]; !known && len(s.counts) >= maxCounted {
			k = ingestv1.StatusRejected
		}
		s.counts[k] += n
	}
}

// Counts are the events since the start by outcome: accepted, duplicate, and
// rejected with a colon and the reason. A request that was refused as a whole
// counts once.
func (s *Service) Counts() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]int64, len(s.counts))
	for k, n := range s.counts {
		out[k] = n
	}
	return out
}
