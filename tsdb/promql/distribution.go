package promql

import (
	"math"
	"strconv"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// The endings of the names that a metric of distributions is found by, as
// Prometheus names the series of a classic histogram.
const (
	bucketEnding = "_bucket"
	countEnding  = "_count"
	sumEnding    = "_sum"
)

// endings are what the names end in that queries have for the series of a type.
func endings(t tsdb.ValueType) []string {
	if t == tsdb.Distributed {
		return []string{bucketEnding, countEnding, sumEnding}
	}
	return []string{""}
}

// directory says which metric types there are, by the names that queries have
// for them.
type directory struct {
	names []string
	// types are the metric types by name; "" is more than one.
	types map[string]string
	// cumulative are the metrics of that kind.
	cumulative map[string]bool
}

// directoryOf is the directory of those metrics.
func directoryOf(ds []tsdb.Descriptor) *directory {
	d := &directory{types: make(map[string]string, len(ds)), cumulative: map[string]bool{}}
	for _, m := range ds {
		if m.Kind == tsdb.Cumulative {
			d.cumulative[m.Type] = true
		}
		for _, ending := range endings(m.ValueType) {
			name := m.Type + ending
			if _, twice := d.types[name]; twice {
				d.types[name] = ""
				continue
			}
			d.names = append(d.names, name)
			d.types[name] = m.Type
		}
	}
	return d
}

// find is the name that a query means, and the one metric type that has it, ""
// if it cannot be told. A name that nothing has is its own type.
func (d *directory) find(name string) (exact, metric string, err error) {
	if exact, err = typeOf(name, d.names); err != nil {
		return "", "", err
	}
	metric, known := d.types[exact]
	if !known {
		metric = exact
	}
	return exact, metric, nil
}

// unfolding hands out stored series as the series that queries see.
type unfolding struct {
	// matchers are what a series has to meet.
	matchers []matcher
	// spend is told how many samples will be made before they are.
	spend func(n int) error
	// see gets a series; the columns are valid until it returns.
	see func(ls tsdb.Labels, times []tsdb.Millis, values []float64) error
}

// series hands out s: itself, or the classic histogram that its distributions are,
// which is for each bound how many values were below it, how many there were, and
// their sum.
func (u *unfolding) series(s *tsdb.Series, p tsdb.Points) error {
	if p.Distributions == nil {
		if err := u.spend(p.Len()); err != nil {
			return err
		}
		return u.see(labelsOf(s, ""), p.Times, p.Values)
	}
	for _, ending := range []string{countEnding, sumEnding} {
		ls := labelsOf(s, ending)
		if !meets(u.matchers, ls, "") {
			continue
		}
		if err := u.spend(p.Len()); err != nil {
			return err
		}
		values := make([]float64, p.Len())
		for i, d := range p.Distributions {
			if values[i] = float64(d.Count); ending == sumEnding {
				values[i] *= d.Mean
			}
		}
		if err := u.see(ls, p.Times, values); err != nil {
			return err
		}
	}
	base := labelsOf(s, bucketEnding)
	if !meets(u.matchers, base, bucketLabel) {
		return nil
	}
	if le, ok := base.Get(bucketLabel); ok {
		base = with(base, exported+bucketLabel, le)
	}
	return u.buckets(base, p)
}

// buckets hands out the buckets of distributions as series with those labels and
// the bound. Dynamic buckets have no bounds but the last.
func (u *unfolding) buckets(base tsdb.Labels, p tsdb.Points) error {
	index := map[float64]int{}
	var made []tsdb.Points
	add := func(bound float64, at tsdb.Millis, count int64) {
		i, ok := index[bound]
		if !ok {
			i = len(made)
			index[bound] = i
			made = append(made, tsdb.Points{})
		}
		made[i].Times, made[i].Values = append(made[i].Times, at), append(made[i].Values, float64(count))
	}
	for i, d := range p.Distributions {
		bounds := distribution.Bounds(&d.Buckets)
		if err := u.spend(len(bounds) + 1); err != nil {
			return err
		}
		below := int64(0)
		for b, bound := range bounds {
			if b < len(d.Counts) {
				below += d.Counts[b]
			}
			add(bound, p.Times[i], below)
		}
		add(math.Inf(1), p.Times[i], d.Count)
	}
	for bound, i := range index {
		ls := with(base, bucketLabel, strconv.FormatFloat(bound, 'g', -1, 64))
		if !meets(u.matchers, ls, "") {
			continue
		}
		if err := u.see(ls, made[i].Times, made[i].Values); err != nil {
			return err
		}
	}
	return nil
}
