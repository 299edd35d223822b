package manifests

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/filter"
)

// rawMeta is the metadata of a document. In this and the other raw types,
// pointers are fields whose absence means something else than their zero value.
type rawMeta struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// rawBroker is a Broker as it is written.
type rawBroker struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Metadata   rawMeta `json:"metadata"`
	Spec       struct {
		Config   *rawRef      `json:"config"`
		Delivery *rawDelivery `json:"delivery"`
	} `json:"spec"`
}

// rawTrigger is a Trigger as it is written.
type rawTrigger struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Metadata   rawMeta `json:"metadata"`
	Spec       struct {
		Broker string `json:"broker"`
		Filter struct {
			Attributes map[string]string `json:"attributes"`
		} `json:"filter"`
		Filters    []filter.Spec  `json:"filters"`
		Subscriber rawDestination `json:"subscriber"`
		Delivery   *rawDelivery   `json:"delivery"`
	} `json:"spec"`
}

// rawDestination is a Destination as it is written.
type rawDestination struct {
	Ref *rawRef `json:"ref"`
	URI string  `json:"uri"`
}

// rawRef is a Ref as it is written.
type rawRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Namespace  string `json:"namespace"`
}

// rawDelivery is a Delivery as it is written.
type rawDelivery struct {
	Retry          int32           `json:"retry"`
	BackoffPolicy  *BackoffPolicy  `json:"backoffPolicy"`
	BackoffDelay   *string         `json:"backoffDelay"`
	Timeout        *string         `json:"timeout"`
	DeadLetterSink *rawDestination `json:"deadLetterSink"`
}

// readBroker checks a Broker.
func readBroker(doc document) (Broker, error) {
	raw, err := into[rawBroker](doc)
	if err != nil {
		return Broker{}, err
	}
	var b Broker
	if b.Meta, err = raw.Metadata.check(); err != nil {
		return Broker{}, err
	}
	if b.Config, err = raw.Spec.Config.check("spec.config", b.Namespace); err != nil {
		return Broker{}, err
	}
	if b.Delivery, err = raw.Spec.Delivery.check("spec.delivery", b.Namespace); err != nil {
		return Broker{}, err
	}
	return b, nil
}

// readTrigger checks a Trigger.
func readTrigger(doc document) (Trigger, error) {
	raw, err := into[rawTrigger](doc)
	if err != nil {
		return Trigger{}, err
	}
	t := Trigger{Broker: raw.Spec.Broker}
	if t.Meta, err = raw.Metadata.check(); err != nil {
		return Trigger{}, err
	}
	if t.Broker == "" {
		return Trigger{}, fieldErrorf("spec.broker", "the name of the broker is missing")
	}
	if t.Filter, err = readFilter(raw.Spec.Filter.Attributes, raw.Spec.Filters); err != nil {
		return Trigger{}, err
	}
	if t.Subscriber, err = raw.Spec.Subscriber.check("spec.subscriber", t.Namespace); err != nil {
		return Trigger{}, err
	}
	if t.Delivery, err = raw.Spec.Delivery.check("spec.delivery", t.Namespace); err != nil {
		return Trigger{}, err
	}
	return t, nil
}

// readFilter parses both forms, since both must be right, and lets the list
// win, as Knative does.
func readFilter(attributes map[string]string, specs []filter.Spec) (filter.Filter, error) {
	older, err := filter.ParseAttributes(attributes)
	if err != nil {
		return nil, inSpec(err)
	}
	list, err := filter.ParseAll(specs)
	if err != nil {
		return nil, inSpec(err)
	}
	if len(specs) == 0 {
		return older, nil
	}
	return list, nil
}

// inSpec turns an error of the filter package, whose paths begin below spec,
// into a fieldError.
func inSpec(err error) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return err
	}
	return fieldErrorf("spec."+f.Field, "%s", strings.TrimPrefix(f.Message(), f.Field+": "))
}

