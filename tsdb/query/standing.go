package query

import (
	"context"
	"errors"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/rollup"
)

// errDynamic ends the reading of a rollup when there are points with dynamic
// buckets: what those make with others depends on the order.
var errDynamic = errors.New("there are distributions with dynamic buckets")

// assembled answers from a rollup, or if that turns out not to be possible from
// the points.
func (c *collector) assembled(ctx context.Context, e *Engine, by *choice, sel tsdb.Selection) error {
	used := c.lease.used.Load()
	err := c.assemble(ctx, e, by, sel)
	if !errors.Is(err, errDynamic) {
		return err
	}
	c.lease.refund(c.lease.used.Load() - used)
	c.tracer.counted()
	if err := c.read(ctx, e.store, sel); err != nil {
		return err
	}
	c.tracer.raw(sel.Interval, errDynamic.Error())
	c.tracer.stage("read and align points")
	return nil
}

// standing are points of a metric of distributions that stand for all of a
// series: those of the rollup's windows, and between them the points that were
// read. The aligner makes of them what it would make of all.
func (a *assembly) standing(k *rollup.Kept, points tsdb.Points, dirty map[tsdb.Millis]bool) tsdb.Points {
	if k == nil {
		return points
	}
	var all tsdb.Points
	i := 0
	take := func(until tsdb.Millis) {
		from := i
		for i < points.Len() && points.Times[i] <= until {
			i++
		}
		all.Times = append(all.Times, points.Times[from:i]...)
		all.Distributions = append(all.Distributions, points.Distributions[from:i]...)
	}
	for {
		end, p, ok := k.Next()
		if !ok {
			break
		}
		if _, used := a.uses(end); used && p != nil && !dirty[end] {
			take(end)
			p.Stand(end, &all)
		}
	}
	take(a.reads.End)
	return all
}

// heldBytes is how much memory points take, about.
func heldBytes(points tsdb.Points) int64 {
	n := pointBytes * int64(points.Len())
	for _, d := range points.Distributions {
		n += distributionBytes(d)
	}
	return n
}
