package vm

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// partColumn is a part of the distributions of one series: its times ascend.
type partColumn struct {
	part   string
	times  []int64
	values []float64
	// at is the first point that is not before the time that was looked for.
	at int
}

// value is the value at t, and whether there is one. The times that are asked
// for ascend.
func (p *partColumn) value(t int64) (float64, bool) {
	if p == nil {
		return 0, false
	}
	for p.at < len(p.times) && p.times[p.at] < t {
		p.at++
	}
	if p.at < len(p.times) && p.times[p.at] == t {
		return p.values[p.at], true
	}
	return 0, false
}

// layoutParts are the parts of one layout.
type layoutParts struct {
	layout  string
	buckets tsdb.Buckets
	ranged  bool

	count, mean, deviation, least, greatest *partColumn
	// counts are those of the buckets, and means of dynamic ones, by index; nil
	// for an index without.
	counts, means []*partColumn
	// exemplars are the numbers of exemplars, by index.
	exemplars []*partColumn
}

// assemble puts the parts of one series together, of which room numbers are
// there or allowed, and returns how many of them there are with the places that
// counts take. It is false when there are more. What is not whole is left out.
func assemble(columns []*partColumn, room int) (tsdb.Points, int, bool) {
	size := 0
	for _, c := range columns {
		size += len(c.times)
	}
	var found []pointOf
	for _, l := range byLayout(columns) {
		for i, t := range l.count.times {
			d := l.at(t, l.count.values[i])
			if d == nil {
				continue
			}
			d.Exemplars = l.exemplarsAt(t)
			if size += distribution.Places(d); size > room {
				return tsdb.Points{}, 0, false
			}
			found = append(found, pointOf{t, l.layout, d})
		}
	}
	if len(found) == 0 {
		return tsdb.Points{}, size, true
	}
	slices.SortFunc(found, func(a, b pointOf) int {
		return cmp.Or(cmp.Compare(a.time, b.time), strings.Compare(b.layout, a.layout))
	})
	points := tsdb.Points{Times: make([]tsdb.Millis, 0, len(found)), Distributions: make([]*tsdb.Distribution, 0, len(found))}
	for i, p := range found {
		if i == 0 || p.time != found[i-1].time {
			points.Times = append(points.Times, tsdb.Millis(p.time))
			points.Distributions = append(points.Distributions, p.of)
		}
	}
	return points, size, true
}

// pointOf is a distribution at a time, with its layout.
type pointOf struct {
	time   int64
	layout string
	of     *tsdb.Distribution
}

// byLayout groups columns. Layouts that are none were not written here.
func byLayout(columns []*partColumn) []*layoutParts {
	byHash := map[string]*layoutParts{}
	var all []*layoutParts
	for _, c := range columns {
		word, layout, _ := strings.Cut(c.part, " ")
		if word != countPart {
			continue
		}
		if b, ranged, ok := distribution.ParseLayout(layout); ok {
			n := distribution.Len(&b)
			if b.Kind == tsdb.DynamicBuckets {
				n = distribution.MaxBuckets
			}
			l := &layoutParts{layout: layout, buckets: b, ranged: ranged, count: c, counts: make([]*partColumn, n), means: make([]*partColumn, n)}
			byHash[hashOf(layout)], all = l, append(all, l)
		}
	}
	for _, c := range columns {
		hash, part, _ := strings.Cut(c.part, " ")
		if l := byHash[hash]; l != nil {
			l.put(part, c)
		}
	}
	for _, l := range all {
		l.counts, l.means = withoutEnd(l.counts), withoutEnd(l.means)
	}
	return all
}

// withoutEnd are columns without those at the end that are not there.
func withoutEnd(columns []*partColumn) []*partColumn {
	for len(columns) > 0 && columns[len(columns)-1] == nil {
		columns = columns[:len(columns)-1]
	}
	return columns
}

// put puts a column where it belongs.
func (l *layoutParts) put(part string, c *partColumn) {
	switch part {
	case meanPart:
		l.mean = c
	case deviationPart:
		l.deviation = c
	case minPart:
		l.least = c
	case maxPart:
		l.greatest = c
	default:
		if i, ok := strings.CutPrefix(part, exemplarPart); ok {
			l.putExemplar(i, c)
			return
		}
		index, mean, dynamic := strings.Cut(part, " ")
		i, err := strconv.Atoi(index)
		switch {
		case err != nil || i < 0 || i >= len(l.counts) || dynamic && mean != meanPart:
		case dynamic:
			l.means[i] = c
		default:
			l.counts[i] = c
		}
	}
}

// maxNumbers is how many numbers a list of exemplars can have: more than it can
// have with the bound of package distribution.
const maxNumbers = 1 << 10

// putExemplar puts a column of numbers of exemplars where it belongs.
func (l *layoutParts) putExemplar(index string, c *partColumn) {
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= maxNumbers {
		return
	}
	for len(l.exemplars) <= i {
		l.exemplars = append(l.exemplars, nil)
	}
	l.exemplars[i] = c
}

// exemplarsAt are the exemplars at t; none when they are not whole.
func (l *layoutParts) exemplarsAt(t int64) []tsdb.Exemplar {
	if len(l.exemplars) == 0 {
		return nil
	}
	first, ok := l.exemplars[0].value(t)
	if !ok || distribution.ExemplarCount(first) > len(l.exemplars) {
		return nil
	}
	numbers := []float64{first}
	for _, c := range l.exemplars[1:distribution.ExemplarCount(first)] {
		n, ok := c.value(t)
		if !ok {
			return nil
		}
		numbers = append(numbers, n)
	}
	list, _ := distribution.ExemplarsOf(numbers)
	return list
}

