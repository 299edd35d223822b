package scheduler

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// Timers are the timers that events set: those of a [Service].
type Timers interface {
	// Set makes a timer, or changes the one of its name to it.
	Set(ctx context.Context, t *schedulerv1.Timer) error
	// Cancel deletes a timer, if it is there.
	Cancel(ctx context.Context, name resource.Name) error
}

// Function sets the timers that events of the type schedulerv1.TypeSetTimer ask
// for. The same event again does nothing, also after the timer fired: it fires
// under the same id again, which the broker drops. Handle may be called
// concurrently.
type Function struct {
	// Timers are where they are set.
	Timers Timers
}

var _ function.Handler = (*Function)(nil)

// Handle sets the timer that e asks for.
func (f *Function) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	if event.Extension(&e, event.Route) != "" {
		return nil, refuse(fault.Denied, "FROM_OUTSIDE", "selvedgeroute", errors.New("functions set timers, not devices"))
	}
	project, err := resource.Project.Format(event.Extension(&e, event.Project))
	if err != nil {
		return nil, refuse(fault.Invalid, "NO_PROJECT", event.Project, err)
	}
	var set schedulerv1.SetTimer
	d := json.NewDecoder(bytes.NewReader(e.Data()))
	d.DisallowUnknownFields()
	if err := d.Decode(&set); err != nil {
		return nil, refuse(fault.Invalid, "MALFORMED_TIMER", "data", err)
	}
	sum := sha256.Sum256([]byte(e.Source() + "\x00" + e.ID()))
	mark := "e-" + hex.EncodeToString(sum[:12])
	id := set.ID
	if id == "" {
		id = mark
	}
	if set.Cancel {
		name, err := resource.Pattern("projects/{project}/timers/{timer}").Parse(string(project) + "/timers/" + id)
		if err != nil {
			return nil, refuse(fault.Invalid, "MALFORMED_TIMER", "id", err)
		}
		return nil, f.Timers.Cancel(ctx, name)
	}
	at, err := timeOf(&set, &e)
	if err != nil {
		return nil, refuse(fault.Invalid, "MALFORMED_TIMER", "after", err)
	}
	t := &schedulerv1.Timer{
		Name:     string(project) + "/timers/" + id,
		Metadata: &resourcev1.Metadata{Annotations: map[string]string{setBy: mark}},
		Schedule: &schedulerv1.Timer_At{At: timestamppb.New(at)}, DeleteWhenDone: true,
		Event: &schedulerv1.TimerEvent{Type: set.Event.Type, Subject: set.Event.Subject, Extensions: set.Event.Extensions},
	}
	if set.Event.Data != nil {
		data, err := json.Marshal(set.Event.Data)
		if err != nil {
			return nil, refuse(fault.Invalid, "MALFORMED_TIMER", "event.data", err)
		}
		t.Event.Content = &schedulerv1.TimerEvent_Data{Data: string(data)}
	}
	return nil, f.Timers.Set(ctx, t)
}

// timeOf is the time that a timer is set to by e.
func timeOf(set *schedulerv1.SetTimer, e *event.Event) (time.Time, error) {
	if !set.At.IsZero() {
		if set.After != "" {
			return time.Time{}, errors.New("at and after exclude each other")
		}
		return set.At, nil
	}
	d, err := time.ParseDuration(set.After)
	if err != nil {
		return time.Time{}, fmt.Errorf("neither at nor after is a time: %w", err)
	}
	if e.Time().IsZero() {
		return time.Time{}, errors.New("the event has no time that after could count from")
	}
	return e.Time().Add(d), nil
}

// refuse is the fault of an event that cannot set a timer.
func refuse(kind fault.Kind, reason, field string, err error) error {
	return &fault.Error{Op: "scheduler.Handle", Kind: kind, Reason: reason, Field: field, Err: err}
}
