package rollup

import (
	"context"
	"math/bits"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// maxDirty bounds the marks that a query looks at: with more of them it is
// better off with the points.
const maxDirty = 100_000

// View is what a rollup can be asked at an instant. It has to be made before
// what it is about is read.
type View struct {
	// After and Until bound the windows that were computed of every series:
	// their ends are in (After, Until].
	After, Until tsdb.Millis
	// Whole are the ends of windows that must be read from the points, of all
	// series.
	Whole map[tsdb.Millis]bool
	// Marked are those of single series or groups, by key.
	Marked map[string][]tsdb.Millis
}

// View is what can be asked of a rule about windows that end in the closed
// interval.
func (k *Keeper) View(ctx context.Context, rule *Rule, iv tsdb.Interval) (View, error) {
	const op = "tsdb/rollup.View"
	v := View{Whole: map[tsdb.Millis]bool{}, Marked: map[string][]tsdb.Millis{}}
	n := 0
	add := func(m mark) {
		n++
		if m.series == "" {
			v.Whole[m.end] = true
			return
		}
		v.Marked[m.series] = append(v.Marked[m.series], m.end)
	}
	// What is marked moves from memory to the database, and from there only
	// when it was computed: so in this order none is missed.
	from := k.marks.in(rule.ID, iv, add)
	after, until, err := k.state.covered(ctx, rule.ID)
	if err != nil {
		return v, &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
	}
	stored, err := k.state.marksIn(ctx, rule.ID, iv, maxDirty)
	if err != nil {
		return v, &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
	}
	for _, m := range stored {
		add(m)
	}
	// What is older than the retention goes point by point, a window at once.
	v.After, v.Until = max(after, k.oldestOf(&rule.Metric)), until
	if from != 0 {
		v.Until = min(v.Until, from-rule.Period)
	}
	if n >= maxDirty {
		v.Until = v.After
	}
	return v, nil
}

// Read asks for what is kept of some series.
type Read struct {
	Rule *Rule
	// Fields are those that are needed.
	Fields Fields
	// Exemplars says that the exemplars of Merged are needed too: a window that
	// has been kept without is told not to be whole.
	Exemplars bool
	// After and Until bound the windows: their ends are in (After, Until].
	After, Until tsdb.Millis
	// Keep and Where say of which series or groups, as in a tsdb.Selection.
	Keep  func(*tsdb.Series) bool
	Where []tsdb.Condition
	// MaxSeries and MaxPoints bound what is read, as in a tsdb.Selection.
	MaxSeries, MaxPoints int
	// Hold, if not nil, is told how many bytes more are in use, by one goroutine
	// at a time; its error ends the reading.
	Hold func(bytes int64) error
}

// Kept is what is kept of one series or group: one column for each field that
// was asked for, in the order of layout.
type Kept struct {
	Series  *tsdb.Series
	rule    *Rule
	columns []column
	// next is the window that Next tells next, if every column has the same
	// windows and versions, as they mostly have.
	next int
	// alike is 1 if they have, -1 if not, 0 before anybody looked.
	alike int8
	// known is what Next has told last, and last the end of the window.
	known Partial
	last  tsdb.Millis
}

// column is one field: the last version of every window.
type column struct {
	field *stored
	// stamps are the times of the values, nil when they are first and every
	// period after it, as those of a series without gaps.
	first  tsdb.Millis
	stamps []tsdb.Millis
	values []float64
	// distributions are, instead of values, those of a field of them; nil for one
	// of which something is missing, which lost says that there is.
	distributions []*tsdb.Distribution
	lost          bool
	// into is where in known the values go, nil for times and distributions.
	into *float64
	// next is the first that was not told yet, if the columns differ.
	next int
}

// Read returns what is kept, by key, and how many hidden points it read. The
// fields are read at the same time.
func (k *Keeper) Read(ctx context.Context, r Read) (map[string]*Kept, int, error) {
	r.Where = slices.DeleteFunc(slices.Clone(r.Where), func(c tsdb.Condition) bool { return c.Field == tsdb.MetricType })
	var parts []*part
	for i := range layout {
		f := &layout[i]
		if r.Fields&f.field == 0 {
			continue
		}
		parts = append(parts, &part{field: f, name: f.name})
		if f.exact {
			parts = append(parts, &part{field: f, name: f.name + restSuffix, rest: true})
		}
		if f.bare {
			parts = append(parts, &part{field: f, name: f.name + bareSuffix, rest: true})
		}
	}
	if hold := r.Hold; hold != nil {
		var mu sync.Mutex
		r.Hold = func(bytes int64) error {
			mu.Lock()
			defer mu.Unlock()
			return hold(bytes)
		}
	}
	g, reading := errgroup.WithContext(ctx)
	for _, p := range parts {
		g.Go(func() error { return p.read(reading, k.inner, r) })
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	all := map[string]*Kept{}
	columns, points := bits.OnesCount16(uint16(r.Fields)), 0
	at := -1
	for _, p := range parts {
		points += p.points
		if !p.rest {
			at++
		}
		for i := range p.made {
			m := &p.made[i]
			kept := all[m.key]
			if kept == nil {
				kept = &Kept{Series: m.series, rule: r.Rule, columns: make([]column, columns)}
				all[m.key] = kept
			}
			switch c := &kept.columns[at]; {
			case !p.rest:
				*c = m.column
			case p.field.bare:
				c.override(r.Rule, &m.column, r.Exemplars)
			default:
				c.complete(r.Rule, &m.column)
			}
		}
	}
	for _, kept := range all {
		at = -1
		for _, p := range parts {
			if !p.rest {
				at++
				kept.columns[at].field = p.field
			}
		}
	}
	return all, points, nil
}

// part is one kind of hidden series that is read.
type part struct {
	field *stored
	name  string
	// rest says that it is what is to be added to the part before.
	rest   bool
	made   []made
	points int
}

// made is a column of a series or group.
type made struct {
	series *tsdb.Series
	key    string
	read   int
	column
}

// read reads a part.
func (p *part) read(ctx context.Context, store tsdb.Store, r Read) error {
	sel := tsdb.Selection{
		Project: hiddenPrefix + r.Rule.Metric.Project, Metric: r.Rule.hiddenMetric(p.name), Where: r.Where,
		Keep:     func(s *tsdb.Series) bool { return r.Keep == nil || r.Keep(r.Rule.shown(s)) },
		Interval: tsdb.Interval{Start: r.After + 1, End: r.Until}, MaxSeries: r.MaxSeries, MaxPoints: r.MaxPoints,
	}
	return scan(ctx, store, sel, func(s *tsdb.Series, points tsdb.Points) (any, error) {
		shown := r.Rule.shown(s)
		return &made{shown, shown.Key(), points.Len(), r.Rule.latest(points)}, nil
	}, func(_ *tsdb.Series, m any) (bool, error) {
		one := m.(*made)
		p.points += one.read
		p.made = append(p.made, *one)
		if r.Hold != nil {
			return true, r.Hold(one.bytes())
		}
		return true, nil
	})
}

// columnBytes is what a column takes beside its values, with its part of what
// names the series.
const columnBytes = 300

// bytes is how much memory a column takes, about.
func (c *column) bytes() int64 {
	n := columnBytes + int64(8*(len(c.stamps)+len(c.values)))
	for _, d := range c.distributions {
		n += distributionBytes(d)
	}
	return n
}

// len is how many windows a column has.
func (c *column) len() int { return len(c.values) + len(c.distributions) }

// Bytes is how much memory k takes, about: as much as Hold was told, or less.
func (k *Kept) Bytes() int64 {
	n := int64(0)
	for i := range k.columns {
		n += k.columns[i].bytes()
	}
	return n
}

// latest is the last version of every window.
func (r *Rule) latest(p tsdb.Points) column {
	switch {
	case p.Len() == 0:
		return column{}
	case p.Distributions != nil:
		return r.latestDistributions(p)
	}
	c := column{first: p.Times[0], values: make([]float64, 0, p.Len())}
	regular := c.first
	for i, t := range p.Times {
		if t != regular {
			return r.latestOf(p)
		}
		regular += r.Period
		c.values = append(c.values, p.Values[i])
	}
	return c
}

// latestOf is latest of points that are not one in each window.
func (r *Rule) latestOf(p tsdb.Points) column {
	c := column{first: p.Times[0], stamps: make([]tsdb.Millis, 0, p.Len()), values: make([]float64, 0, p.Len())}
	var end tsdb.Millis
	for from := 0; from < p.Len(); {
		end = r.endFrom(end, p.Times[from])
		to := from + 1
		for to < p.Len() && p.Times[to] <= end {
			to++
		}
		c.stamps, c.values = append(c.stamps, p.Times[to-1]), append(c.values, p.Values[to-1])
		from = to
	}
	return c
}

// stamp is the time of a value.
func (c *column) stamp(r *Rule, i int) tsdb.Millis {
	if c.stamps == nil {
		return c.first + tsdb.Millis(i)*r.Period
	}
	return c.stamps[i]
}

// complete adds what is left of the values of some windows, of the same
// versions, to them.
func (c *column) complete(r *Rule, rest *column) {
	i := 0
	for j, v := range rest.values {
		at := rest.stamp(r, j)
		for i < len(c.values) && c.stamp(r, i) < at {
			i++
		}
		if i < len(c.values) && c.stamp(r, i) == at {
			c.values[i] += v
		}
	}
}

// endFrom is EndOf of a time after the window that ends at last: mostly of the
// next one, which needs no division.
func (r *Rule) endFrom(last, t tsdb.Millis) tsdb.Millis {
	if last < t && t <= last+r.Period && last != 0 {
		return last + r.Period
	}
	return r.EndOf(t)
}

// same reports whether all columns have the same windows and versions.
func (k *Kept) same() bool {
	if k.alike == 0 {
		k.alike = 1
		k.known.Count = 1 // there are points, though nobody may ask how many
		one := &k.columns[0]
		for i := range k.columns {
			c := &k.columns[i]
			if c.first != one.first || c.len() != one.len() || c.lost || !sameStamps(k.rule, c, one) {
				k.alike = -1
			}
			if c.field.of != nil {
				c.into = c.field.of(&k.known)
			}
		}
	}
	return k.alike > 0
}

// Next returns the windows one after another: the end of one, and what is kept
// of it, which is good until the next call. It is nil when the fields of the
// window are of different versions, and it has to be read from the points.
// After the last one ok is false.
func (k *Kept) Next() (end tsdb.Millis, p *Partial, ok bool) {
	if !k.same() {
		return k.nextApart()
	}
	one := &k.columns[0]
	if k.next >= one.len() {
		return 0, nil, false
	}
	end = k.rule.endFrom(k.last, one.stamp(k.rule, k.next))
	k.last = end
	for i := range k.columns {
		if c := &k.columns[i]; c.into != nil {
			*c.into = c.values[k.next]
		} else {
			c.tell(k.next, end-k.rule.Period, &k.known)
		}
	}
	k.next++
	return end, &k.known, true
}

// nextApart is Next when columns have different windows or versions.
func (k *Kept) nextApart() (end tsdb.Millis, p *Partial, ok bool) {
	for i := range k.columns {
		if c := &k.columns[i]; c.next < c.len() {
			if e := k.rule.EndOf(c.stamp(k.rule, c.next)); !ok || e < end {
				end, ok = e, true
			}
		}
	}
	if !ok {
		return 0, nil, false
	}
	p = &k.known
	stamp := tsdb.Millis(0)
	for i := range k.columns {
		c := &k.columns[i]
		if c.next >= c.len() || c.stamp(k.rule, c.next) > end {
			p = nil
			continue
		}
		at := c.stamp(k.rule, c.next)
		if stamp != 0 && at != stamp || !c.tell(c.next, end-k.rule.Period, &k.known) {
			p = nil
		}
		c.next++
		stamp = at
	}
	return end, p, true
}

// tell sets the field in p to what it is in the window with the index i, which
// begins at start. It is false when that was lost.
func (c *column) tell(i int, start tsdb.Millis, p *Partial) bool {
	if c.field.distribution == nil {
		c.field.set(p, start, c.values[i])
		return true
	}
	if p.Distributions == nil {
		p.Distributions = &Distributions{}
	}
	*c.field.distribution(p.Distributions) = c.distributions[i]
	return c.distributions[i] != nil
}

// sameStamps reports whether two columns of equal length have the same times.
func sameStamps(r *Rule, a, b *column) bool {
	if (a.stamps == nil) == (b.stamps == nil) {
		return slices.Equal(a.stamps, b.stamps)
	}
	for i := range a.len() {
		if a.stamp(r, i) != b.stamp(r, i) {
			return false
		}
	}
	return true
}

// Torn are the ends of the windows that Next will tell are not whole, and how
// many windows there are. It is asked before Next.
func (k *Kept) Torn() (ends []tsdb.Millis, windows int) {
	if k.same() {
		return nil, k.columns[0].len()
	}
	for {
		end, p, ok := k.Next()
		if !ok {
			break
		}
		windows++
		if p == nil {
			ends = append(ends, end)
		}
	}
	for i := range k.columns {
		k.columns[i].next = 0
	}
	return ends, windows
}

// Stretch is windows that follow each other, in groups of Ratio.
type Stretch struct {
	Ratio int
	// End is the end of the first one, and none ends after Until.
	End, Until tsdb.Millis
}

// Straight appends to values those of a method, one for each group of the
// stretch, as long as the windows follow each other without a gap or another
// version, from the next one on. Next goes on behind them. It appends nothing
// when they are not straight, or the method looks at more than its own window.
func (k *Kept) Straight(m Method, s Stretch, values []float64) []float64 {
	one := &k.columns[0]
	ratio := s.Ratio
	n := min(len(one.values)-k.next, int((s.Until-s.End)/k.rule.Period)+1) / ratio
	if m.Needs&^(Count|Sum|Min|Max|True) != 0 || !k.same() || one.stamps != nil || n <= 0 ||
		k.rule.EndOf(one.stamp(k.rule, k.next)) != s.End {
		return values
	}
	width := tsdb.Millis(ratio) * k.rule.Period
	for range n {
		for i := range k.columns {
			c := &k.columns[i]
			v := c.values[k.next]
			for _, more := range c.values[k.next+1 : k.next+ratio] {
				switch c.field.field {
				case Min:
					v = min(v, more)
				case Max:
					v = max(v, more)
				default:
					v += more
				}
			}
			*c.into = v
		}
		k.next += ratio
		v, _ := m.value(&k.known, width, Before{})
		values = append(values, v)
	}
	k.last = k.rule.EndOf(one.stamp(k.rule, k.next-1))
	return values
}
