package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// deltaAligner is ALIGN_DELTA: how much the metric changed over the window.
//
//   - Source: "Align and convert to DELTA. The output is delta = y1 - y0."
//   - Valid for CUMULATIVE and DELTA metrics with numeric and distribution
//     values, not for GAUGE; the value type stays and the kind becomes DELTA
//     (the API).
//   - CUMULATIVE: the sum of the increases from point to point, each counted
//     in the window that holds its later point. The first increase is
//     measured from the last point before the window (see Lookback). So the
//     deltas of adjoining windows add up to the whole increase.
//   - DELTA: the sum of the window's values.
//   - Gaps: an empty window gives no point. The increase over a gap counts in
//     the window where the points resume. The API would interpolate.
//   - Resets: a value below the one before says that the count began again at
//     zero, so the increase is the value itself. An increase between the last
//     point and the restart is unknown and not counted.
//   - A single point of a CUMULATIVE metric with none before it determines no
//     change and gives no point: what it counted may be older than the window.
//   - Edges: a point exactly on the window's start is the one measured from;
//     one on the end is counted.
//   - Distributions: those of a DELTA metric are merged; the increase of
//     CUMULATIVE ones is distribution.Subtract. One that has fewer values than
//     the one before, as a whole or in a bucket, is a reset. When the buckets
//     change, the increase has the bounds that both have.
//   - Late data splits the increase anew between the windows on both sides of
//     it, and leaves their sum as it was unless it tells of a reset.
type deltaAligner struct{}

func (deltaAligner) name() string { return "ALIGN_DELTA" }

func (deltaAligner) reads(g Grid) tsdb.Interval {
	return tsdb.Interval{Start: g.first() - g.Lookback(), End: g.End}
}

func (deltaAligner) value(w *window) (float64, bool) {
	if w.kind == tsdb.Delta {
		return population.Sum(w.values), true
	}
	total, _, ok := w.increase()
	return total, ok
}

func (deltaAligner) distribution(w *window) *tsdb.Distribution {
	if w.kind == tsdb.Delta {
		return distribution.Merge(w.distributions...)
	}
	ds := w.distributions[1:]
	last := w.distributions[0]
	if i, found := w.before(); found {
		ds, last = w.distributions, w.all.Distributions[i]
	}
	if len(ds) == 0 {
		return nil
	}
	// Between two resets it is the difference of the ends, and not the sum of
	// many differences, each of which is rounded. The ends of a stretch may not
	// have the bounds that its neighbours have; then there are two stretches.
	var parts []*tsdb.Distribution
	since, grown := last, &tsdb.Distribution{}
	for _, d := range ds {
		more, ok := distribution.Subtract(d, since)
		if !ok || last != since && !grew(d, last) {
			parts = append(parts, grown)
			if since = last; !grew(d, last) { // the count began again at zero
				since = &tsdb.Distribution{}
			}
			more, _ = distribution.Subtract(d, since)
		}
		grown, last = more, d
	}
	return distribution.Merge(append(parts, grown)...)
}

// grew reports whether later can be earlier and more.
func grew(later, earlier *tsdb.Distribution) bool {
	_, ok := distribution.Subtract(later, earlier)
	return ok
}

// increase is how much a counter grew within the window and over how many
// milliseconds that was measured, or false when one point is all there is.
func (w *window) increase() (total float64, over tsdb.Millis, ok bool) {
	values, since := w.values[1:], w.times[0]
	last := w.values[0]
	if i, found := w.before(); found {
		values, since, last = w.values, w.all.Times[i], w.all.Values[i]
	}
	if len(values) == 0 {
		return 0, 0, false
	}
	for _, v := range values {
		if v < last { // the counter began again at zero
			last = 0
		}
		total += v - last
		last = v
	}
	return total, w.times[len(w.times)-1] - since, true
}
