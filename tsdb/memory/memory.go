// Package memory keeps time series in this process's memory. It is the engine
// for tests and the oracle that other storages are compared with, so it
// prefers being obviously right to being fast or small.
//
// The invariant: the points of a series that a Select hands out are never
// written again. Late and repeated points wait in a pending list and are
// merged into new columns by the next reader, so a visit may take its time,
// and may even append.
//
// All methods may be called concurrently. Nothing is durable.
package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// Store keeps samples; make one with New.
type Store struct {
	descriptors tsdb.Descriptors

	mu     sync.Mutex
	series map[string]*column // by keyOf
}

var _ tsdb.Store = (*Store)(nil)

// New makes an empty store that asks descriptors what kind and value type the
// series of a metric have; nil means that there are no descriptors.
func New(descriptors tsdb.Descriptors) *Store {
	return &Store{descriptors: descriptors, series: map[string]*column{}}
}

// column is one series with its points.
type column struct {
	series *tsdb.Series
	// points are sorted and never changed in place, only appended to.
	points tsdb.Points
	// pending are samples that did not come after the last point.
	pending []tsdb.Sample
}

// keyOf is the key of a series with numbers or with distributions. Both of one
// identity are apart: one sort of them is hidden.
func keyOf(s *tsdb.Series, distributed bool) string {
	key := s.Key()
	if distributed {
		key += distributions
	}
	return key
}

// distributions is what keyOf adds to the key of distributions.
const distributions = "\x01"

// Append implements tsdb.Store. A batch with a NaN is refused as a whole.
func (s *Store) Append(_ context.Context, samples []tsdb.Sample) error {
	for i := range samples {
		if err := check(&samples[i]); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sample := range samples {
		key := keyOf(sample.Series, sample.Distribution != nil)
		c := s.series[key]
		if c == nil {
			c = &column{series: sample.Series}
			s.series[key] = c
		}
		c.append(sample)
	}
	return nil
}

// check is why a sample is refused.
func check(sample *tsdb.Sample) error {
	const op = "tsdb/memory.Append"
	var err error
	switch d := sample.Distribution; {
	case (d != nil) != (sample.Series.ValueType == tsdb.Distributed):
		err = errors.New("the sample is no distribution in a series of them, or the reverse")
	case d != nil:
		if err := distribution.Validate(d); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	case math.IsNaN(sample.Value):
		err = errors.New("the value is NaN")
	}
	if err != nil {
		return &fault.Error{Op: op, Name: sample.Series.Metric, Kind: fault.Invalid, Err: err}
	}
	return nil
}

// append adds one sample: at the end of the columns if it belongs there.
func (c *column) append(sample tsdb.Sample) {
	n := c.points.Len()
	if len(c.pending) > 0 || n > 0 && sample.Time <= c.points.Times[n-1] {
		c.pending = append(c.pending, sample)
		return
	}
	c.points.Times = append(c.points.Times, sample.Time)
	if sample.Distribution != nil {
		c.points.Distributions = append(c.points.Distributions, distribution.Canonical(sample.Distribution))
		return
	}
	c.points.Values = append(c.points.Values, sample.Value)
}

// merge moves what is pending into new columns, sorted by time; of equal
// times the greatest value stays.
func (c *column) merge() {
	if len(c.pending) == 0 {
		return
	}
	all := c.pending
	if all[0].Distribution != nil {
		c.mergeDistributions()
		return
	}
	for i, t := range c.points.Times {
		all = append(all, tsdb.Sample{Time: t, Value: c.points.Values[i]})
	}
	slices.SortFunc(all, func(a, b tsdb.Sample) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(b.Value, a.Value))
	})
	all = slices.CompactFunc(all, func(a, b tsdb.Sample) bool { return a.Time == b.Time })
	merged := tsdb.Points{Times: make([]tsdb.Millis, len(all)), Values: make([]float64, len(all))}
	for i, sample := range all {
		merged.Times[i], merged.Values[i] = sample.Time, sample.Value
	}
	c.points, c.pending = merged, nil
}

// mergeDistributions is merge for distributions, of which Join says what stays.
func (c *column) mergeDistributions() {
	all := c.pending
	for i, t := range c.points.Times {
		all = append(all, tsdb.Sample{Time: t, Distribution: c.points.Distributions[i]})
	}
	slices.SortStableFunc(all, func(a, b tsdb.Sample) int { return cmp.Compare(a.Time, b.Time) })
	var merged tsdb.Points
	for _, sample := range all {
		n := merged.Len()
		if n > 0 && merged.Times[n-1] == sample.Time {
			merged.Distributions[n-1] = distribution.Join(merged.Distributions[n-1], sample.Distribution)
			continue
		}
		merged.Times = append(merged.Times, sample.Time)
		merged.Distributions = append(merged.Distributions, distribution.Canonical(sample.Distribution))
	}
	c.points, c.pending = merged, nil
}

// size is how many points the points count as.
func size(points tsdb.Points) int {
	if points.Distributions == nil {
		return points.Len()
	}
	n := 0
	for _, d := range points.Distributions {
		n += distribution.Parts(d)
	}
	return n
}

