package vm

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"strconv"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

var _ tsdb.Surveyor = (*Store)(nil)

// Survey implements tsdb.Surveyor: it reads the index and the heads of blocks,
// and holds eight bytes for each series.
func (s *Store) Survey(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series) error) error {
	const op = "tsdb/vm.Survey"
	if err := s.use(op); err != nil {
		return err
	}
	defer s.users.Done()
	if err := needsProject(op, sel); err != nil {
		return err
	}
	if err := s.visible.reach(ctx, s.added.Load(), s.reveal); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	fill(&sel.MaxSeries, s.options.MaxSeries)
	within, ok := s.options.within(sel)
	if !ok {
		return nil
	}
	var visitErr error
	seen := newSeen()
	err := s.walk(ctx, sel, within, func(name []byte, mn *storage.MetricName) error {
		series, err := s.options.identify(&sel, mn, name)
		if err != nil || series == nil || !seen.add(series) {
			return err
		}
		if err := bound("series", len(seen.hashes), sel.MaxSeries); err != nil {
			return err
		}
		visitErr = visit(series)
		return visitErr
	})
	if err != nil && visitErr == nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return err
}

// needsProject is the error of a selection without a project.
func needsProject(op string, sel tsdb.Selection) error {
	if sel.Project != "" {
		return nil
	}
	return &fault.Error{Op: op, Kind: fault.Invalid, Field: "project", Err: errors.New("a selection needs a project")}
}

// within are the times that are read for a selection, and whether there are
// any.
func (o *Options) within(sel tsdb.Selection) (storage.TimeRange, bool) {
	now := time.Now()
	kept := o.kept(now, 0)
	tr := storage.TimeRange{
		MinTimestamp: int64(max(sel.Interval.Start, kept.Start, o.earliest(now, sel.Project, sel.Metric))),
		MaxTimestamp: int64(min(sel.Interval.End, kept.End)),
	}
	return tr, tr.MinTimestamp <= tr.MaxTimestamp
}

// seen is a set of series by a hash of 64 bits of what identifies them.
type seen struct {
	seed   maphash.Seed
	hashes map[uint64]struct{}
}

// newSeen is an empty set.
func newSeen() *seen { return &seen{seed: maphash.MakeSeed(), hashes: map[uint64]struct{}{}} }

// add adds a series, and reports whether it is new.
func (s *seen) add(series *tsdb.Series) bool {
	h := maphash.String(s.seed, series.Key())
	if _, known := s.hashes[h]; known {
		return false
	}
	s.hashes[h] = struct{}{}
	return true
}

// has reports whether the series is in the set.
func (s *seen) has(series *tsdb.Series) bool {
	_, known := s.hashes[maphash.String(s.seed, series.Key())]
	return known
}

// walk calls f with the engine's name of every series that may match the
// selection and has a block in the time range; a name may come again.
func (s *Store) walk(ctx context.Context, sel tsdb.Selection, within storage.TimeRange, f func(name []byte, mn *storage.MetricName) error) error {
	filters, err := s.filtersOf(sel)
	if err != nil {
		return err
	}
	search := s.search()
	defer s.searched(search)
	search.Init(nil, s.engine, []*storage.TagFilters{filters}, within, math.MaxInt32, deadline(ctx))
	var mn storage.MetricName
	var last []byte
	for search.NextMetricBlock() {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := search.MetricBlockRef.MetricName
		if last != nil && string(name) == string(last) {
			continue
		}
		last = append(last[:0], name...)
		if err := f(last, &mn); err != nil {
			return err
		}
	}
	if err := search.Error(); errors.Is(err, storage.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	} else if err != nil {
		return fmt.Errorf("search: %w", err)
	}
	return nil
}

// newFilters are filters that match every series. The engine caches which series
// a filter finds, and forgets that up to ten seconds after a new one is visible;
// so a number that changes with what is in the index makes it another filter. No
// series has its label.
func (s *Store) newFilters() (*storage.TagFilters, error) {
	filters := storage.NewTagFilters()
	if err := filters.Add([]byte(freshLabel), strconv.AppendUint(nil, s.indexed.Load(), 10), true, false); err != nil {
		return nil, fmt.Errorf("filter what is fresh: %w", err)
	}
	return filters, nil
}

// makeFilters makes the engine's filters for a selection.
func (s *Store) makeFilters(sel tsdb.Selection) (*storage.TagFilters, error) {
	filters, err := s.newFilters()
	if err != nil {
		return nil, err
	}
	if err := filters.Add([]byte(projectLabel), []byte(escapeOf(sel.Project)+sel.Project), false, false); err != nil {
		return nil, fmt.Errorf("filter by project: %w", err)
	}
	if sel.Metric != "" {
		if err := filters.Add(nil, []byte(sel.Metric), false, false); err != nil {
			return nil, fmt.Errorf("filter by metric: %w", err)
		}
	}
	for _, c := range sel.Where {
		if err := addCondition(filters, c); err != nil {
			return nil, fmt.Errorf("filter by %s: %w", c.Label, err)
		}
	}
	return filters, nil
}