// at is the distribution at t, or nil when it is not whole.
func (l *layoutParts) at(t int64, count float64) *tsdb.Distribution {
	d := &tsdb.Distribution{Count: int64(count), Buckets: l.buckets}
	if d.Count == 0 {
		return d
	}
	var whole [4]bool
	d.Mean, whole[0] = l.mean.value(t)
	d.SumOfSquaredDeviation, whole[1] = l.deviation.value(t)
	d.SumOfSquaredDeviation = max(0, d.SumOfSquaredDeviation)
	whole[2], whole[3] = true, true
	if l.ranged {
		d.Range = &tsdb.Range{}
		d.Range.Min, whole[2] = l.least.value(t)
		d.Range.Min = 0 - d.Range.Min // and 0, not -0
		d.Range.Max, whole[3] = l.greatest.value(t)
	}
	if whole != [4]bool{true, true, true, true} {
		return nil
	}
	if l.buckets.Kind == tsdb.NoBuckets {
		return d
	}
	return l.withCounts(d, t)
}

// withCounts gives d the counts of its buckets, and the count that they hold
// together, or is nil when some are missing.
func (l *layoutParts) withCounts(d *tsdb.Distribution, t int64) *tsdb.Distribution {
	dynamic := l.buckets.Kind == tsdb.DynamicBuckets
	held, last := int64(0), 0
	d.Counts = make([]int64, len(l.counts))
	for i, c := range l.counts {
		if n, ok := c.value(t); ok {
			d.Counts[i] = int64(n)
			held += int64(n)
			last = i + 1
		}
	}
	d.Counts = d.Counts[:last:last]
	if held < d.Count {
		return nil
	}
	d.Count = held
	if dynamic {
		d.Buckets.Bounds = make([]float64, last)
		for i := range last {
			mean, ok := 0.0, false
			if i < len(l.means) {
				mean, ok = l.means[i].value(t)
			}
			if !ok || d.Counts[i] == 0 {
				return nil
			}
			d.Buckets.Bounds[i] = mean
		}
		d.Buckets.Bounds = distribution.Ascending(d.Buckets.Bounds)
	}
	return d
}

// distributed says of the blocks that a query found which are parts.
type distributed struct {
	// series are the indexes of series by key, names and parts the indexes of
	// parts by engine's name and by text, counted from 1.
	series map[string]int
	names  map[string]int32
	parts  map[string]int32
	texts  []string
}

// found notes a part of a series that the engine has under the name, and returns
// the index of the series and of the part.
func (q *query) found(series *tsdb.Series, name []byte, mn *storage.MetricName) (at int, part int32) {
	d := &q.distributed
	if d.series == nil {
		d.series, d.names, d.parts, d.texts = map[string]int{}, map[string]int32{}, map[string]int32{}, []string{""}
	}
	key := series.Key()
	at, known := d.series[key]
	if !known {
		at = len(q.series)
		q.series = append(q.series, series)
		d.series[key] = at
	}
	text := partOf(mn)
	if part = d.parts[text]; part == 0 {
		part = int32(len(d.texts))
		d.texts = append(d.texts, text)
		d.parts[text] = part
	}
	d.names[string(name)] = part
	return at, part
}

// gatherParts reads the blocks of a series of distributions, of which room
// points are allowed, and returns as how many they count.
func (q *query) gatherParts(ctx context.Context, c *columns, blocks []blockOf, room int) (tsdb.Points, int, error) {
	slices.SortStableFunc(blocks, func(a, b blockOf) int { return cmp.Compare(a.part, b.part) })
	var all []*partColumn
	read := 0
	for len(blocks) > 0 {
		n := 1
		for n < len(blocks) && blocks[n].part == blocks[0].part {
			n++
		}
		if err := q.gather(ctx, c, blocks[:n], room-read); err != nil {
			return tsdb.Points{}, 0, err
		}
		read += c.len()
		if c.len() > 0 {
			all = append(all, &partColumn{
				part: q.distributed.texts[blocks[0].part], times: slices.Clone(c.times), values: slices.Clone(c.values),
			})
		}
		blocks = blocks[n:]
	}
	points, size, ok := assemble(all, room)
	if !ok {
		return tsdb.Points{}, 0, exhausted("points", q.sel.MaxPoints)
	}
	return points, size, nil
}

// readParts reads the blocks of a series of distributions and visits it.
func (q *query) readParts(ctx context.Context, c *columns, blocks []blockOf) error {
	points, read, err := q.gatherParts(ctx, c, blocks, q.sel.MaxPoints-q.points)
	if err != nil || points.Len() == 0 {
		return err
	}
	q.points += read
	q.visited++
	if err := bound("series", q.visited, q.sel.MaxSeries); err != nil {
		return err
	}
	q.visitErr = q.visit(q.series[blocks[0].series], points)
	return q.visitErr
}

// doParts is do for a series of distributions.
func (s *scan) doParts(ctx context.Context, c *columns, t *task, room int) {
	points, read, err := s.gatherParts(ctx, c, t.blocks, room)
	if t.err = err; err != nil || points.Len() == 0 {
		return
	}
	t.points = read
	t.made, t.err = s.work(t.series, points)
	t.callers = t.err != nil
}
