// Package tsdb holds the nouns of the time-series engine and the one interface
// that its storages implement. It does no I/O; the storages are in vm
// (VictoriaMetrics' storage engine in this process) and memory (for tests and
// as the oracle), and both pass tsdbtest.
//
// The model is Google Cloud Monitoring v3's: a time series is what one metric
// of one monitored resource of one project did over time. Windows are
// (start, end]; every point is stamped with its end.
package tsdb

import (
	"context"
	"slices"
	"strings"
)

// Millis is an instant as Unix time in milliseconds, UTC. It is the
// resolution of everything stored: finer timestamps are truncated on the way
// in.
type Millis int64

// MetricKind says how the points of a metric relate to time
// (google.api.MetricDescriptor.MetricKind).
type MetricKind string

// The metric kinds.
const (
	Gauge      MetricKind = "GAUGE"      // an instantaneous measurement
	Delta      MetricKind = "DELTA"      // the change over (start, end]
	Cumulative MetricKind = "CUMULATIVE" // a sum since a start; a fall is a reset
)

// ValueType is the type of a metric's values
// (google.api.MetricDescriptor.ValueType). Every number is stored as a float64:
// a BOOL as 0 or 1, an INT64 exactly up to 2^53.
type ValueType string

// The value types.
const (
	Bool   ValueType = "BOOL"
	Int64  ValueType = "INT64"
	Double ValueType = "DOUBLE"
	// Distributed is the type of metrics whose values are Distributions.
	Distributed ValueType = "DISTRIBUTION"
)

// Descriptor declares a metric type in a project. It is made explicitly or by
// the first point, and then fixed: a point of another kind or value type is
// refused, since a series that changes its meaning cannot be aligned.
type Descriptor struct {
	// Project is the project's id, without "projects/".
	Project string
	// Type is the metric type: "com.example.climate/temperature".
	Type string
	// Kind and ValueType default to GAUGE and DOUBLE.
	Kind      MetricKind
	ValueType ValueType
	// Unit is a UCUM unit, "" when unknown.
	Unit string
	// Details is what people are told of the metric; nil when it was made by
	// its first point and nobody said more.
	Details *Details
}

// Label is one name and value.
type Label struct{ Name, Value string }

// Labels are sorted by name, without repeated names.
type Labels []Label

// Get is the value of the label name, and whether there is one.
func (ls Labels) Get(name string) (string, bool) {
	i, found := slices.BinarySearchFunc(ls, name, func(l Label, n string) int { return strings.Compare(l.Name, n) })
	if !found {
		return "", false
	}
	return ls[i].Value, true
}

