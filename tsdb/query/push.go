package query

import (
	"context"
	"slices"

	"selvedge.dev/tsdb"
)

// push has the store align the series for the first stage, if it is a
// tsdb.Pusher and can; it reports whether it did.
func (c *collector) push(ctx context.Context, store tsdb.Store, sel tsdb.Selection) (bool, error) {
	pusher, ok := store.(tsdb.Pusher)
	first := &c.stages[0]
	if !ok || first.aligner.None() {
		return false, nil
	}
	a := tsdb.Alignment{
		Aligner: first.aligner.String(), End: first.grid.End, Period: first.grid.Period, Windows: first.grid.Windows(),
	}
	return pusher.Push(ctx, sel, a, func(s *tsdb.Series, points tsdb.Points) error {
		if err := c.check(s); err != nil {
			return err
		}
		out, err := first.aligner.Output(s)
		if err != nil {
			return err
		}
		points = tsdb.Points{Times: slices.Clone(points.Times), Values: slices.Clone(points.Values)}
		return c.gather(0, collected{Result{Series: out, Points: points, Period: first.grid.Period}, s.Key()})
	})
}
