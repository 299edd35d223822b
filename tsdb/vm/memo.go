package vm

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"sort"
	"sync"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
)

var _ tsdb.WindowScanner = (*Store)(nil)

// memo remembers what windows of series came to, and in which blocks their points
// were. A block is never changed: what is late, and what is merged, is in other
// ones. So as long as the blocks that reach into a window are the same ones, the
// window comes to the same. An entry holds on to its blocks, so that no other one
// can be taken for them.
//
// A dashboard asks for the same again a period later: then the last blocks of a
// series are read, and not all.
type memo struct {
	mu sync.Mutex
	// young are the entries that were used since the last time that there were too
	// many, old those of the time before, and bytes is about what the young ones
	// take.
	young, old map[memoKey]*remembered
	bytes      int
}

const (
	// memoBytes bounds what is remembered, young and old together.
	memoBytes = 16 << 20
	// memoBlocks is from how many blocks of a series on it is remembered what
	// their windows came to. There is one more read with what is new, so that
	// with few the gain is not worth the memory.
	memoBlocks = 4
)

// memoKey is what windows belong to.
type memoKey struct {
	series        string
	kind          tsdb.MetricKind
	valueType     tsdb.ValueType
	name          string
	period, phase tsdb.Millis
}

// remembered is what the windows of a series in (from, to] came to: both are
// borders of windows.
type remembered struct {
	from, to tsdb.Millis
	blocks   []reach
	points   tsdb.Points
}

// reach is a block, and from when to when its points are.
type reach struct {
	first, last tsdb.Millis
	ref         storage.BlockRef
}

// size is about how many bytes an entry takes.
func (r *remembered) size(k memoKey) int {
	const fixed, block, point = 300, 112, 16
	return fixed + len(k.series) + block*len(r.blocks) + point*r.points.Len()
}

// get is the entry of a key, nil if there is none.
func (m *memo) get(k memoKey) *remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.young[k]; e != nil {
		return e
	}
	e := m.old[k]
	if e != nil {
		delete(m.old, k)
		m.keep(k, e)
	}
	return e
}

// put remembers an entry.
func (m *memo) put(k memoKey, e *remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if was := m.young[k]; was != nil {
		m.bytes -= was.size(k)
	}
	delete(m.old, k)
	m.keep(k, e)
}

// keep makes an entry a young one. mu is held.
func (m *memo) keep(k memoKey, e *remembered) {
	if m.young == nil || m.bytes > memoBytes/2 {
		m.old, m.young, m.bytes = m.young, map[memoKey]*remembered{}, 0
	}
	m.young[k] = e
	m.bytes += e.size(k)
}

// ScanWindows implements tsdb.WindowScanner.
func (s *Store) ScanWindows(ctx context.Context, sel tsdb.Selection, w tsdb.Windows, work func(*tsdb.Series, tsdb.Points, int) (any, error), visit func(*tsdb.Series, any) (bool, error)) error {
	const op = "tsdb/vm.ScanWindows"
	q := &query{store: s, sel: sel}
	sc := &scan{query: q, visit: visit, windows: &w, aligned: work}
	sc.work = func(series *tsdb.Series, points tsdb.Points) (any, error) {
		return work(series, w.Of(series, points), points.Len())
	}
	q.readAll = sc.run
	return s.answer(ctx, op, q)
}

// reachesOf are blocks with the times of their points, by their first ones. The
// engine does not tell these times but in the form in which it stores a block's
// header: behind the number of its series, which has 24 bytes.
func reachesOf(blocks []blockOf) []reach {
	const at = 24
	out := make([]reach, len(blocks))
	var header []byte
	for i := range blocks {
		header = blocks[i].ref.Marshal(header[:0])
		out[i] = reach{zigzag(header[at:]), zigzag(header[at+8:]), blocks[i].ref}
	}
	if byFirst := func(a, b reach) int { return cmp.Compare(a.first, b.first) }; !slices.IsSortedFunc(out, byFirst) {
		slices.SortStableFunc(out, byFirst)
	}
	return out
}

// zigzag is the signed number in the first eight bytes.
func zigzag(b []byte) tsdb.Millis {
	u := binary.BigEndian.Uint64(b)
	return tsdb.Millis(int64(u>>1) ^ -int64(u&1))
}

// within reports whether the block may have points in (from, to].
func (r *reach) within(from, to tsdb.Millis) bool { return r.last > from && r.first <= to }

// grid are the borders of the windows of a scan.
type grid struct{ end, period tsdb.Millis }

// before is the last border that is not after t.
func (g grid) before(t tsdb.Millis) tsdb.Millis {
	back := (g.end - t + g.period - 1) / g.period
	if t > g.end {
		back = (g.end - t) / g.period
	}
	return g.end - back*g.period
}

// after is the first border that is not before t.
func (g grid) after(t tsdb.Millis) tsdb.Millis {
	if b := g.before(t); b != t {
		return b + g.period
	}
	return t
}