// LabelsOf sorts a map of labels.
func LabelsOf(m map[string]string) Labels {
	ls := make(Labels, 0, len(m))
	for k, v := range m {
		ls = append(ls, Label{k, v})
	}
	slices.SortFunc(ls, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	return ls
}

// Series identifies a time series. Two with equal project, metric, resource
// and labels are the same series; Kind, ValueType and Unit follow from the
// metric's descriptor and are no part of the identity. A Series that was
// handed to a Store or came from one is shared and must not be changed.
type Series struct {
	// Project is the project's id, without "projects/".
	Project string
	// Metric is the metric type, Resource the monitored-resource type
	// ("device").
	Metric, Resource string
	// MetricLabels and ResourceLabels are the labels of each.
	MetricLabels, ResourceLabels Labels
	Kind                         MetricKind
	ValueType                    ValueType
	Unit                         string
}

// Key is the identity as one string: equal for equal identities, different
// for different ones, and ordered by project, metric, resource, labels.
func (s *Series) Key() string {
	var b strings.Builder
	// No name or value may hold a NUL byte (see Check), so NUL separates.
	for _, part := range []string{s.Project, s.Metric, s.Resource} {
		b.WriteString(part)
		b.WriteByte(0)
	}
	for _, ls := range []Labels{s.MetricLabels, s.ResourceLabels} {
		for _, l := range ls {
			b.WriteString(l.Name)
			b.WriteByte(0)
			b.WriteString(l.Value)
			b.WriteByte(0)
		}
		b.WriteByte(0)
	}
	return b.String()
}

// Sample is one value of one series at one instant.
type Sample struct {
	Series *Series
	// Time is when the measured interval ended.
	Time  Millis
	Value float64
	// Distribution is the value if the series' ValueType is DISTRIBUTION, else
	// nil. It is shared from then on and must not be changed.
	Distribution *Distribution
}

// Points are the points of one series in columns of equal length: times
// strictly ascending, values beside them.
type Points struct {
	Times  []Millis
	Values []float64
	// Distributions are the values of a series of DISTRIBUTION; Values is nil
	// then. What a column points to is shared: it may be kept, and must not be
	// changed.
	Distributions []*Distribution
}

// Len is the number of points.
func (p Points) Len() int { return len(p.Times) }

// Slice are the points from index i up to, and without, j. It shares memory
// with p.
func (p Points) Slice(i, j int) Points {
	out := Points{Times: p.Times[i:j]}
	if p.Distributions != nil {
		out.Distributions = p.Distributions[i:j]
	} else {
		out.Values = p.Values[i:j]
	}
	return out
}

// Clone are the points in columns of their own.
func (p Points) Clone() Points {
	return Points{Times: slices.Clone(p.Times), Values: slices.Clone(p.Values), Distributions: slices.Clone(p.Distributions)}
}

// Interval is the closed interval [Start, End] of point times.
type Interval struct{ Start, End Millis }

// Selection says which series and which of their points a query reads.
type Selection struct {
	// Project is the id of the one project that is read; never "".
	Project string
	// Metric, if not "", is the one metric type; it narrows what the storage
	// has to look at.
	Metric string
	// Where says more about the series that Keep keeps: a storage that can
	// looks only at those of which every condition holds. It decides nothing,
	// and a storage may pass over it.
	Where []Condition
	// Keep decides about every other series of the project; nil keeps all.
	// It may be called concurrently and must not keep its argument.
	Keep func(*Series) bool
	// Interval bounds the point times, both ends included.
	Interval Interval
	// MaxSeries bounds the series that may match, and MaxPoints the points
	// that may be read; a selection over a bound ends with an Exhausted
	// error. 0 means the storage's own bound.
	MaxSeries, MaxPoints int
}

// Store keeps samples. All methods may be called concurrently.
type Store interface {
	// Append adds samples. On return they are visible to Select, and they
	// are durable only after a later Sync. The same series and time again
	// counts once; when the values differ the greatest one stays, whatever
	// the order of arrival, so that replays and retries cannot change an
	// answer. A NaN is refused. The samples are not kept after return.
	//
	// A sample of a series of DISTRIBUTION has a Distribution that
	// distribution.Validate accepts, and of two for one time that is kept which
	// distribution.Join makes of them. It counts against the bounds of a
	// Selection as many points as distribution.Parts says.
	Append(ctx context.Context, samples []Sample) error
	// Sync makes durable all that was appended before the call.
	Sync(ctx context.Context) error
	// Select calls visit once for every series that matches and has a point
	// in the interval, in no particular order, from one goroutine. The
	// points are valid until visit returns. An error of visit ends the
	// selection and is returned. A series without descriptor comes back as
	// GAUGE and DOUBLE, or DISTRIBUTION if that is what it holds. What a series
	// holds of the one sort while its metric is of the other is not visited.
	Select(ctx context.Context, sel Selection, visit func(*Series, Points) error) error
	// Close syncs and releases everything.
	Close() error
}

// Descriptors keeps the metric descriptors of every project. All methods may
// be called concurrently.
type Descriptors interface {
	// Ensure returns the descriptor of d.Project and d.Type, creating it as d
	// when there is none; a creation is durable on return. It does not
	// compare: the caller decides whether what it found suits it.
	Ensure(ctx context.Context, d Descriptor) (Descriptor, error)
	// Descriptor returns the descriptor of a metric type, or NotFound.
	Descriptor(ctx context.Context, project, metric string) (Descriptor, error)
	// List returns the descriptors of a project, sorted by type.
	List(ctx context.Context, project string) ([]Descriptor, error)
}
