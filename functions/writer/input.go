package writer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// The reasons for which an event is refused before its data is read.
const (
	// ReasonNoProject: the event does not say whose it is.
	ReasonNoProject = "NO_PROJECT"
	// ReasonForeignDevice: the event's device is no device of its project.
	ReasonForeignDevice = "FOREIGN_DEVICE"
	// ReasonUnknownBlueprint: the device's blueprint is not there.
	ReasonUnknownBlueprint = "UNKNOWN_BLUEPRINT"
	// ReasonUnknownDevice: nobody registered the device; the processor's word.
	ReasonUnknownDevice = "UNKNOWN_DEVICE"
)

// attributes are what an event says of itself that matters here.
type attributes struct {
	project, device, blueprint, eventType, mediaType string
}

// input is what the decoder needs to know of e.
func (f *Function) input(ctx context.Context, e *event.Event) (ingest.Event, error) {
	in, err := f.prepare(ctx, attributes{
		project: event.Extension(e, event.Project), device: event.Extension(e, event.Device), blueprint: event.Extension(e, event.Blueprint),
		eventType: e.Type(), mediaType: e.DataContentType(),
	})
	in.Time, in.Data = tsdb.Millis(timeOf(e).UnixMilli()), e.Data()
	return in, err
}

// prepare is what the decoder needs to know of an event, but for its time and
// its data.
func (f *Function) prepare(ctx context.Context, a attributes) (ingest.Event, error) {
	in := ingest.Event{Project: a.project, Type: a.eventType, MediaType: a.mediaType}
	if a.project == "" {
		return in, refuse(fault.Invalid, ReasonNoProject, event.Project, errors.New("the event belongs to no project"))
	}
	if a.device != "" {
		device, err := resource.ParseDevice(a.device)
		if err != nil || device.Project() != a.project {
			return in, refuse(fault.Invalid, ReasonForeignDevice, event.Device, fmt.Errorf("%q is no device of project %q", a.device, a.project))
		}
		in.Device = device.ID()
	}
	var err error
	if a.blueprint != "" {
		in.Plan, err = f.plan(ctx, a.blueprint, a.eventType)
	}
	return in, err
}

// Plan is how Handle reads events of a type from the device of that name: nil
// when no blueprint says so. It is NotFound when nobody registered the device, or
// its blueprint is not there.
func (f *Function) Plan(ctx context.Context, device, eventType string) (*ingest.Plan, error) {
	d, err := f.Devices.Device(ctx, device)
	switch {
	case fault.KindOf(err) == fault.NotFound && err != nil:
		return nil, refuse(fault.NotFound, ReasonUnknownDevice, event.Device, err)
	case err != nil:
		return nil, fmt.Errorf("read device: %w", err)
	case d.GetBlueprint() == "":
		return nil, nil
	}
	return f.plan(ctx, d.GetBlueprint(), eventType)
}

// timeOf is when e happened: its time, or else when the broker took it, which
// is the same at every delivery, so that a point of it counts once. Only an
// event from elsewhere has neither.
func timeOf(e *event.Event) time.Time {
	if t := e.Time(); !t.IsZero() {
		return t
	}
	if t, err := time.Parse(time.RFC3339Nano, event.Extension(e, event.ArrivalTime)); err == nil {
		return t
	}
	return time.Now()
}

// plan is the plan of the blueprint for events of the type, nil if it has
// none.
func (f *Function) plan(ctx context.Context, name, eventType string) (*ingest.Plan, error) {
	blueprint, err := f.Devices.Blueprint(ctx, name)
	switch {
	case fault.KindOf(err) == fault.NotFound && err != nil:
		return nil, refuse(fault.NotFound, ReasonUnknownBlueprint, event.Blueprint, err)
	case err != nil:
		return nil, fmt.Errorf("read blueprint: %w", err)
	}
	byType, err := f.plans.of(blueprint)
	return byType[eventType], err
}

// refuse is the error of an event that cannot be stored.
func refuse(kind fault.Kind, reason, field string, err error) error {
	return &fault.Error{Op: "writer.Handle", Kind: kind, Reason: reason, Field: field, Err: err}
}
