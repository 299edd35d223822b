// Package handle is where your code goes.
package handle

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
)

// reading is the data of the events that this function is for.
type reading struct {
	Temperature *float64 `json:"temperature"`
}

// limit is how warm it may be, in degrees Celsius.
const limit = 30

// Handle is called with every event that the function is subscribed to, at least
// once, and by several requests at once. The event that it returns, if any, goes
// back to the broker as a reply. An event that it returns an error for comes
// again, unless the error is a [Refusal].
func Handle(_ context.Context, e event.Event) (*event.Event, error) {
	var r reading
	if err := json.Unmarshal(e.Data(), &r); err != nil {
		return nil, &Refusal{fmt.Errorf("the data is no reading: %w", err)}
	}
	if r.Temperature == nil || *r.Temperature <= limit {
		return nil, nil
	}
	alert := event.New()
	// An id that follows from the event's own, so that the alert of an event that
	// comes twice counts once.
	alert.SetID(e.ID() + "-warm")
	alert.SetSource(e.Source())
	alert.SetType("com.example.warm")
	return &alert, alert.SetData("application/json", map[string]float64{"temperature": *r.Temperature, "limit": limit})
}

// Refusal is an error that would be the same the next time: the event is not
// delivered again.
type Refusal struct{ Err error }

// Error implements error.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap is the cause.
func (r *Refusal) Unwrap() error { return r.Err }
