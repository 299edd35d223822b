// Package event is the platform's view of CloudEvents 1.0: the SDK's own
// event type under a short name, the types, sources and extension attributes
// that the platform gives a meaning, the three HTTP content modes (http.go)
// and the compact form in which journals keep events (record.go).
//
// It uses the official SDK's types and its JSON format, but not its HTTP
// receiver, which hands requests to goroutines over a shared channel and
// stalls for good under concurrent requests.
package event

import (
	ce "github.com/cloudevents/sdk-go/v2/event"
)

// Event is the CloudEvents SDK's event.
type Event = ce.Event

// Extension attributes with a meaning to the platform. A producer names its
// device by NetworkID, AliasKey and AliasValue when its source does not; the
// attributes that begin with Reserved are set by the platform only, and an
// event from outside that has one is refused.
const (
	NetworkID  = "networkid"
	AliasKey   = "aliaskey"
	AliasValue = "aliasvalue"

	// ArrivalTime is when the broker took the event, as on Knative. It is the
	// same whenever the event is delivered.
	ArrivalTime = "knativearrivaltime"
	// BrokerTTL is how often an event and the replies to it may still pass the
	// broker, as on Knative. A publisher may set it lower; a subscriber does not
	// see it, a dead letter sink does.
	BrokerTTL = "knativebrokerttl"

	// Reserved begins the name of every attribute that only the platform sets.
	Reserved = "selvedge"
	// Project is the id of the project that an event belongs to. Everything
	// that a function replies belongs to the project of what it was given.
	Project = Reserved + "project"
	// Broker is the name of the broker of its project that an event belongs to;
	// one that does not have it belongs to "default".
	Broker = Reserved + "broker"
	// Replay is how many times an event was taken out of the dead letters again.
	Replay = Reserved + "replay"
	// Route is the topic that an event is on its way to: RouteProcessor when
	// it comes in, then what the device, its blueprint or the default says.
	Route = Reserved + "route"
	// Device is the resource name of the resolved device.
	Device = Reserved + "device"
	// Blueprint is the resource name of the device's blueprint.
	Blueprint = Reserved + "blueprint"
)

// The routes of the pipeline.
const (
	RouteProcessor = "processor"
	RouteWriter    = "writer"
)

// Event types that the platform itself makes or knows.
const (
	// TypeAlert is an alert of functions/threshold.
	TypeAlert = "dev.selvedge.alert.v1"
	// TypeTimeSeries carries a google.monitoring.v3 CreateTimeSeriesRequest
	// as JSON.
	TypeTimeSeries = "google.monitoring.v3.CreateTimeSeries"
	// TypeHost is a reading of the machine that an edge runtime runs on.
	TypeHost = "dev.selvedge.host.v1"
)

// MediaSenML is the media type of an RFC 8428 pack in JSON.
const MediaSenML = "application/senml+json"

// Authority begins the source of everything that is a resource here.
const Authority = "//selvedge.dev/"

// Source is the CloudEvents source of the resource name:
// "//selvedge.dev/projects/p/devices/d".
func Source(name string) string { return Authority + name }

// New is an empty event of spec version 1.0.
func New() Event { return ce.New(ce.CloudEventsVersionV1) }

// Extension is the extension attribute name of e as a string, "" when there is
// none.
func Extension(e *Event, name string) string {
	v, ok := Value(e, name)
	if !ok {
		return ""
	}
	if text, is := v.(string); is {
		return text
	}
	text, err := formatAttribute(v)
	if err != nil {
		return ""
	}
	return text
}
