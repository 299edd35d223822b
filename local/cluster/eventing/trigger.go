package eventing

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/manifests"
)

// The conditions of a trigger, in the order in which they come true.
const (
	brokerReady        = "BrokerReady"
	subscriberResolved = "SubscriberResolved"
	deadLetterResolved = "DeadLetterSinkResolved"
	dependencyReady    = "DependencyReady"
	subscriptionReady  = "SubscriptionReady"
	ready              = "Ready"
)

// lanes is how many events may be on their way to one subscriber.
const lanes = 32

// trigger sets a trigger in the embedded broker as its object says, and says in
// the status how far it came. One that was set stays as it was while something
// that it needs is away: its events are tried again. The caller holds mu.
func (e *Eventing) trigger(ctx context.Context, o object.Object) error {
	t, err := readTrigger(o)
	if err != nil {
		return e.report(ctx, o, ready, "NotValid", err)
	}
	var defaults *manifests.Delivery
	b, err := e.brokerOf(ctx, o.Namespace(), t.Broker)
	if err == nil {
		defaults = b.Delivery
	}
	if err != nil {
		return e.report(ctx, o, brokerReady, "BrokerDoesNotExist", err)
	}
	d := t.Delivery
	if d == nil {
		d = defaults
	}
	made := broker.Trigger{Project: o.Namespace(), Broker: t.Broker, Name: o.Name(), Filter: t.Filter, Policy: d.Policy(), Lanes: lanes}
	o.Unset("status", "subscriberUri")
	o.Unset("status", "deadLetterSinkUri")
	if made.Sink, made.Dest, err = e.resolve(o.Namespace(), t.Subscriber); err != nil {
		return e.report(ctx, o, subscriberResolved, "Unable to get the Subscriber's URI", err)
	}
	o.Set(made.Dest, "status", "subscriberUri")
	if d != nil && d.DeadLetterSink != nil {
		var to string
		if made.DeadLetter, to, err = e.resolve(o.Namespace(), *d.DeadLetterSink); err != nil {
			return e.report(ctx, o, deadLetterResolved, "Unable to get the dead letter sink's URI", err)
		}
		o.Set(to, "status", "deadLetterSinkUri")
	}
	if err := e.Triggers.SetTrigger(ctx, made); err != nil {
		if fault.KindOf(err) != fault.Invalid && fault.KindOf(err) != fault.Exhausted {
			return err
		}
		return e.report(ctx, o, subscriptionReady, "NotSubscribed", err)
	}
	return e.report(ctx, o, "", "", nil)
}

// brokerOf is the broker of a project, made if it is the default one.
func (e *Eventing) brokerOf(ctx context.Context, namespace, name string) (manifests.Broker, error) {
	o, err := e.Store.Get(Broker, namespace, name)
	if fault.KindOf(err) == fault.NotFound && name == broker.DefaultBroker {
		o = e.Store.Kind(Broker).New(namespace, name)
		if err = admitBroker(ctx, o, nil); err == nil {
			o, err = e.Store.Create(ctx, o)
		}
	}
	if err != nil {
		return manifests.Broker{}, err
	}
	return readBroker(o)
}

// resolve is where a destination of a trigger is: a service, a broker of the
// same project, or a URL.
func (e *Eventing) resolve(namespace string, d manifests.Destination) (delivery.Sink, string, error) {
	if d.Ref == nil {
		return delivery.HTTP{URL: d.URI, Client: e.Client, Namespace: namespace}, d.URI, nil
	}
	if d.Ref.Namespace != namespace {
		return nil, "", fmt.Errorf("%s %s is in another namespace, %q", d.Ref.Kind, d.Ref.Name, d.Ref.Namespace)
	}
	group, _, _ := strings.Cut(d.Ref.APIVersion, "/")
	switch (object.Key{Group: group, Name: d.Ref.Kind}) {
	case serviceKey:
		o, err := e.Store.Get(serviceKey, namespace, d.Ref.Name)
		if err != nil {
			return nil, "", err
		}
		at := o.Text("status", "address", "url")
		if at == "" {
			return nil, "", fmt.Errorf("service %s has no address yet", d.Ref.Name)
		}
		sink := e.Service(namespace, d.Ref.Name)
		if d.URI == "" {
			return sink, at, nil
		}
		to, err := join(at, d.URI)
		return sink, to, err
	case Broker:
		if d.URI != "" {
			return nil, "", errors.New("a broker takes no URI beside its reference")
		}
		if !e.Exists(namespace, d.Ref.Name) {
			return nil, "", fmt.Errorf("there is no broker %q", d.Ref.Name)
		}
		return e.Publisher(namespace, d.Ref.Name), e.brokerURL(namespace, d.Ref.Name), nil
	}
	return nil, "", fmt.Errorf("a %s of %s cannot be a destination here: name a Service of serving.knative.dev/v1, a Broker, or a uri", d.Ref.Kind, d.Ref.APIVersion)
}

// join is a URI relative to an address.
func join(address, uri string) (string, error) {
	base, err := url.Parse(address + "/")
	if err != nil {
		return "", err
	}
	to, err := base.Parse(strings.TrimPrefix(uri, "/"))
	if err != nil {
		return "", err
	}
	return to.String(), nil
}

// report writes the status of a trigger: that it is ready, or which condition
// failed and why.
func (e *Eventing) report(ctx context.Context, o object.Object, failed, reason string, why error) error {
	now, status := e.Now(), "True"
	for _, typ := range []string{brokerReady, dependencyReady, subscriberResolved, deadLetterResolved, subscriptionReady} {
		c := object.Condition{Type: typ, Status: status}
		if typ == failed {
			c, status = problem(typ, reason, why), "Unknown"
		}
		o.SetConditions(now, c)
	}
	c := object.Condition{Type: ready, Status: "True"}
	if failed != "" {
		c = problem(ready, reason, why)
	}
	o.SetConditions(now, c)
	o.Set(o.Generation(), "status", "observedGeneration")
	return e.status(ctx, o)
}

// problem is a condition that does not hold.
func problem(typ, reason string, why error) object.Condition {
	text := why.Error()
	var f *fault.Error
	if errors.As(why, &f) {
		text = f.Message()
	}
	return object.Condition{Type: typ, Status: "False", Reason: reason, Message: text}
}
