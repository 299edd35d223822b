// Package threshold is an example of a user's function: it sees the readings
// of devices and replies an alert when one crosses a limit.
//
// It alerts when a field goes beyond a limit, not for every reading beyond it.
// What is beyond is remembered in memory: after a restart, the first reading
// that is still beyond alerts again. One event makes one alert; if it crosses
// several limits, the first in the configuration is alerted now and the others
// with the next reading. Readings are judged in the order of their arrival.
package threshold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// Function watches limits. Handle may be called concurrently.
type Function struct {
	// Limits are what is watched.
	Limits []Limit

	mu sync.Mutex
	// beyond has the fields that are beyond their limits.
	beyond map[watched]crossing
}

// watched is a limit, by its place in Limits, of one device.
type watched struct {
	device string
	limit  int
}

// crossing is how a field came to be beyond its limit.
type crossing struct{ direction, eventID string }

// Alert is the data of an alert.
type Alert struct {
	Device    string  `json:"device"`
	Field     string  `json:"field"`
	Value     float64 `json:"value"`
	Limit     float64 `json:"limit"`
	Direction string  `json:"direction"`
	EventID   string  `json:"eventId"`
}

var _ interface {
	function.Handler
	function.Starter
	function.Bulk
} = (*Function)(nil)

// New returns the function with the limits of the examples: memory that is
// nearly full on a machine with the edge runtime, and a room that is too hot.
func New() *Function {
	return &Function{Limits: []Limit{
		{EventType: event.TypeHost, Field: "memory/used_ratio", Above: new(0.95)},
		{EventType: "com.example.climate", Field: "temperature", Above: new(30.0)},
	}}
}

// Start takes the limits from the environment variable THRESHOLDS, if it is
// there: a JSON list of Limit.
func (f *Function) Start(_ context.Context, env map[string]string) (err error) {
	if text := env["THRESHOLDS"]; text != "" {
		f.Limits, err = parse(text)
	}
	return err
}

// Handle replies an alert if the reading in e crosses a limit.
func (f *Function) Handle(_ context.Context, e event.Event) (*event.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	device, data := event.Extension(&e, event.Device), any(nil)
	for i, limit := range f.Limits {
		if limit.EventType != e.Type() {
			continue
		}
		if data == nil && json.Unmarshal(e.Data(), &data) != nil {
			return nil, &fault.Error{Op: "threshold.Handle", Kind: fault.Invalid, Reason: "MALFORMED_JSON", Field: "data", Err: errors.New("the data is not JSON")}
		}
		value, ok := limit.read(data)
		direction, bound := limit.judge(value)
		if ok && f.crosses(watched{device, i}, crossing{direction, e.ID()}) {
			return alert(&e, Alert{device, limit.Field, value, bound, direction, e.ID()})
		}
	}
	return nil, nil
}

// HandleAll is Handle of events, of which it decodes those that there are limits
// for.
func (f *Function) HandleAll(ctx context.Context, events []function.Arrived, outcomes []function.Outcome) {
	for i := range events {
		if !slices.ContainsFunc(f.Limits, func(l Limit) bool { return l.EventType == string(events[i].Head.Type()) }) {
			continue
		}
		e, err := events[i].Event()
		if err != nil {
			outcomes[i].Err = &fault.Error{Op: "threshold.HandleAll", Kind: fault.Invalid, Reason: "EVENT_UNREADABLE", Err: err}
			continue
		}
		outcomes[i].Reply, outcomes[i].Err = f.Handle(ctx, e)
	}
}

// crosses remembers that w went to now, and reports whether that is news. The
// event that brought the news brings it again, should it be redelivered.
func (f *Function) crosses(w watched, now crossing) bool {
	if f.beyond == nil {
		f.beyond = map[watched]crossing{}
	}
	was := f.beyond[w]
	if now.direction == "" {
		delete(f.beyond, w)
	} else if now.direction != was.direction {
		f.beyond[w] = now
	}
	return now.direction != "" && f.beyond[w] == now
}

// alert is the reply to e. Its id follows from e and the field, so that the
// broker knows it again.
func alert(e *event.Event, data Alert) (*event.Event, error) {
	a := event.New()
	a.SetType(event.TypeAlert)
	a.SetSource(event.Source("functions/threshold"))
	a.SetID(fmt.Sprintf("%s/%s/%s", e.Source(), e.ID(), data.Field))
	a.SetSubject(data.Device)
	a.SetTime(e.Time())
	a.SetExtension(event.Project, event.Extension(e, event.Project))
	return &a, a.SetData("application/json", data)
}
