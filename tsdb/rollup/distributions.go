package rollup

import (
	"slices"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// Distributions are what a Partial has of points that are distributions: those
// that stand for all of them, so that an aligner makes of these few what it would
// make of all. A field that the rule does not keep is nil.
type Distributions struct {
	// Merged is what all points make together. Its range is kept as the Partial's
	// Min and Max too, which come back exactly.
	Merged *tsdb.Distribution
	// Head and Tail are the first and the last point.
	Head, Tail *tsdb.Distribution
	// Unfit says that they stand for the points no longer, which have to be
	// read: some have dynamic buckets, which do not merge exactly, or a count
	// that grows began again at zero, or its buckets changed.
	Unfit bool
}

// described are the reducers of which the value of several series is that of
// their merged distributions.
var described = []string{
	"REDUCE_SUM", "REDUCE_SUMMARY", "REDUCE_MEAN", "REDUCE_STDDEV",
	"REDUCE_PERCENTILE_99", "REDUCE_PERCENTILE_95", "REDUCE_PERCENTILE_50", "REDUCE_PERCENTILE_05",
}

// The methods for the merged distribution: one that makes a distribution of it
// can be reduced with others, one that makes a number cannot.
var (
	merged   = Method{Needs: Merged | Min | Max, Reducers: described}
	measured = Method{Needs: merged.Needs}
)

// merging are the methods for GAUGE and DELTA metrics of distributions.
var merging = map[string]Method{
	"ALIGN_SUM":           merged,
	"ALIGN_DELTA":         merged,
	"ALIGN_SUMMARY":       merged,
	"ALIGN_PERCENTILE_99": measured,
	"ALIGN_PERCENTILE_95": measured,
	"ALIGN_PERCENTILE_50": measured,
	"ALIGN_PERCENTILE_05": measured,
	"ALIGN_NEXT_OLDER":    {Needs: Tail},
}

// growing are the methods for CUMULATIVE metrics of distributions. ALIGN_DELTA is
// the difference of the ends of every stretch in which nothing began again, so it
// needs no point in the middle of one.
var growing = map[string]Method{
	"ALIGN_DELTA": {Needs: Head | Tail | FirstAt | LastAt, Before: true},
}

// ofDistributions is the Partial of points of a metric of distributions, as far
// as the fields say.
func ofDistributions(fields Fields, points tsdb.Points) Partial {
	all, n := points.Distributions, points.Len()
	p := Partial{Count: float64(n), FirstAt: points.Times[0], LastAt: points.Times[n-1], Distributions: &Distributions{}}
	d := p.Distributions
	if fields&Merged != 0 {
		d.Merged = distribution.Merge(all...)
		d.Unfit = slices.ContainsFunc(all, Dynamic)
	}
	if fields&Head != 0 {
		d.Head = all[0]
		d.Unfit = d.Unfit || !steady(all)
	}
	if fields&Tail != 0 {
		d.Tail = all[n-1]
	}
	return p
}

// Dynamic reports whether d has dynamic buckets, which no rollup keeps.
func Dynamic(d *tsdb.Distribution) bool { return d.Buckets.Kind == tsdb.DynamicBuckets }

// steady reports whether each of the counts has grown out of the one before, in
// the same buckets.
func steady(all []*tsdb.Distribution) bool {
	for i, d := range all {
		if Dynamic(d) {
			return false
		}
		if i == 0 {
			continue
		}
		if _, grew := distribution.Subtract(d, all[i-1]); !grew || !distribution.Same(&d.Buckets, &all[i-1].Buckets) {
			return false
		}
	}
	return true
}

// with is what d and e, of other series, are together.
func (d *Distributions) with(e *Distributions) *Distributions {
	return &Distributions{Merged: distribution.Merge(d.Merged, e.Merged), Unfit: d.Unfit || e.Unfit}
}

// fitted prepares the distributions of a window for the storage: it sets the
// numbers of the range, and is false if the window cannot be kept.
func (c *computation) fitted(into *tsdb.Series, w *window) bool {
	d := w.Distributions
	if d.Unfit {
		return false
	}
	if m := d.Merged; m != nil {
		if m.Range != nil {
			w.Min, w.Max = m.Range.Min, m.Range.Max
		}
		sample := tsdb.Sample{Series: c.rule.hiddenDistributions(into, mergedName), Time: w.end, Distribution: bare(m)}
		return distribution.Validate(sample.Distribution) == nil && c.keeper.Check(sample) == ""
	}
	return true
}

// The names of Merged: as a field, and where it is when it has more exemplars than
// a storage takes, and is kept without.
const (
	mergedName = "merged"
	bareSuffix = "-"
)

// bare is d without exemplars.
func bare(d *tsdb.Distribution) *tsdb.Distribution {
	if len(d.Exemplars) == 0 {
		return d
	}
	out := *d
	out.Exemplars = nil
	return &out
}

// writeDistribution adds the field of a window to the batch. Merged is in one of
// two series, so that a version of it is there whole or not at all.
func (c *computation) writeDistribution(f *stored, into *tsdb.Series, w *window, at tsdb.Millis) {
	d, name := *f.distribution(w.Distributions), f.name
	if f.bare && distribution.Validate(d) != nil {
		d, name = bare(d), name+bareSuffix
	}
	c.batch = append(c.batch, tsdb.Sample{Series: c.rule.hiddenDistributions(into, name), Time: at, Distribution: d})
}

// hiddenDistributions is hidden for a field that is a distribution.
func (r *Rule) hiddenDistributions(s *tsdb.Series, name string) *tsdb.Series {
	out := r.hidden(s, name)
	out.ValueType = tsdb.Distributed
	return out
}

// Stand appends to points those that stand for the points of a window that ends
// at end, of which p is what Next has told.
func (p *Partial) Stand(end tsdb.Millis, points *tsdb.Points) {
	add := func(at tsdb.Millis, d *tsdb.Distribution) {
		points.Times, points.Distributions = append(points.Times, at), append(points.Distributions, d)
	}
	switch d := p.Distributions; {
	case d.Merged != nil && d.Merged.Range != nil:
		m := *d.Merged
		m.Range = &tsdb.Range{Min: p.Min, Max: p.Max}
		add(end, &m)
	case d.Merged != nil:
		add(end, d.Merged)
	case d.Head == nil:
		add(end, d.Tail)
	default:
		add(p.FirstAt, d.Head)
		if p.LastAt != p.FirstAt {
			add(p.LastAt, d.Tail)
		}
	}
}

// latestDistributions is latest of distributions.
func (r *Rule) latestDistributions(p tsdb.Points) column {
	c := column{first: p.Times[0]}
	for i, t := range p.Times {
		if i+1 < p.Len() && p.Times[i+1] <= r.EndOf(t) {
			continue
		}
		c.stamps, c.distributions = append(c.stamps, t), append(c.distributions, p.Distributions[i])
	}
	return c
}

// override puts the windows of other, of which those are newer that are not in c
// or are a later version, in their places. If the exemplars are needed, which they
// have lost, they are there without a distribution.
func (c *column) override(r *Rule, other *column, exemplars bool) {
	out := column{field: c.field}
	add := func(from *column, i int, lost bool) {
		d := from.distributions[i]
		if lost {
			d, out.lost = nil, true
		}
		out.stamps, out.distributions = append(out.stamps, from.stamps[i]), append(out.distributions, d)
	}
	i, j := 0, 0
	for i < c.len() || j < other.len() {
		switch {
		case j == other.len() || i < c.len() && r.EndOf(c.stamps[i]) < r.EndOf(other.stamps[j]):
			add(c, i, false)
			i++
		case i == c.len() || r.EndOf(other.stamps[j]) < r.EndOf(c.stamps[i]):
			add(other, j, exemplars)
			j++
		case c.stamps[i] > other.stamps[j]:
			j++
		default:
			i++
		}
	}
	if len(out.stamps) > 0 {
		out.first = out.stamps[0]
	}
	*c = out
}

// distributionBytes is how much memory a distribution takes, about.
func distributionBytes(d *tsdb.Distribution) int64 {
	const fixed, exemplar = 200, 200
	if d == nil {
		return 0
	}
	return fixed + 8*int64(len(d.Counts)+len(d.Buckets.Bounds)) + exemplar*int64(len(d.Exemplars))
}
