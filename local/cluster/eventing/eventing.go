// Package eventing has the cluster's Brokers and Triggers come true in the
// embedded broker: a Trigger object is a trigger of its project there, set when
// its broker is there and its subscriber is known, replaced when it changes,
// removed with its object.
//
// Every project has a broker "default", in which the events of its devices are.
// Its object is made when a trigger names it; it goes when it is deleted and is
// made again.
package eventing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/manifests"
)

// Options configures Eventing.
type Options struct {
	// Store has at least Kinds and the Services of Knative Serving.
	Store *object.Store
	// Triggers is the embedded broker.
	Triggers Triggers
	// Service is where events for a service of Knative Serving go.
	Service func(namespace, name string) delivery.Sink
	// Publisher is where events for another broker go.
	Publisher func(project, name string) delivery.Sink
	// Client delivers to URLs; it must refuse addresses that a project must not
	// reach from inside the platform.
	Client *http.Client
	// URL is where the platform is reached, "http://127.0.0.1:8080".
	URL    func() string
	Now    func() time.Time
	Logger *slog.Logger
}

// Triggers is what is needed of broker.Broker.
type Triggers interface {
	SetTrigger(ctx context.Context, t broker.Trigger) error
	RemoveTrigger(ctx context.Context, project, name string) error
	Idle() []broker.Idle
}

// Eventing is the controllers of brokers and triggers.
type Eventing struct {
	Options
	// mu is held while an object is read and reconciled, so that what is set last
	// is what the object said last.
	mu sync.Mutex
}

// New makes the controllers.
func New(o Options) *Eventing {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Eventing{Options: o}
}

// serviceKey is the kind of subscribers that come and go.
var serviceKey = object.Key{Group: "serving.knative.dev", Name: "Service"}

// Open sets all triggers that there are, and has the broker forget those whose
// objects are gone. It is to be called before the broker runs, so that nothing
// that they were behind with is lost.
func (e *Eventing) Open(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	triggers, _ := e.Store.List(object.Query{Kind: Trigger})
	for _, o := range triggers {
		if err := e.trigger(ctx, o); err != nil {
			return fmt.Errorf("open trigger %s/%s: %w", o.Namespace(), o.Name(), err)
		}
	}
	for _, idle := range e.Triggers.Idle() {
		if idle.Project == "" {
			continue
		}
		_, err := e.Store.Get(Trigger, idle.Project, idle.Name)
		if fault.KindOf(err) != fault.NotFound {
			continue // it waits for its subscriber, and its events wait with it
		}
		if err := e.Triggers.RemoveTrigger(ctx, idle.Project, idle.Name); err != nil {
			return fmt.Errorf("forget trigger %s/%s: %w", idle.Project, idle.Name, err)
		}
	}
	return nil
}

// Run keeps up with the objects until ctx ends.
func (e *Eventing) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, k := range []object.Key{Broker, Trigger, serviceKey} {
		g.Go(func() error { return e.follow(ctx, k) })
	}
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// follow reconciles what changes of objects of a kind are about.
func (e *Eventing) follow(ctx context.Context, k object.Key) error {
	q := object.Query{Kind: k}
	for {
		all, at := e.Store.List(q)
		for _, o := range all {
			e.changed(ctx, object.Event{Type: object.Modified, Object: o})
		}
		for {
			events, head, err := e.Store.Watch(ctx, q, at)
			if errors.Is(err, object.ErrExpired) {
				break // it was too slow: all is looked at again
			}
			if err != nil {
				return err
			}
			for _, ev := range events {
				e.changed(ctx, ev)
			}
			at = head
		}
	}
}

