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
			c.tracer.read(points.Len())
			return c.add(s, points)
		})
	}
	visit := func(_ *tsdb.Series, aligned any) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		err := c.gather(0, aligned.(collected))
		return c.reduces() || c.size <= c.pageSize, err
	}
	first := &c.stages[0]
	if windows, ok := store.(tsdb.WindowScanner); ok && first.aligner.Own(first.grid) {
		w := tsdb.Windows{
			Name: first.aligner.String(), End: first.grid.End, Period: first.grid.Period,
			Of: func(s *tsdb.Series, points tsdb.Points) tsdb.Points {
				if c.check(s) != nil {
					return tsdb.Points{} // and aligned tells why
				}
				return first.aligner.Align(first.grid, s, points)
			},
		}
		return windows.ScanWindows(ctx, sel, w, c.aligned, visit)
	}
	align := func(s *tsdb.Series, points tsdb.Points) (any, error) {
		c.tracer.read(points.Len())
		if err := c.check(s); err != nil {
			return nil, err
		}
		return c.stages[0].align(collected{Result{Series: s, Points: points}, s.Key()})
	}
	return scanner.Scan(ctx, sel, align, visit)
}

// aligned is what the first stage makes of a series whose points are aligned for
// it; read is how many points were read for that.
func (c *collector) aligned(s *tsdb.Series, points tsdb.Points, read int) (any, error) {
	c.tracer.read(read)
	if err := c.check(s); err != nil {
		return nil, err
	}
	first := &c.stages[0]
	out, err := first.aligner.Output(s)
	if err != nil {
		return nil, err
	}
	return collected{Result{Series: out, Points: points, Period: first.grid.Period}, s.Key()}, nil
}
