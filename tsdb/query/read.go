package query

import (
	"context"

	"selvedge.dev/tsdb"
)

// read takes all series of a selection through the stages. From a tsdb.Scanner
// they are read and aligned for the first stage on all processors at once, and
// come in the order of their keys; so if nothing is reduced, what is behind the
// page need not be read.
func (c *collector) read(ctx context.Context, store tsdb.Store, sel tsdb.Selection) error {
	if done, err := c.push(ctx, store, sel); done || err != nil {
		return err
	}
	scanner, ok := store.(tsdb.Scanner)
	if !ok {
		return store.Select(ctx, sel, func(s *tsdb.Series, points tsdb.Points) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return c.add(s, points)
		})
	}
	align := func(s *tsdb.Series, points tsdb.Points) (any, error) {
		if err := c.check(s); err != nil {
			return nil, err
		}
		return c.stages[0].align(collected{Result{Series: s, Points: points}, s.Key()})
	}
	reduces := c.reduces()
	return scanner.Scan(ctx, sel, align, func(_ *tsdb.Series, aligned any) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		err := c.gather(0, aligned.(collected))
		return reduces || c.size <= c.pageSize, err
	})
}