// changed reconciles what one change is about. What cannot be done now is told
// and done at the next change, or when the platform starts.
func (e *Eventing) changed(ctx context.Context, ev object.Event) {
	o := ev.Object
	var err error
	switch (object.Key{Group: o.Group(), Name: o.KindName()}) {
	case Trigger:
		if ev.Type == object.Deleted {
			err = e.removed(ctx, o)
			break
		}
		err = e.again(ctx, o.Namespace(), o.Name())
	case Broker:
		if ev.Type != object.Deleted {
			err = e.broker(ctx, o.Namespace(), o.Name())
		}
		e.those(ctx, o.Namespace(), func(t manifests.Trigger) bool { return t.Broker == o.Name() || leads(t, o) })
	case serviceKey:
		e.those(ctx, o.Namespace(), func(t manifests.Trigger) bool { return leads(t, o) })
	}
	if err != nil && ctx.Err() == nil {
		e.Logger.Error("eventing failed", slog.String("kind", o.KindName()), slog.String("name", o.Namespace()+"/"+o.Name()), slog.Any("error", err))
	}
}

// leads reports whether a trigger has an object as a destination, if not of its
// own broker.
func leads(t manifests.Trigger, o object.Object) bool {
	is := func(d *manifests.Destination) bool {
		return d != nil && d.Ref != nil && d.Ref.Kind == o.KindName() && d.Ref.Name == o.Name()
	}
	return is(&t.Subscriber) || (t.Delivery != nil && is(t.Delivery.DeadLetterSink))
}

// those reconciles the triggers that a change of something else is about.
func (e *Eventing) those(ctx context.Context, namespace string, about func(manifests.Trigger) bool) {
	all, _ := e.Store.List(object.Query{Kind: Trigger, Namespace: namespace})
	for _, o := range all {
		t, err := readTrigger(o)
		if err != nil || !about(t) {
			continue
		}
		if err := e.again(ctx, o.Namespace(), o.Name()); err != nil && ctx.Err() == nil {
			e.Logger.Error("eventing failed", slog.String("kind", Trigger.Name), slog.String("name", o.Namespace()+"/"+o.Name()), slog.Any("error", err))
		}
	}
}

// again reconciles a trigger as it is now.
func (e *Eventing) again(ctx context.Context, namespace, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	o, err := e.Store.Get(Trigger, namespace, name)
	if fault.KindOf(err) == fault.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return e.trigger(ctx, o)
}

// removed removes a trigger whose object is gone, unless there is a new one.
func (e *Eventing) removed(ctx context.Context, o object.Object) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.Store.Get(Trigger, o.Namespace(), o.Name()); fault.KindOf(err) != fault.NotFound {
		return err
	}
	err := e.Triggers.RemoveTrigger(ctx, o.Namespace(), o.Name())
	if fault.KindOf(err) == fault.NotFound {
		return nil // it was never set
	}
	return err
}

// Exists reports whether a project has a broker of that name: the default one,
// or one with an object.
func (e *Eventing) Exists(project, name string) bool {
	if name == broker.DefaultBroker {
		return true
	}
	_, err := e.Store.Get(Broker, project, name)
	return err == nil
}

// broker says in the status of a broker where it is.
func (e *Eventing) broker(ctx context.Context, namespace, name string) error {
	o, err := e.Store.Get(Broker, namespace, name)
	if fault.KindOf(err) == fault.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	o.Set(o.Generation(), "status", "observedGeneration")
	o.Set(e.brokerURL(namespace, name), "status", "address", "url")
	now := e.Now()
	for _, typ := range []string{"Addressable", "DeadLetterSinkResolved", "FilterReady", "IngressReady", "Ready", "TriggerChannelReady"} {
		o.SetConditions(now, object.Condition{Type: typ, Status: "True"})
	}
	return e.status(ctx, o)
}

// brokerURL is where events for a broker are posted.
func (e *Eventing) brokerURL(namespace, name string) string {
	return e.URL() + "/brokers/" + namespace + "/" + name
}

// status writes a status. One of an object that changed meanwhile, or is gone,
// is of no use: the change comes by as well.
func (e *Eventing) status(ctx context.Context, o object.Object) error {
	_, err := e.Store.UpdateStatus(ctx, o)
	if k := fault.KindOf(err); err != nil && (k == fault.Conflict || k == fault.NotFound) {
		return nil
	}
	return err
}
