package memory

import (
	"context"
	"fmt"
	"math"
	"slices"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

var (
	_ tsdb.Surveyor = (*Store)(nil)
	_ tsdb.Deleter  = (*Store)(nil)
	_ tsdb.Expirer  = (*Store)(nil)
)

// Survey implements tsdb.Surveyor.
func (s *Store) Survey(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series) error) error {
	if sel.Project == "" {
		return &fault.Error{Op: "tsdb/memory.Survey", Kind: fault.Invalid, Field: "project"}
	}
	return s.Select(ctx, sel, func(series *tsdb.Series, _ tsdb.Points) error { return visit(series) })
}

// Delete implements tsdb.Deleter.
func (s *Store) Delete(ctx context.Context, sel tsdb.Selection) (int, error) {
	return s.Expire(ctx, sel, math.MaxInt64)
}

// Expire implements tsdb.Expirer.
func (s *Store) Expire(ctx context.Context, sel tsdb.Selection, since tsdb.Millis) (int, error) {
	const op = "tsdb/memory.Delete"
	if sel.Project == "" {
		return 0, &fault.Error{Op: op, Kind: fault.Invalid, Field: "project"}
	}
	most := sel.MaxSeries
	sel.Interval, sel.MaxSeries = tsdb.Interval{Start: math.MinInt64, End: math.MaxInt64}, 0
	found, err := s.find(ctx, sel)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", op, err)
	}
	found = slices.DeleteFunc(found, func(c column) bool { return c.points.Times[c.points.Len()-1] >= since })
	if err := bound("series", len(found), most); err != nil {
		return 0, fmt.Errorf("%s: %w", op, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range found {
		delete(s.series, keyOf(f.series, f.points.Distributions != nil))
	}
	return len(found), nil
}
