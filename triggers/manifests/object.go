package manifests

import (
	"encoding/json"
	"errors"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/delivery"
)

// TriggerOf reads the spec, in JSON, of a Trigger that is already an object
// with a name, as an API server has it. It refuses what Load does, but for the
// broker, which may come later. Errors are fault.Invalid with the path of the
// field: "spec.filters[0].exact".
func TriggerOf(m Meta, spec []byte) (Trigger, error) {
	doc, err := object("Trigger", m, spec)
	if err != nil {
		return Trigger{}, err
	}
	t, err := readTrigger(doc)
	return t, refused(m, err)
}

// BrokerOf is TriggerOf for a Broker.
func BrokerOf(m Meta, spec []byte) (Broker, error) {
	doc, err := object("Broker", m, spec)
	if err != nil {
		return Broker{}, err
	}
	b, err := readBroker(doc)
	return b, refused(m, err)
}

// object is the document of an object.
func object(kind string, m Meta, spec []byte) (document, error) {
	if len(spec) == 0 {
		spec = []byte("{}")
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": apiVersion, "kind": kind, "spec": json.RawMessage(spec),
		"metadata": map[string]any{"name": m.Name, "namespace": m.Namespace, "labels": m.Labels, "annotations": m.Annotations},
	})
	if err != nil {
		return document{}, refused(m, fieldErrorf("spec", "%w", err))
	}
	doc, err := decode(text)
	return doc, refused(m, err)
}

// refused is the fault of an object.
func refused(m Meta, err error) error {
	if err == nil {
		return nil
	}
	var in *fieldError
	var field string
	if errors.As(err, &in) {
		field = in.field
	}
	return &fault.Error{Op: "triggers/manifests.Of", Name: m.Namespace + "/" + m.Name, Kind: fault.Invalid, Reason: "INVALID_MANIFEST", Field: field, Err: err}
}

// Policy is how d has failures retried. As on Knative there is a pause between
// attempts only if both its policy and its unit are given. A nil d is one
// attempt.
func (d *Delivery) Policy() delivery.Policy {
	if d == nil {
		return delivery.Policy{}
	}
	p := delivery.Policy{Retry: d.Retry, Timeout: d.Timeout}
	if d.BackoffPolicy != "" {
		p.Backoff, p.Delay = delivery.Backoff(d.BackoffPolicy), d.BackoffDelay
	}
	return p
}