// same is up to where the windows in (from, to] have the same points in the
// blocks of r as in those of now: a border, from if none has.
func (r *remembered) same(g grid, from, to tsdb.Millis, now []reach) tsdb.Millis {
	was := r.blocks
	for {
		for len(was) > 0 && !was[0].within(from, to) {
			was = was[1:]
		}
		for len(now) > 0 && !now[0].within(from, to) {
			now = now[1:]
		}
		switch {
		case len(was) == 0 && len(now) == 0:
			return to
		case len(was) > 0 && len(now) > 0 && was[0] == now[0]:
			was, now = was[1:], now[1:]
			continue
		}
		// This one is not among the others, and all that follow begin later.
		first := to
		if len(was) > 0 {
			first = min(first, was[0].first-1)
		}
		if len(now) > 0 {
			first = min(first, now[0].first-1)
		}
		return max(from, g.before(first))
	}
}

// doWindows reads of a series what is not remembered, and works on it.
func (s *scan) doWindows(ctx context.Context, c *columns, t *task, room int) {
	g := grid{s.windows.End, s.windows.Period}
	from, to := s.sel.Interval.Start-1, s.windows.End
	kept := s.store.options.withinOf(t.series, s.within)
	// The windows in (whole, till] are not cut by the retention.
	whole := max(from, g.after(tsdb.Millis(kept.MinTimestamp)-1))
	till := min(to, g.before(tsdb.Millis(kept.MaxTimestamp)))
	key := memoKey{
		series: t.key, kind: t.series.Kind, valueType: t.series.ValueType,
		name: s.windows.Name, period: g.period, phase: ((g.end % g.period) + g.period) % g.period,
	}
	now := reachesOf(t.blocks)
	e := s.store.memo.get(key)
	low, high := from, from // the windows in (low, high] are remembered
	if e != nil {
		if a, b := max(e.from, whole), min(e.to, till); a < b {
			if b = e.same(g, a, b, now); a < b {
				low, high = a, b
			}
		}
	}
	var out tsdb.Points
	read := func(from, to tsdb.Millis) bool {
		if from >= to {
			return true
		}
		t.err = s.align(ctx, c, t, part{now, from, to, room}, &out)
		return t.err == nil
	}
	if !read(from, low) {
		return
	}
	if low < high {
		old := slicePoints(e.points, low, high)
		out.Times, out.Values = append(out.Times, old.Times...), append(out.Values, old.Values...)
		t.known = true
	}
	if !read(max(low, high), to) {
		return
	}
	if whole < till && (e == nil || low > whole || high < till) {
		s.store.memo.put(key, &remembered{whole, till, slices.DeleteFunc(now, func(r reach) bool { return !r.within(whole, till) }), slicePoints(out, whole, till)})
	}
	if t.points > 0 || t.known {
		t.made, t.err = s.aligned(t.series, out, t.points)
		t.callers = t.err != nil
	}
}

// slicePoints are the points in (from, to].
func slicePoints(p tsdb.Points, from, to tsdb.Millis) tsdb.Points {
	i := sort.Search(len(p.Times), func(i int) bool { return p.Times[i] > from })
	j := sort.Search(len(p.Times), func(i int) bool { return p.Times[i] > to })
	return tsdb.Points{Times: p.Times[i:j:j], Values: p.Values[i:j:j]}
}

// part is a part of a series: the points in (from, to] of its blocks, and how
// many there may be in all.
type part struct {
	blocks   []reach
	from, to tsdb.Millis
	room     int
}

// piecePoints is from how many points on those of whole windows are aligned before
// more are read: four full blocks or 512 KB, which are still in a processor's cache
// when they are read again.
const piecePoints = 4 * 8192

// align reads a part of a series, and adds what its windows come to. It does so
// piece by piece: the windows that end before the next block begins are whole.
func (s *scan) align(ctx context.Context, c *columns, t *task, p part, out *tsdb.Points) error {
	within := s.store.options.withinOf(t.series, storage.TimeRange{
		MinTimestamp: max(s.within.MinTimestamp, int64(p.from)+1), MaxTimestamp: min(s.within.MaxTimestamp, int64(p.to)),
	})
	c.reset()
	for i := range p.blocks {
		if !p.blocks[i].within(p.from, p.to) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.add(&p.blocks[i].ref, within); err != nil {
			return err
		}
		if t.points+c.len() > p.room {
			return exhausted("points", s.sel.MaxPoints)
		}
		if c.len() >= piecePoints && i+1 < len(p.blocks) {
			s.alignUntil(c, t, grid{s.windows.End, s.windows.Period}.before(p.blocks[i+1].first-1), out)
		}
	}
	s.alignUntil(c, t, p.to, out)
	return nil
}

// alignUntil adds what the windows up to a border come to, of which all points are
// in c, and leaves those of later ones there.
func (s *scan) alignUntil(c *columns, t *task, border tsdb.Millis, out *tsdb.Points) {
	points := c.view()
	n := sort.Search(len(points.Times), func(i int) bool { return points.Times[i] > border })
	if n == 0 {
		return
	}
	made := s.windows.Of(t.series, tsdb.Points{Times: points.Times[:n], Values: points.Values[:n]})
	out.Times, out.Values = append(out.Times, made.Times...), append(out.Values, made.Values...)
	t.points += n
	c.drop(n)
}
