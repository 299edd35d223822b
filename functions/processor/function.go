// Package processor resolves which registered device an event is about and
// sends the event on its way: to the topic of the device's route, of its
// blueprint's, or to the writer (SPEC C5).
//
// It is a Knative function. Its reply is the event that it was given, with the
// same source, id and data, and the resolved device, its blueprint and the
// next topic in extension attributes. An event whose device nobody registered
// is answered with an error of a kind that is not retried: the broker then
// drops it and counts it in the loss ledger, under the reason given here.
package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/resource"
)

// The reasons for which events are discarded.
const (
	// ReasonUnknownDevice: the source or the alias names no registered device.
	ReasonUnknownDevice = "UNKNOWN_DEVICE"
	// ReasonUnnamedDevice: the source is no device and there is no alias.
	ReasonUnnamedDevice = "UNNAMED_DEVICE"
	// ReasonIncompleteAlias: an alias lacks one of its three attributes.
	ReasonIncompleteAlias = "INCOMPLETE_ALIAS"
)

// Function resolves devices. Handle may be called concurrently.
type Function struct {
	// Devices is the registry.
	Devices devicesv1.Reader
	// Logger is told whether a registry of another process can be watched; nil
	// discards.
	Logger *slog.Logger

	// stop ends what Start began, and waits for it.
	stop func()
}

var _ interface {
	function.Handler
	function.Starter
	function.Stopper
} = (*Function)(nil)

// New returns the function for a process of its own, which reads the registry
// of the platform at SELVEDGE_URL with the key in SELVEDGE_KEY.
func New() *Function {
	return &Function{
		Devices: devicesv1.NewClient(os.Getenv("SELVEDGE_URL"), os.Getenv("SELVEDGE_KEY")),
		Logger:  slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	}
}

// Start has a registry of another process be watched, so that what is known of
// it is right.
func (f *Function) Start(ctx context.Context, _ map[string]string) error {
	registry, ok := f.Devices.(*devicesv1.Client)
	if !ok {
		return nil
	}
	log := f.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { registry.Run(ctx, log) })
	f.stop = func() {
		cancel()
		running.Wait()
	}
	return nil
}

// Stop ends what Start began.
func (f *Function) Stop(context.Context) error {
	if f.stop != nil {
		f.stop()
	}
	return nil
}

// Handle resolves the device of e and replies e with its route.
func (f *Function) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	device, err := f.resolve(ctx, &e)
	if err != nil {
		return nil, err
	}
	route := device.GetRoute()
	if device.GetBlueprint() != "" {
		event.Set(&e, event.Blueprint, device.GetBlueprint())
		if route == "" {
			blueprint, err := f.Devices.Blueprint(ctx, device.GetBlueprint())
			if err != nil {
				return nil, fmt.Errorf("route of %s: %w", device.GetName(), err)
			}
			route = blueprint.GetRoute()
		}
	}
	if route == "" {
		route = event.RouteWriter
	}
	event.Set(&e, event.Device, device.GetName())
	event.Set(&e, event.Route, route)
	return &e, nil
}

// resolve returns the device that e is about. A source that is a device of the
// event's project wins over an alias.
func (f *Function) resolve(ctx context.Context, e *event.Event) (*devicesv1.Device, error) {
	project := event.Extension(e, event.Project)
	if name, ok := strings.CutPrefix(event.SourceOf(e), event.Authority); ok {
		if n, err := resource.ParseDevice(name); err == nil && n.Project() == project {
			return found(f.Devices.Device(ctx, name))
		}
	}
	alias := devicesv1.External{
		Network: event.Extension(e, event.NetworkID),
		Key:     event.Extension(e, event.AliasKey),
		Value:   event.Extension(e, event.AliasValue),
	}
	switch {
	case alias == devicesv1.External{}:
		return nil, discard(ReasonUnnamedDevice, "source", fmt.Errorf("source %q is no device of project %q, and the event has no alias", e.Source(), project))
	case alias.Network == "":
		return nil, incomplete(event.NetworkID)
	case alias.Key == "":
		return nil, incomplete(event.AliasKey)
	case alias.Value == "":
		return nil, incomplete(event.AliasValue)
	}
	return found(f.Devices.Resolve(ctx, project, alias))
}

// found gives a device that is not there the reason of its discard.
func found(d *devicesv1.Device, err error) (*devicesv1.Device, error) {
	if fault.KindOf(err) == fault.NotFound {
		return nil, &fault.Error{Op: "processor.Handle", Kind: fault.NotFound, Reason: ReasonUnknownDevice, Err: err}
	}
	return d, err
}

// incomplete is the discard of an alias without the attribute.
func incomplete(attribute string) error {
	return discard(ReasonIncompleteAlias, attribute, errors.New("an alias is "+event.NetworkID+", "+event.AliasKey+" and "+event.AliasValue+" together"))
}

// discard is the error for an event that can never be resolved.
func discard(reason, field string, err error) error {
	return &fault.Error{Op: "processor.Handle", Kind: fault.Invalid, Reason: reason, Field: field, Err: err}
}
