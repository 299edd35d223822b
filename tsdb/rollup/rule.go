package rollup

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query/filter"
	"selvedge.dev/tsdb/validity"
)

// The bounds of what can be declared.
const (
	// MaxRollups is how many rollups a metric may have: each costs a part of
	// what its samples do.
	MaxRollups = 8
	// minPeriod leaves ten thousand versions to a window.
	minPeriod  = 10 * time.Second
	maxPeriod  = 366 * 24 * time.Hour
	maxGroupBy = 16
)

// day is what a period divides or is a multiple of.
const day = 24 * time.Hour

// Check is why rollups cannot be those of the metric d, an Invalid fault with
// the field, or nil.
func Check(d tsdb.Descriptor, rollups []tsdb.Rollup) error {
	if len(rollups) > MaxRollups {
		return bad(d, "rollups", "there are %d, and a metric may have at most %d", len(rollups), MaxRollups)
	}
	for i, r := range rollups {
		at := fmt.Sprintf("rollups[%d].", i)
		switch {
		case r.Period < minPeriod || r.Period > maxPeriod || r.Period%time.Millisecond != 0 || day%r.Period != 0 && r.Period%day != 0:
			return bad(d, at+"period", "%s is not at least %s and at most %s, or neither a divisor of a day nor whole days", r.Period, minPeriod, maxPeriod)
		case len(r.Aligners) == 0:
			return bad(d, at+"aligners", "there has to be one at least")
		case len(r.GroupBy) > maxGroupBy:
			return bad(d, at+"groupBy", "there are %d fields, and at most %d can be", len(r.GroupBy), maxGroupBy)
		}
		for j, name := range r.Aligners {
			if err := checkAligner(d, name, len(r.GroupBy) > 0); err != nil {
				return bad(d, fmt.Sprintf("%saligners[%d]", at, j), "%w", err)
			}
		}
		for j, text := range r.GroupBy {
			if _, err := filter.ParseField(text); err != nil {
				return bad(d, fmt.Sprintf("%sgroupBy[%d]", at, j), "%w", err)
			}
		}
		for _, other := range rollups[:i] {
			if identity(other) == identity(r) {
				return bad(d, at+"period", "there is another rollup of %s and the same groups", r.Period)
			}
		}
	}
	return nil
}

// bad is an Invalid fault about the rollups of d.
func bad(d tsdb.Descriptor, field, format string, args ...any) error {
	return &fault.Error{
		Op: "tsdb/rollup.Check", Name: "projects/" + d.Project + "/metricDescriptors/" + d.Type, Kind: fault.Invalid,
		Reason: "INVALID_ROLLUP", Field: field, Err: fmt.Errorf(format, args...),
	}
}

// checkAligner is why a rollup of d cannot answer an aligner.
func checkAligner(d tsdb.Descriptor, name string, grouped bool) error {
	row, ok := validity.Of(validity.Aligner, name)
	if !ok {
		return fmt.Errorf("there is no aligner %.40q", name)
	}
	kind, valueType := cmp.Or(d.Kind, tsdb.Gauge), cmp.Or(d.ValueType, tsdb.Double)
	if !row.Accepts(kind, valueType) {
		return fmt.Errorf("%s cannot be applied to a %s metric of %s values", name, kind, valueType)
	}
	m, ok := MethodOf(name, kind, valueType)
	switch {
	case !ok:
		return fmt.Errorf("%s cannot be computed from parts of a window, so no rollup can answer it", name)
	case grouped && len(m.Reducers) == 0:
		return fmt.Errorf("%s of several series cannot be computed from their sums, so no rollup of groups can answer it", name)
	}
	return nil
}

// identity is what tells two rollups of a metric apart. Equal rollups have equal
// ones, and a rollup of other aligners is another one: what it keeps is not the
// same.
func identity(r tsdb.Rollup) string {
	groups := slices.Sorted(slices.Values(r.GroupBy))
	return r.Period.String() + " " + strings.Join(groups, ",")
}

// metricID names a metric.
type metricID struct{ project, metric string }

// Rule is a rollup that is kept.
type Rule struct {
	// ID is the rollup's own: a rollup that is declared again after it was
	// removed is another one, and has nothing to do with what the first wrote.
	ID string
	// Metric is the metric's descriptor.
	Metric tsdb.Descriptor
	// Rollup is what was declared.
	Rollup tsdb.Rollup
	// Period is the width of its windows.
	Period tsdb.Millis
	// GroupBy are the fields that tell groups apart, none for a rollup of
	// each series.
	GroupBy []filter.Field

	fields Fields
	// target is up to when windows were, or are just being, computed for the
	// first time.
	target atomic.Int64
	// lowest is the oldest sample that was not marked since the last look, 0
	// for none; only kept when others write too.
	lowest atomic.Int64
	// span is how many windows the next pass takes.
	span atomic.Int64
	// done is up to when windows were computed in all slots, so that nobody has
	// to ask; -1 when some were set back since the last look.
	done atomic.Int64
	// slice is how many windows are read at once.
	slice atomic.Int64
}

