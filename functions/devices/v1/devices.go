// Package devicesv1 is the contract of the devices service: the types of its
// resources, what makes them valid, and the interface by which others read
// them. The service's implementation is functions/devices; [Client] reads it
// over HTTP from a function that runs as its own process.
//
// What a [Reader] returns is shared with other callers and must not be changed.
package devicesv1

import (
	"context"
	"time"
)

// Alias is an external name of a device: what a network calls it.
type Alias struct {
	// Network is the network's id, Key what kind of name it is, Value the
	// name: "boat-network", "esn", "5551212".
	Network string `json:"network"`
	Key     string `json:"key"`
	Value   string `json:"value"`
}

// Device is a registered device.
type Device struct {
	// Name is "projects/P/devices/D".
	Name string `json:"name"`
	// Aliases are unique within the project: no two devices share one.
	Aliases []Alias `json:"aliases,omitempty"`
	// Blueprint is the name of the device's blueprint, "" for none.
	Blueprint string `json:"blueprint,omitempty"`
	// Route is the topic that the device's events go to. It overrides the
	// blueprint's; "" leaves it to the blueprint, and then to "writer".
	Route      string    `json:"route,omitempty"`
	CreateTime time.Time `json:"createTime"`
	UpdateTime time.Time `json:"updateTime"`
}

// Blueprint is what the devices of one make have in common.
type Blueprint struct {
	// Name is "projects/P/blueprints/B".
	Name string `json:"name"`
	// Route is the topic for events of devices without a route of their own.
	Route string `json:"route,omitempty"`
	// Mappings say how the data of events becomes points. An event type
	// without a mapping is read as plain JSON: one metric per leaf.
	Mappings   []Mapping `json:"mappings,omitempty"`
	CreateTime time.Time `json:"createTime"`
	UpdateTime time.Time `json:"updateTime"`
}

// Mapping says how the JSON data of one event type becomes points.
type Mapping struct {
	// EventType is the CloudEvents type that the mapping is for.
	EventType string `json:"eventType"`
	// TimestampField is the path of the field that holds the time of the
	// reading: RFC 3339 text, or Unix time in seconds, milliseconds,
	// microseconds or nanoseconds, told apart by magnitude. "" means the
	// event's time.
	TimestampField string `json:"timestampField,omitempty"`
	// Fields are the fields that become points; all others are not stored.
	Fields []FieldMapping `json:"fields"`
}

// FieldMapping says how one field becomes points of one metric.
type FieldMapping struct {
	// Field is the path of the field: "battery/volts".
	Field string `json:"field"`
	// MetricType is the metric's type; "" means EVENTTYPE/FIELD.
	MetricType string `json:"metricType,omitempty"`
	// Kind is GAUGE (the default), DELTA or CUMULATIVE.
	Kind string `json:"kind,omitempty"`
	// ValueType is DOUBLE, INT64 or BOOL; "" means what the first value is:
	// BOOL for true and false, DOUBLE for a number.
	ValueType string `json:"valueType,omitempty"`
	// Unit is a UCUM unit.
	Unit string `json:"unit,omitempty"`
	// Labels are metric labels: from label name to the path of a field of the
	// same data with a string, a number or a boolean, or to a constant
	// written "=text".
	Labels map[string]string `json:"labels,omitempty"`
}

// Reader reads the registry. All methods may be called concurrently. A name or
// an alias that nothing answers to, be it well formed or not, is a NotFound
// fault; a registry that cannot be asked never is. What is returned is shared
// and must not be changed.
type Reader interface {
	// Device returns the device of that name.
	Device(ctx context.Context, name string) (*Device, error)
	// Resolve returns the device of the project (an id) with that alias.
	Resolve(ctx context.Context, project string, alias Alias) (*Device, error)
	// Blueprint returns the blueprint of that name.
	Blueprint(ctx context.Context, name string) (*Blueprint, error)
}