// Names as Kubernetes defines them: dot-separated DNS labels for objects, one
// label for namespaces.
const (
	dnsLabel     = `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
	maxName      = 253
	maxNamespace = 63
)

// The patterns of names.
var (
	namePattern      = regexp.MustCompile(`^` + dnsLabel + `(\.` + dnsLabel + `)*$`)
	namespacePattern = regexp.MustCompile(`^` + dnsLabel + `$`)
)

// check checks the names and fills in the namespace.
func (raw rawMeta) check() (Meta, error) {
	m := Meta(raw)
	if m.Namespace == "" {
		m.Namespace = "default"
	}
	if len(m.Name) > maxName || !namePattern.MatchString(m.Name) {
		return Meta{}, fieldErrorf("metadata.name", "%q is not a DNS subdomain name", m.Name)
	}
	if len(m.Namespace) > maxNamespace || !namespacePattern.MatchString(m.Namespace) {
		return Meta{}, fieldErrorf("metadata.namespace", "%q is not a DNS label", m.Namespace)
	}
	return m, nil
}

// check checks the reference at path of an object in namespace.
func (raw *rawRef) check(path, namespace string) (*Ref, error) {
	if raw == nil {
		return nil, nil
	}
	for _, field := range [...]struct{ name, value string }{
		{"apiVersion", raw.APIVersion}, {"kind", raw.Kind}, {"name", raw.Name},
	} {
		if field.value == "" {
			return nil, fieldErrorf(path+"."+field.name, "the field is missing")
		}
	}
	ref := Ref(*raw)
	if ref.Namespace == "" {
		ref.Namespace = namespace
	}
	return &ref, nil
}

// check checks the destination at path of an object in namespace.
func (raw rawDestination) check(path, namespace string) (Destination, error) {
	if raw.Ref == nil && raw.URI == "" {
		return Destination{}, fieldErrorf(path, "both ref and uri are missing")
	}
	ref, err := raw.Ref.check(path+".ref", namespace)
	if err != nil {
		return Destination{}, err
	}
	uri, err := url.Parse(raw.URI)
	switch {
	case err != nil:
		return Destination{}, fieldErrorf(path+".uri", "%w", err)
	case ref != nil && uri.IsAbs():
		return Destination{}, fieldErrorf(path+".uri", "%s is absolute, which it may not be beside a ref", raw.URI)
	case ref == nil && (!uri.IsAbs() || uri.Host == ""):
		return Destination{}, fieldErrorf(path+".uri", "%s is not absolute, which it must be without a ref", raw.URI)
	}
	return Destination{Ref: ref, URI: raw.URI}, nil
}

// check checks the delivery at path of an object in namespace.
func (raw *rawDelivery) check(path, namespace string) (*Delivery, error) {
	if raw == nil {
		return nil, nil
	}
	d := Delivery{Retry: int(raw.Retry)}
	if d.Retry < 0 {
		return nil, fieldErrorf(path+".retry", "%d is negative", d.Retry)
	}
	if raw.BackoffPolicy != nil {
		d.BackoffPolicy = *raw.BackoffPolicy
		if d.BackoffPolicy != Exponential && d.BackoffPolicy != Linear {
			return nil, fieldErrorf(path+".backoffPolicy", "%q is neither %s nor %s", d.BackoffPolicy, Exponential, Linear)
		}
	}
	var err error
	if d.BackoffDelay, err = optionalDuration(path+".backoffDelay", raw.BackoffDelay); err != nil {
		return nil, err
	}
	if d.Timeout, err = optionalDuration(path+".timeout", raw.Timeout); err != nil {
		return nil, err
	}
	if raw.Timeout != nil && d.Timeout == 0 {
		return nil, fieldErrorf(path+".timeout", "%s is not more than zero", *raw.Timeout)
	}
	if raw.DeadLetterSink != nil {
		sink, err := raw.DeadLetterSink.check(path+".deadLetterSink", namespace)
		if err != nil {
			return nil, err
		}
		d.DeadLetterSink = &sink
	}
	return &d, nil
}

// optionalDuration parses the duration at path, 0 when it is absent.
func optionalDuration(path string, text *string) (time.Duration, error) {
	if text == nil {
		return 0, nil
	}
	d, err := ParseDuration(*text)
	if err != nil {
		return 0, fieldErrorf(path, "%w", err)
	}
	return d, nil
}
