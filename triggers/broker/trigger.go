package broker

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/filter"
)

// DefaultBroker is the broker of the events that name none.
const DefaultBroker = "default"

// Trigger is a subscription.
type Trigger struct {
	// Project is the id of the project whose trigger it is. The platform's own
	// have none: they see the default broker of every project.
	Project string
	// Broker is the name of the project's broker that it draws from; "" is
	// DefaultBroker.
	Broker string
	// Name identifies the trigger in its project.
	Name string
	// Filter decides which events are delivered.
	Filter filter.Filter
	// Sink takes the events.
	Sink delivery.Sink
	// Dest is the sink's name for the dead letter attributes.
	Dest string
	// Policy is how failures are retried.
	Policy delivery.Policy
	// Patient says that the sink is away only while a store of the platform
	// is, and that events must wait for it: an attempt that ends with 429 or
	// 503 does not count as one. Otherwise the Policy holds, so that a function
	// that is gone for good cannot fill the journal for everybody.
	Patient bool
	// DeadLetter takes what could not be delivered, with the same policy; nil
	// means that it is kept among the dead letters and counted in the ledger.
	DeadLetter delivery.Sink
	// Lanes is how many deliveries may be under way at once. Events of one
	// source share a lane. 0 means twice the number of processors, which
	// suits a function in this process; a remote one wants more. A trigger that
	// is replaced keeps the lanes that it has.
	Lanes int
}

// ID identifies the trigger and its cursor among those of all projects; it is
// also the name of the stream in the loss ledger: "NAME" for the platform's
// own, "PROJECT/NAME" for the others.
func (t *Trigger) ID() string { return triggerID(t.Project, t.Name) }

// triggerID is the ID of the trigger of a project.
func triggerID(project, name string) string {
	if project == "" {
		return name
	}
	return project + "/" + name
}

// splitID is the inverse of triggerID.
func splitID(id string) (project, name string) {
	if project, name, ok := strings.Cut(id, "/"); ok {
		return project, name
	}
	return "", id
}

// check refuses a trigger that cannot be run.
func (t *Trigger) check() error {
	refuse := func(field, format string, args ...any) error {
		return &fault.Error{Op: "broker.SetTrigger", Name: t.ID(), Kind: fault.Invalid, Reason: "INVALID_TRIGGER", Field: field, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case t.Name == "" || strings.Contains(t.Name, "/"):
		return refuse("name", "%q is no name of a trigger", t.Name)
	case strings.Contains(t.Project, "/"):
		return refuse("project", "%q is no id of a project", t.Project)
	case t.ID() == Unrouted:
		return refuse("name", "%q is the broker's own word", t.Name)
	case t.Project == "" && t.broker() != DefaultBroker:
		return refuse("broker", "a trigger of no project draws from the default brokers")
	case t.Filter == nil || t.Sink == nil:
		return &fault.Error{Op: "broker.SetTrigger", Name: t.ID(), Kind: fault.Internal, Err: errors.New("a trigger without a filter or a sink")}
	}
	return nil
}

// broker is the name of the trigger's broker.
func (t *Trigger) broker() string { return cmp.Or(t.Broker, DefaultBroker) }

// lanes is how many lanes t gets.
func (t *Trigger) lanes() int {
	if t.Lanes > 0 {
		return t.Lanes
	}
	return 2 * runtime.GOMAXPROCS(0)
}

// covers reports whether t draws from the broker that an event belongs to.
func (t *Trigger) covers(v *entry) bool {
	if t.Project == "" {
		return !v.elsewhere
	}
	return string(v.project()) == t.Project && v.broker() == t.broker()
}

// wants reports whether t takes an event. One that was replayed is for the
// trigger that it names, whatever the filters say. One that cannot be decoded,
// where the filter asks for more than its head, is taken, since its delivery
// fails and is counted.
func (t *Trigger) wants(v *entry) bool {
	if len(v.target()) > 0 {
		return string(v.target()) == t.ID()
	}
	if !t.covers(v) {
		return false
	}
	if verdict, sure := filter.Judge(t.Filter, &v.head); sure {
		return verdict != filter.Fail
	}
	e, err := v.seen()
	return err != nil || t.Filter.Filter(e) != filter.Fail
}

// home is where an event belongs: a broker of a project. Replies stay there.
type home struct{ project, broker string }

// homeOf is the home of e.
func homeOf(e *event.Event) home {
	return home{event.Extension(e, event.Project), cmp.Or(event.Extension(e, event.Broker), DefaultBroker)}
}

// TriggerID is the ID of the trigger that somebody of a project calls name: an
// ID, or the name of one of the project's, or of the platform's when the
// project has none of that name.
func (b *Broker) TriggerID(project, name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	own := triggerID(project, name)
	if b.find(own) == nil && b.find(name) != nil {
		return name
	}
	return own
}
