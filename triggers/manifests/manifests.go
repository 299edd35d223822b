// Package manifests reads Knative's Broker and Trigger YAML
// (eventing.knative.dev/v1) into plain Go, and holds the platform's own: the
// files of this folder are what `kubectl apply` takes on a cluster and what the
// embedded broker starts with on one machine.
//
// What Knative's webhook and the Kubernetes API server refuse is refused here,
// and so is what they let pass to fail later or unseen: a broker that nobody
// declared, a field that nobody knows, a filter that does not parse. Nothing is
// loaded when anything is wrong. A loaded Set is a plain value; the filters in
// it may be used concurrently.
//
// The package does not deliver, and does not resolve a reference to an address.
package manifests

import (
	"embed"
	"io/fs"
	"time"

	"selvedge.dev/triggers/filter"
)

// files are the platform's own manifests.
//
//go:embed *.yaml
var files embed.FS

// Files is the platform's own Broker and Triggers, for Load.
func Files() fs.FS { return files }

// Set is what a load found, each list in the order of the files, which is that
// of their names.
type Set struct {
	Brokers  []Broker
	Triggers []Trigger
}

// Meta is what Kubernetes calls metadata.
type Meta struct {
	Name string
	// Namespace is "default" where the document has none.
	Namespace   string
	Labels      map[string]string
	Annotations map[string]string
}

// Broker is a pool of events that triggers draw from.
type Broker struct {
	Meta
	// Config refers to the settings of a cluster's channels; nil when absent.
	// The embedded broker has no use for it.
	Config *Ref
	// Delivery holds for the broker's triggers that have none of their own; nil
	// when absent.
	Delivery *Delivery
}

// Trigger subscribes a destination to those events of a broker that pass its
// filter.
type Trigger struct {
	Meta
	// Broker is the name of a broker in the trigger's namespace.
	Broker string
	// Filter is the filters list, or where that is empty the older
	// filter.attributes map. It is never nil: without either it says NoFilter.
	Filter     filter.Filter
	Subscriber Destination
	// Delivery replaces the broker's as a whole; nil when absent.
	Delivery *Delivery
}

// Destination is where events go: a reference, a URI, or a reference with a URI
// relative to what it resolves to.
type Destination struct {
	Ref *Ref
	URI string
}

// Ref names an object that has an address.
type Ref struct {
	APIVersion, Kind, Name string
	// Namespace is that of the object with the reference where it has none.
	Namespace string
}

// BackoffPolicy says how the pause before a retry grows.
type BackoffPolicy string

// The policies, for retry n counted from 0. Without a policy, or without a
// delay, there is no pause.
const (
	// Exponential pauses for the delay times 2 to the power of n.
	Exponential BackoffPolicy = "exponential"
	// Linear pauses for the delay times n: the first retry comes at once.
	Linear BackoffPolicy = "linear"
)

// Delivery is what happens when a subscriber does not take an event. The zero
// value is one attempt.
type Delivery struct {
	// Retry is how many attempts follow the first.
	Retry         int
	BackoffPolicy BackoffPolicy
	BackoffDelay  time.Duration
	// Timeout bounds each attempt; 0 when absent, and then the broker's choice.
	Timeout time.Duration
	// DeadLetterSink gets the events that were given up; nil when absent.
	DeadLetterSink *Destination
}