// within are the points of the closed interval iv.
func (c *column) within(iv tsdb.Interval) tsdb.Points {
	c.merge()
	lo, _ := slices.BinarySearch(c.points.Times, iv.Start)
	hi, found := slices.BinarySearch(c.points.Times, iv.End)
	if found {
		hi++
	}
	hi = max(lo, hi)
	if c.points.Distributions != nil {
		return tsdb.Points{Times: c.points.Times[lo:hi:hi], Distributions: c.points.Distributions[lo:hi:hi]}
	}
	return tsdb.Points{Times: c.points.Times[lo:hi:hi], Values: c.points.Values[lo:hi:hi]}
}

// Sync implements tsdb.Store; there is nothing to make durable.
func (*Store) Sync(context.Context) error { return nil }

// Close implements tsdb.Store; there is nothing to release.
func (*Store) Close() error { return nil }

// Select implements tsdb.Store. It visits in the order of the series' keys.
// No lock is held during a visit.
func (s *Store) Select(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	const op = "tsdb/memory.Select"
	found, err := s.find(ctx, sel)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	for _, f := range found {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		if err := visit(f.series, f.points); err != nil {
			return err
		}
	}
	return nil
}

// find collects what sel selects, within its bounds, sorted by key.
func (s *Store) find(ctx context.Context, sel tsdb.Selection) ([]column, error) {
	described, err := s.described(ctx, sel.Project)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for key, c := range s.series {
		if c.series.Project == sel.Project && (sel.Metric == "" || c.series.Metric == sel.Metric) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var found []column
	points := 0
	for _, key := range keys {
		c := s.series[key]
		series := describe(c.series, described)
		if (series.ValueType == tsdb.Distributed) != strings.HasSuffix(key, distributions) {
			continue
		}
		if sel.Keep != nil && !sel.Keep(series) {
			continue
		}
		within := c.within(sel.Interval)
		if within.Len() == 0 {
			continue
		}
		found = append(found, column{series: series, points: within})
		points += size(within)
		if err := bound("series", len(found), sel.MaxSeries); err != nil {
			return nil, err
		}
		if err := bound("points", points, sel.MaxPoints); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// bound is Exhausted when n of something are over the limit; 0 is no limit.
func bound(what string, n, limit int) error {
	if limit == 0 || n <= limit {
		return nil
	}
	return &fault.Error{Kind: fault.Exhausted, Err: fmt.Errorf("the selection holds more than %d %s", limit, what)}
}

// described maps the metric types of a project to their descriptors.
func (s *Store) described(ctx context.Context, project string) (map[string]tsdb.Descriptor, error) {
	if s.descriptors == nil {
		return nil, nil
	}
	list, err := s.descriptors.List(ctx, project)
	if err != nil {
		return nil, fmt.Errorf("list descriptors: %w", err)
	}
	m := make(map[string]tsdb.Descriptor, len(list))
	for _, d := range list {
		m[d.Type] = d
	}
	return m, nil
}

// describe is the series with the kind, value type and unit of its metric.
func describe(series *tsdb.Series, described map[string]tsdb.Descriptor) *tsdb.Series {
	d := described[series.Metric]
	kind, valueType := cmp.Or(d.Kind, tsdb.Gauge), d.ValueType
	if valueType == "" {
		if valueType = tsdb.Double; series.ValueType == tsdb.Distributed {
			valueType = tsdb.Distributed
		}
	}
	if series.Kind == kind && series.ValueType == valueType && series.Unit == d.Unit {
		return series
	}
	c := *series
	c.Kind, c.ValueType, c.Unit = kind, valueType, d.Unit
	return &c
}

// Descriptors keeps metric descriptors; the zero value is ready for use.
type Descriptors struct {
	mu   sync.Mutex
	byID map[[2]string]tsdb.Descriptor // project and type
}

var _ tsdb.Descriptors = (*Descriptors)(nil)

// Ensure implements tsdb.Descriptors.
func (ds *Descriptors) Ensure(_ context.Context, d tsdb.Descriptor) (tsdb.Descriptor, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	id := [2]string{d.Project, d.Type}
	if have, ok := ds.byID[id]; ok {
		return have, nil
	}
	if ds.byID == nil {
		ds.byID = map[[2]string]tsdb.Descriptor{}
	}
	d.Kind, d.ValueType = cmp.Or(d.Kind, tsdb.Gauge), cmp.Or(d.ValueType, tsdb.Double)
	ds.byID[id] = d
	return d, nil
}

// Descriptor implements tsdb.Descriptors.
func (ds *Descriptors) Descriptor(_ context.Context, project, metric string) (tsdb.Descriptor, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d, ok := ds.byID[[2]string{project, metric}]
	if !ok {
		return tsdb.Descriptor{}, &fault.Error{
			Op: "tsdb/memory.Descriptor", Name: "projects/" + project + "/metricDescriptors/" + metric,
			Kind: fault.NotFound,
		}
	}
	return d, nil
}

// List implements tsdb.Descriptors.
func (ds *Descriptors) List(_ context.Context, project string) ([]tsdb.Descriptor, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	var list []tsdb.Descriptor
	for id, d := range ds.byID {
		if id[0] == project {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b tsdb.Descriptor) int { return strings.Compare(a.Type, b.Type) })
	return list, nil
}
