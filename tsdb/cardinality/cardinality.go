// Package cardinality counts the series of a project: those of each metric, and
// how many values each label has. It is how the label is found that holds an
// id which should not be one.
//
// Compute may be used concurrently. It holds some 16 bytes for each value of
// each label, of which it counts a bounded number.
package cardinality

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"

	"selvedge.dev/tsdb"
)

// maxValues bounds the values of labels that are counted: 64 MB.
const maxValues = 4_000_000

// Report is how many series there are, and of what.
type Report struct {
	// Series is how many series there are.
	Series int `json:"series"`
	// Metrics are the metrics with the most series, and Labels the labels with
	// the most values; both are sorted so.
	Metrics []Metric `json:"metrics"`
	Labels  []Label  `json:"labels"`
	// MetricCount and LabelCount are how many there are of each.
	MetricCount int `json:"metricCount"`
	LabelCount  int `json:"labelCount"`
	// AtLeast says that there were more values than are counted, so that those
	// of labels are what they are at least.
	AtLeast bool `json:"atLeast,omitempty"`
}

// Metric is how many series a metric has.
type Metric struct {
	Type   string `json:"type"`
	Series int    `json:"series"`
}

// Label is how many values a label has, and in how many series it is.
type Label struct {
	// Name is as in filters: metric.labels.X or resource.labels.X.
	Name   string `json:"name"`
	Values int    `json:"values"`
	Series int    `json:"series"`
}

// label is what is counted of a label.
type label struct {
	values map[uint64]struct{}
	series int
}

// labelName names a label.
type labelName struct {
	resource bool
	name     string
}

// counter counts.
type counter struct {
	seed    maphash.Seed
	series  int
	metrics map[string]int
	labels  map[labelName]*label
	values  int
	over    bool
}

// Compute counts the series that the selection matches, and reports the top
// metrics and labels.
func Compute(ctx context.Context, store tsdb.Surveyor, sel tsdb.Selection, top int) (Report, error) {
	c := &counter{seed: maphash.MakeSeed(), metrics: map[string]int{}, labels: map[labelName]*label{}}
	if err := store.Survey(ctx, sel, c.add); err != nil {
		return Report{}, err
	}
	r := Report{Series: c.series, MetricCount: len(c.metrics), LabelCount: len(c.labels), AtLeast: c.over, Metrics: []Metric{}, Labels: []Label{}}
	for typ, n := range c.metrics {
		r.Metrics = append(r.Metrics, Metric{typ, n})
	}
	slices.SortFunc(r.Metrics, func(a, b Metric) int { return cmp.Or(cmp.Compare(b.Series, a.Series), cmp.Compare(a.Type, b.Type)) })
	r.Metrics = r.Metrics[:min(top, len(r.Metrics))]
	for name, l := range c.labels {
		r.Labels = append(r.Labels, Label{name.String(), len(l.values), l.series})
	}
	slices.SortFunc(r.Labels, func(a, b Label) int {
		return cmp.Or(cmp.Compare(b.Values, a.Values), cmp.Compare(b.Series, a.Series), cmp.Compare(a.Name, b.Name))
	})
	r.Labels = r.Labels[:min(top, len(r.Labels))]
	return r, nil
}

// String is the name as in filters.
func (n labelName) String() string {
	if n.resource {
		return "resource.labels." + n.name
	}
	return "metric.labels." + n.name
}

// add counts a series.
func (c *counter) add(s *tsdb.Series) error {
	c.series++
	c.metrics[s.Metric]++
	for _, l := range s.MetricLabels {
		c.label(labelName{false, l.Name}, l.Value)
	}
	for _, l := range s.ResourceLabels {
		c.label(labelName{true, l.Name}, l.Value)
	}
	return nil
}

// label counts a label of a series.
func (c *counter) label(name labelName, value string) {
	l := c.labels[name]
	if l == nil {
		l = &label{values: map[uint64]struct{}{}}
		c.labels[name] = l
	}
	l.series++
	h := maphash.String(c.seed, value)
	if _, known := l.values[h]; known {
		return
	}
	if c.values >= maxValues {
		c.over = true
		return
	}
	c.values++
	l.values[h] = struct{}{}
}
