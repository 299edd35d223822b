package vm

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
)

var (
	_ tsdb.Deleter = (*Store)(nil)
	_ tsdb.Expirer = (*Store)(nil)
)

// deleteAtOnce is how many series the engine is asked to delete in one search.
const deleteAtOnce = 100

// Delete implements tsdb.Deleter. The engine marks the numbers that it gave to
// the series as deleted, and passes over their points from then on; merges leave
// them out by and by, so disk is freed with time (the engine never merges again
// what is old, so a month that is over may keep them until it is dropped).
// Appending waits while it runs. It is durable on return.
func (s *Store) Delete(ctx context.Context, sel tsdb.Selection) (int, error) {
	return s.drop(ctx, "tsdb/vm.Delete", sel, noLife)
}

// Expire implements tsdb.Expirer; see Delete for the disk. Appending waits only
// while a metric is looked through that has such series.
func (s *Store) Expire(ctx context.Context, sel tsdb.Selection, since tsdb.Millis) (int, error) {
	const op = "tsdb/vm.Expire"
	metrics, err := s.expired(ctx, op, sel, since)
	n := 0
	for metric := range metrics {
		if err != nil {
			break
		}
		sel.Metric = metric
		var removed int
		removed, err = s.drop(ctx, op, sel, since)
		n += removed
	}
	return n, err
}