// newRule is the rule of a rollup that passed Check.
func newRule(id string, d tsdb.Descriptor, r tsdb.Rollup) (*Rule, error) {
	rule := &Rule{ID: id, Metric: d, Rollup: r, Period: tsdb.Millis(r.Period / time.Millisecond)}
	for _, name := range r.Aligners {
		m, ok := MethodOf(name, cmp.Or(d.Kind, tsdb.Gauge), d.ValueType)
		if !ok {
			return nil, fmt.Errorf("rollup of %s: no method for %s", d.Type, name)
		}
		rule.fields |= m.Needs
	}
	for _, text := range r.GroupBy {
		f, err := filter.ParseField(text)
		if err != nil {
			return nil, fmt.Errorf("rollup of %s: %w", d.Type, err)
		}
		rule.GroupBy = append(rule.GroupBy, f)
	}
	rule.span.Store(max(1, int64(day/time.Millisecond)/int64(rule.Period)))
	rule.slice.Store(rule.span.Load())
	return rule, nil
}

// Grouped reports whether the rule keeps groups and not every series.
func (r *Rule) Grouped() bool { return len(r.GroupBy) > 0 }

// Has reports whether the rule keeps the fields.
func (r *Rule) Has(fields Fields) bool { return r.fields&fields == fields }

// Of is the series that the rule keeps s in: s itself, or its group.
func (r *Rule) Of(s *tsdb.Series) *tsdb.Series {
	if !r.Grouped() {
		return s
	}
	metric, resource := map[string]string{}, map[string]string{}
	for _, f := range r.GroupBy {
		if name, ok := f.MetricLabel(); ok {
			if v, ok := s.MetricLabels.Get(name); ok {
				metric[name] = v
			}
		}
		if name, ok := f.ResourceLabel(); ok {
			if v, ok := s.ResourceLabels.Get(name); ok {
				resource[name] = v
			}
		}
	}
	return &tsdb.Series{
		Project: s.Project, Metric: s.Metric, Resource: s.Resource,
		MetricLabels: tsdb.LabelsOf(metric), ResourceLabels: tsdb.LabelsOf(resource),
		Kind: s.Kind, ValueType: s.ValueType, Unit: s.Unit,
	}
}

// EndOf is the end of the rule's window that holds t.
func (r *Rule) EndOf(t tsdb.Millis) tsdb.Millis { return floor(t-1, r.Period) + r.Period }

// floor is the greatest multiple of period that is not greater than t.
func floor(t, period tsdb.Millis) tsdb.Millis {
	m := t % period
	if m < 0 {
		m += period
	}
	return t - m
}

// hiddenPrefix begins the id of the project that holds what is kept of another
// one. No project's id has a "/", so nobody can write there or ask for it.
const hiddenPrefix = "rollups/"

// Hidden reports whether a project holds what is kept here, and is none that
// anybody else has to do with.
func Hidden(project string) bool { return strings.HasPrefix(project, hiddenPrefix) }

// Origin is the project and the metric that a hidden series was made of.
func Origin(s *tsdb.Series) (project, metric string, ok bool) {
	if project, ok = strings.CutPrefix(s.Project, hiddenPrefix); !ok {
		return "", "", false
	}
	parts := strings.SplitN(s.Metric, "/", 3)
	if len(parts) != 3 {
		return "", "", false
	}
	return project, parts[2], true
}

// hiddenMetric is the metric type of the hidden series with a field of a rule.
func (r *Rule) hiddenMetric(name string) string { return r.ID + "/" + name + "/" + r.Metric.Type }

// hidden is the hidden series of numbers with a field of what the rule keeps of
// s.
func (r *Rule) hidden(s *tsdb.Series, name string) *tsdb.Series {
	return &tsdb.Series{
		Project: hiddenPrefix + s.Project, Metric: r.hiddenMetric(name), Resource: s.Resource,
		MetricLabels: s.MetricLabels, ResourceLabels: s.ResourceLabels, Kind: tsdb.Gauge, ValueType: tsdb.Double,
	}
}

// Distributed reports whether the rule's metric is one of distributions.
func (r *Rule) Distributed() bool { return r.Metric.ValueType == tsdb.Distributed }

// shown is the inverse of hidden.
func (r *Rule) shown(s *tsdb.Series) *tsdb.Series {
	d := &r.Metric
	return &tsdb.Series{
		Project: d.Project, Metric: d.Type, Resource: s.Resource, MetricLabels: s.MetricLabels, ResourceLabels: s.ResourceLabels,
		Kind: cmp.Or(d.Kind, tsdb.Gauge), ValueType: cmp.Or(d.ValueType, tsdb.Double), Unit: d.Unit,
	}
}

// slots is into how many parts the series of every rollup are divided, which
// different writers may own. It can never change.
const slots = 8

// slotOf is the slot of the series or group with that key.
func slotOf(key string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // a hash takes everything
	return int(h.Sum32() % slots)
}

// String is how a rule is logged.
func (r *Rule) String() string {
	return r.Metric.Project + "/" + r.Metric.Type + " " + r.Rollup.Period.String() + " " + strconv.Itoa(len(r.GroupBy))
}
