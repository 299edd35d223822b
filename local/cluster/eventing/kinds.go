package eventing

import (
	"context"
	"encoding/json"
	"fmt"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/manifests"
)

// Group is the group of Knative Eventing.
const Group = "eventing.knative.dev"

// The kinds.
var (
	Broker  = object.Key{Group: Group, Name: "Broker"}
	Trigger = object.Key{Group: Group, Name: "Trigger"}
)

// Kinds are the kinds that Eventing adds to the cluster.
func Kinds() []*object.Kind {
	text := func(path ...string) func(object.Object) any {
		return func(o object.Object) any { return o.Text(path...) }
	}
	ready := []object.Column{
		{Name: "Ready", Type: "string", Of: func(o object.Object) any { return o.Condition("Ready").Status }},
		{Name: "Reason", Type: "string", Of: func(o object.Object) any { return o.Condition("Ready").Reason }},
	}
	return []*object.Kind{
		{
			Group: Group, Version: "v1", Name: Broker.Name, Plural: "brokers", Singular: "broker",
			Categories: []string{"all", "knative", "eventing"}, Status: true, Admit: admitBroker,
			Columns: append([]object.Column{{Name: "URL", Type: "string", Of: text("status", "address", "url")}}, ready...),
		},
		{
			Group: Group, Version: "v1", Name: Trigger.Name, Plural: "triggers", Singular: "trigger",
			Categories: []string{"all", "knative", "eventing"}, Status: true, Admit: admitTrigger,
			Columns: append([]object.Column{
				{Name: "Broker", Type: "string", Of: text("spec", "broker")},
				{Name: "Subscriber_URI", Type: "string", Of: text("status", "subscriberUri")},
			}, ready...),
		},
	}
}

// brokerClass is what Knative's webhook adds to a broker, and here the only
// class that there is.
const (
	brokerClassAnnotation = Group + "/broker.class"
	brokerClass           = "SelvedgeBroker"
)

// brokerLabel is the label by which Knative's triggers are found by broker.
const brokerLabel = Group + "/broker"

// admitBroker fills in and checks a broker.
func admitBroker(_ context.Context, o, old object.Object) error {
	if o.Annotations()[brokerClassAnnotation] == "" {
		o.Set(brokerClass, "metadata", "annotations", brokerClassAnnotation)
	}
	if o["spec"] == nil {
		o["spec"] = map[string]any{}
	}
	if _, err := readBroker(o); err != nil {
		return err
	}
	return same(o, old, "spec", "config")
}

// admitTrigger fills in and checks a trigger. As with Knative it belongs to one
// broker for good.
func admitTrigger(_ context.Context, o, old object.Object) error {
	if o.Text("spec", "broker") == "" {
		o.Set(broker.DefaultBroker, "spec", "broker")
	}
	for _, at := range [][]string{{"spec", "subscriber", "ref"}, {"spec", "delivery", "deadLetterSink", "ref"}} {
		if o.Get(at...) != nil && o.Text(append(at, "namespace")...) == "" {
			o.Set(o.Namespace(), append(at, "namespace")...)
		}
	}
	o.Set(o.Text("spec", "broker"), "metadata", "labels", brokerLabel)
	t, err := readTrigger(o)
	if err != nil {
		return err
	}
	if len(t.Name) > maxTriggerName {
		return &fault.Error{Op: "eventing.Admit", Name: o.Name(), Kind: fault.Invalid, Field: "metadata.name", Err: fmt.Errorf("metadata.name has %d characters; at most %d are taken", len(t.Name), maxTriggerName)}
	}
	return same(o, old, "spec", "broker")
}

// maxTriggerName bounds the name of a trigger, which names a file.
const maxTriggerName = 100

// same refuses the change of a field.
func same(o, old object.Object, path ...string) error {
	if old == nil || object.Same(o.Get(path...), old.Get(path...)) {
		return nil
	}
	field := path[0] + "." + path[1]
	return &fault.Error{Op: "eventing.Admit", Name: o.Name(), Kind: fault.Invalid, Field: field, Err: fmt.Errorf("immutable fields changed: %s", field)}
}

// meta is the metadata that a manifest has.
func meta(o object.Object) manifests.Meta {
	return manifests.Meta{Name: o.Name(), Namespace: o.Namespace(), Labels: o.Labels(), Annotations: o.Annotations()}
}

// readTrigger reads the spec of a trigger.
func readTrigger(o object.Object) (manifests.Trigger, error) {
	text, err := json.Marshal(o["spec"])
	if err != nil {
		return manifests.Trigger{}, err
	}
	return manifests.TriggerOf(meta(o), text)
}

// readBroker reads the spec of a broker.
func readBroker(o object.Object) (manifests.Broker, error) {
	text, err := json.Marshal(o["spec"])
	if err != nil {
		return manifests.Broker{}, err
	}
	return manifests.BrokerOf(meta(o), text)
}