// expired are the metrics of which series have no point since then.
func (s *Store) expired(ctx context.Context, op string, sel tsdb.Selection, since tsdb.Millis) (map[string]bool, error) {
	if err := s.use(op); err != nil {
		return nil, err
	}
	defer s.users.Done()
	if err := needsProject(op, sel); err != nil {
		return nil, err
	}
	if err := s.visible.reach(ctx, s.added.Load(), s.reveal); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	living, metrics := newSeen(), map[string]bool{}
	see := func(from tsdb.Millis, f func(*tsdb.Series)) error {
		within := storage.TimeRange{MinTimestamp: int64(from), MaxTimestamp: math.MaxInt64}
		return s.walk(ctx, sel, within, func(name []byte, mn *storage.MetricName) error {
			series, err := s.options.identify(&sel, mn, name)
			if err == nil && series != nil {
				f(series)
			}
			return err
		})
	}
	err := see(since, func(x *tsdb.Series) { living.add(x) })
	if err == nil {
		err = see(0, func(x *tsdb.Series) {
			if !living.has(x) {
				metrics[x.Metric] = true
			}
		})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return metrics, nil
}

// noLife is later than any point.
const noLife = tsdb.Millis(math.MaxInt64)

// drop deletes the series without a point since then.
func (s *Store) drop(ctx context.Context, op string, sel tsdb.Selection, since tsdb.Millis) (int, error) {
	if err := s.use(op); err != nil {
		return 0, err
	}
	defer s.users.Done()
	if err := needsProject(op, sel); err != nil {
		return 0, err
	}
	n, err := s.remove(ctx, sel, since)
	if err == nil && n > 0 {
		err = s.durable.reach(ctx, s.added.Load(), s.persist)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", op, err)
	}
	return n, nil
}

// remove finds the series and deletes them, while nothing is appended: a series
// that comes in between must not be taken for one that was found.
func (s *Store) remove(ctx context.Context, sel tsdb.Selection, since tsdb.Millis) (int, error) {
	s.adding.Lock()
	defer s.adding.Unlock()
	s.flush()
	d := deletion{sel: sel, seen: newSeen(), keys: map[string]map[string]bool{}}
	fill(&d.sel.MaxSeries, s.options.MaxSeries)
	all := sel
	// What decides nothing must not narrow it; and series that are not kept say
	// too which labels there are.
	all.Where, all.Keep = nil, nil
	if since != noLife {
		living := storage.TimeRange{MinTimestamp: int64(since), MaxTimestamp: math.MaxInt64}
		if err := s.walk(ctx, all, living, func(name []byte, mn *storage.MetricName) error { return d.spare(&s.options, name, mn) }); err != nil {
			return 0, err
		}
	}
	// All that the engine has, also what is older than the retention.
	everything := storage.TimeRange{MinTimestamp: 0, MaxTimestamp: math.MaxInt64}
	err := s.walk(ctx, all, everything, func(name []byte, mn *storage.MetricName) error { return d.see(&s.options, name, mn) })
	if err != nil {
		return 0, err
	}
	if len(d.seen.hashes) == 0 {
		return 0, nil
	}
	filters, err := d.filters(s)
	if err != nil {
		return 0, err
	}
	for part := range slices.Chunk(filters, deleteAtOnce) {
		if _, err := s.engine.DeleteSeries(nil, part, math.MaxInt32); err != nil {
			return 0, fmt.Errorf("delete: %w", err)
		}
	}
	s.added.Add(1) // for the sync: the deletion has to reach the disk
	return len(d.seen.hashes), nil
}

// deletion is a Delete under way.
type deletion struct {
	sel  tsdb.Selection
	seen *seen
	// spared are the series with newer points, nil when there is no difference.
	spared *seen
	// names are the engine's names of the series to delete, when not all of
	// the metric are.
	names [][]byte
	// keys are the labels that the series of a metric have.
	keys map[string]map[string]bool
}

// partly reports whether not all series of the metric or project are deleted.
func (d *deletion) partly() bool { return d.sel.Keep != nil || d.spared != nil }

// spare notes a series that has a newer point.
func (d *deletion) spare(o *Options, name []byte, mn *storage.MetricName) error {
	if d.spared == nil {
		d.spared = newSeen()
	}
	series, err := o.identify(&d.sel, mn, name)
	if err == nil && series != nil {
		d.spared.add(series)
	}
	return err
}

// see notes a series.
func (d *deletion) see(o *Options, name []byte, mn *storage.MetricName) error {
	series, err := o.identify(&d.sel, mn, name)
	if err != nil {
		return err
	}
	if d.partly() { // mn is of this series
		metric := string(mn.MetricGroup)
		if d.keys[metric] == nil {
			d.keys[metric] = map[string]bool{}
		}
		for i := range mn.Tags {
			if !d.keys[metric][string(mn.Tags[i].Key)] {
				d.keys[metric][string(mn.Tags[i].Key)] = true
			}
		}
	}
	if series == nil || d.spared != nil && d.spared.has(series) {
		return nil
	}
	d.seen.add(series)
	if d.partly() {
		d.names = append(d.names, slices.Clone(name))
	}
	return bound("series", len(d.seen.hashes), d.sel.MaxSeries)
}

// filters match the series to delete and no others: the whole metric or
// project, or every label of a series with its value and no label more.
func (d *deletion) filters(s *Store) ([]*storage.TagFilters, error) {
	if !d.partly() {
		f, err := s.filtersOf(tsdb.Selection{Project: d.sel.Project, Metric: d.sel.Metric})
		return []*storage.TagFilters{f}, err
	}
	var mn storage.MetricName
	var out []*storage.TagFilters
	for _, name := range d.names {
		if err := mn.Unmarshal(name); err != nil {
			return nil, fmt.Errorf("parse series name %q: %w", name, err)
		}
		filters, err := s.newFilters()
		if err != nil {
			return nil, err
		}
		if err := filters.Add(nil, mn.MetricGroup, false, false); err != nil {
			return nil, fmt.Errorf("filter by metric: %w", err)
		}
		absent := maps.Clone(d.keys[string(mn.MetricGroup)])
		for i := range mn.Tags {
			delete(absent, string(mn.Tags[i].Key))
			if err := filters.Add(mn.Tags[i].Key, mn.Tags[i].Value, false, false); err != nil {
				return nil, fmt.Errorf("filter by label: %w", err)
			}
		}
		for key := range absent {
			if err := filters.Add([]byte(key), nil, false, false); err != nil {
				return nil, fmt.Errorf("filter by absent label: %w", err)
			}
		}
		out = append(out, filters)
	}
	return out, nil
}
