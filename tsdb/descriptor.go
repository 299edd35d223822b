package tsdb

import (
	"context"
	"time"
)

// Details is what people are told of a metric beside what its points need. It
// is shared and must not be changed.
type Details struct {
	// DisplayName and Description are for people.
	DisplayName string `json:"displayName,omitempty"`
	Description string `json:"description,omitempty"`
	// Labels are the labels that its series may have, in the order in which
	// they were declared; labels are only ever added.
	Labels []LabelDescriptor `json:"labels,omitempty"`
	// LaunchStage is a google.api.LaunchStage by name, "" for none.
	LaunchStage string `json:"launchStage,omitempty"`
	// IngestDelay is by when a point can be read, SamplePeriod how far apart
	// points are; 0 for unknown.
	IngestDelay  time.Duration `json:"ingestDelay,omitempty"`
	SamplePeriod time.Duration `json:"samplePeriod,omitempty"`
	// Resources are the monitored-resource types that it was declared for;
	// none means any.
	Resources []string `json:"resources,omitempty"`
	// Rollups are the summaries that are kept of its series; none by default.
	// They are declared on their own (Rolled), and no Declare changes them.
	Rollups []Rollup `json:"rollups,omitempty"`
}

// LabelDescriptor declares a label of a metric or of a monitored resource.
type LabelDescriptor struct {
	Key string `json:"key"`
	// Type is how its values are to be read; "" means text. They are stored as
	// text whatever it is.
	Type        LabelType `json:"type,omitempty"`
	Description string    `json:"description,omitempty"`
}

// LabelType is a google.api.LabelDescriptor.ValueType.
type LabelType string

// The label types.
const (
	StringLabel LabelType = "STRING"
	BoolLabel   LabelType = "BOOL"
	Int64Label  LabelType = "INT64"
)

// Declarations is what Descriptors can do that let people declare metrics. All
// methods may be called concurrently.
type Declarations interface {
	// Declare creates a descriptor or changes the one that there is: the unit
	// and the details become those of d, except that labels are never
	// removed. Another kind or value type is Invalid, with the field: the
	// metric has to be deleted first. It is durable on return.
	Declare(ctx context.Context, d Descriptor) (Descriptor, error)
	// Delete removes a descriptor, or is NotFound. It is durable on return.
	// Points of the metric are the caller's concern.
	Delete(ctx context.Context, project, metric string) error
}

// ResourceDescriptor declares a monitored-resource type in a project.
type ResourceDescriptor struct {
	// Project is the project's id, "" for a type that every project has.
	Project string `json:"-"`
	// Type is the monitored-resource type: "device".
	Type        string            `json:"type"`
	DisplayName string            `json:"displayName,omitempty"`
	Description string            `json:"description,omitempty"`
	Labels      []LabelDescriptor `json:"labels,omitempty"`
	LaunchStage string            `json:"launchStage,omitempty"`
}

// Resources keeps the monitored-resource types: those that every project has,
// and those that were seen in one. All methods may be called concurrently.
type Resources interface {
	// EnsureResource returns the descriptor of d.Project and d.Type, creating
	// it as d when there is none and adding the labels of d that it lacks.
	// The types that every project has never change. It is durable on return.
	EnsureResource(ctx context.Context, d ResourceDescriptor) (ResourceDescriptor, error)
	// Resource returns the descriptor of a type, or NotFound.
	Resource(ctx context.Context, project, typ string) (ResourceDescriptor, error)
	// ListResources returns the descriptors of a project, with those that
	// every project has, sorted by type.
	ListResources(ctx context.Context, project string) ([]ResourceDescriptor, error)
}

// Rollup declares a summary that is kept of the series of a metric: for every
// window of one width what some aligners need to answer without the points. The
// windows hang on Unix time 0: (k*Period, (k+1)*Period].
type Rollup struct {
	// Period is the width of a window: at least ten seconds, and a divisor of a
	// day or whole days.
	Period time.Duration `json:"period"`
	// Aligners are those that it answers, by the API's names: at least one.
	Aligners []string `json:"aligners"`
	// GroupBy are the fields whose values are kept apart when the series are
	// summed up together, as a request's groupByFields. None means that every
	// series is kept on its own.
	GroupBy []string `json:"groupBy,omitempty"`
}

// Rolled is what Descriptors can do that keep which rollups there are. All
// methods may be called concurrently.
type Rolled interface {
	// SetRollups declares the rollups of a metric in place of those that there
	// were, or is NotFound. It is durable on return.
	SetRollups(ctx context.Context, project, metric string, rollups []Rollup) (Descriptor, error)
	// Rolled returns the descriptors of all projects that have rollups.
	Rolled() []Descriptor
}
