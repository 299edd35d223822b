package embedded

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"selvedge.dev/logstore"
)

// List implements logstore.Reader. It looks at one stretch of time after the
// other in the query's order, each longer than the one before: at all rows that
// are found there if they are few, otherwise first for the times of as many as it
// needs and then for these.
func (s *Store) List(ctx context.Context, q logstore.Query) ([]logstore.Entry, error) {
	const op = "logstore/embedded.List"
	if err := q.Check(); err != nil {
		return nil, err
	}
	ctx, done, err := s.begin(ctx, op)
	if err != nil {
		return nil, err
	}
	defer done()
	m, err := s.prepare(q.Selection)
	if err != nil {
		return nil, failed(op, err)
	}
	if !q.After.Time.IsZero() {
		if q.Descending {
			m.at.to = min(m.at.to, clampNano(q.After.Time))
		} else {
			m.at.from = max(m.at.from, clampNano(q.After.Time))
		}
	}
	l := lister{store: s, query: q, matching: m, readers: s.newReaders(), page: page{query: &q, have: make(map[logstore.Position]bool)}}
	if err := l.run(ctx); err != nil {
		return nil, failed(op, err)
	}
	return l.page.entries(), nil
}

// lister is a List under way.
type lister struct {
	store    *Store
	query    logstore.Query
	matching matchingQuery
	readers  *readers
	page     page
}

// firstStretch is the first stretch of time that is looked at, and each is
// stretchGrowth times the one before.
const firstStretch, stretchGrowth = int64(10 * time.Minute), 8

// run fills the page.
func (l *lister) run(ctx context.Context) error {
	at, err := l.store.extent(ctx, l.matching)
	if err != nil {
		return err
	}
	// A block of rows may be of a day, and is read for each stretch that it is in. So
	// one look at everything, for no more rows than are few, comes before many at parts
	// of it: at once if the engine knows what is selected, else where little was found.
	whole, looked, last := l.matching.found.exact != never, false, nothing
	if l.matching.query == everything {
		last = enough // which a short look will show
	}
	for width := firstStretch; at.from <= at.to && !l.page.full(); {
		stretch := l.first(at, width)
		if last != enough && (whole && !looked || at.to-at.from <= stretchGrowth*width) {
			stretch, looked = at, true
		}
		if stretch, last, err = l.look(ctx, stretch, width, last); err != nil {
			return err
		}
		if l.query.Descending {
			at.to = stretch.from - 1
		} else {
			at.from = stretch.to + 1
		}
		if last != enough {
			whole = true
			width = min(width, math.MaxInt64/stretchGrowth) * stretchGrowth
		}
	}
	return nil
}

// first is the first part of a span, in the query's order, that is no wider than
// width.
func (l *lister) first(at span, width int64) span {
	switch {
	case at.to-at.from <= width:
	case l.query.Descending:
		at.from = at.to - width
	default:
		at.to = at.from + width
	}
	return at
}

// look takes what a stretch has into the page, or what its begin has, no more
// than width, if that is enough; it says which stretch that was, and how many rows
// it has. Where there were enough in the last stretch, there will be too many for
// one go.
func (l *lister) look(ctx context.Context, at span, width int64, last rows) (span, rows, error) {
	if last != enough {
		n, err := l.all(ctx, at)
		if err != nil || n != enough {
			return at, n, err
		}
	}
	at, n, err := l.cut(ctx, l.first(at, width))
	if err != nil || n == nothing {
		return at, n, err
	}
	m := l.matching
	m.at = at
	return at, n, l.store.matching(ctx, l.readers, m, l.page.add)
}

// all takes what a stretch has into the page, unless it is too much.
func (l *lister) all(ctx context.Context, at span) (rows, error) {
	m := l.matching
	m.at = at
	m.limit = 2 * l.need()
	before := l.readers.read
	var (
		mu    sync.Mutex
		some  []logstore.Entry
		bytes int
	)
	err := l.store.matching(ctx, l.readers, m, func(e *logstore.Entry) error {
		mu.Lock()
		defer mu.Unlock()
		some = append(some, *e)
		if bytes += e.Size(); bytes > logstore.MaxPage {
			return errEnough
		}
		return nil
	})
	switch n := l.readers.read - before; {
	case err != nil || n == 0:
		return nothing, err
	case n >= m.limit || bytes > logstore.MaxPage:
		return enough, nil
	}
	for i := range some {
		if err := l.page.add(&some[i]); err != nil {
			return nothing, err
		}
	}
	return few, nil
}

// need is how many rows are to be looked at in one go.
func (l *lister) need() int {
	if l.matching.found.exact != always {
		return max(l.page.missing(), minLook)
	}
	return l.page.missing()
}

// rows says how many rows a stretch has.
type rows int

// The numbers of rows.
const (
	nothing rows = iota
	few
	enough
)

// cut makes a stretch shorter so that the rows that are found in it are about
// as many as are needed, if there are enough.
func (l *lister) cut(ctx context.Context, at span) (span, rows, error) {
	order := "asc"
	if l.query.Descending {
		order = "desc"
	}
	need := l.need()
	var (
		mu         sync.Mutex
		last, have = int64(0), 0
	)
	query := fmt.Sprintf("%s | sort by (%s %s) limit %d | fields %s", l.matching.query, columnTime, order, need, columnTime)
	err := l.store.search(ctx, l.matching.tenants, query, at, func(_ uint, b *logstorage.DataBlock) error {
		mu.Lock()
		defer mu.Unlock()
		times, _ := b.GetTimestamps(nil)
		for _, t := range times {
			if have == 0 || (t < last) == l.query.Descending {
				last = t
			}
			have++
		}
		return nil
	})
	switch {
	case err != nil || have == 0:
		return at, nothing, err
	case have < need:
		return at, few, nil
	}
	if l.query.Descending {
		at.from = last
	} else {
		at.to = last
	}
	return at, enough, nil
}

// minLook is how many rows are looked at in one go at least where the engine's
// filter finds more than is selected.
const minLook = 500

// extent is the span of a query without the days at its ends that have no
// partition.
func (s *Store) extent(_ context.Context, m matchingQuery) (span, error) {
	days := s.engine.PartitionList()
	if len(days) == 0 || len(m.tenants) == 0 {
		return span{1, 0}, nil
	}
	slices.Sort(days)
	first, err := time.Parse(dayFormat, days[0])
	if err != nil {
		return span{}, fmt.Errorf("read name of day: %w", err)
	}
	last, err := time.Parse(dayFormat, days[len(days)-1])
	if err != nil {
		return span{}, fmt.Errorf("read name of day: %w", err)
	}
	return span{max(m.at.from, first.UnixNano()), min(m.at.to, last.AddDate(0, 0, 1).UnixNano()-1)}, nil
}

// page are the first entries of a query that were found so far: a heap whose
// top is the last of them.
type page struct {
	query *logstore.Query

	mu    sync.Mutex
	found []logstore.Entry
	have  map[logstore.Position]bool
	bytes int
	// cut is the first position that did not fit for its size.
	cut    logstore.Position
	wasCut bool
}

// add takes an entry into the page if it belongs there.
func (p *page) add(e *logstore.Entry) error {
	at := e.Position()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.query.Follows(at) || p.wasCut && !p.before(at, p.cut) {
		return nil
	}
	if len(p.found) == p.query.Limit && !p.before(at, p.found[0].Position()) {
		return nil
	}
	if p.have[at] {
		return nil
	}
	heap.Push(p, *e)
	for len(p.found) > p.query.Limit || p.bytes > logstore.MaxPage && len(p.found) > 1 {
		tooMany := len(p.found) > p.query.Limit
		last := heap.Pop(p).(logstore.Entry)
		if !tooMany {
			p.cut, p.wasCut = last.Position(), true
		}
	}
	return nil
}

// before reports whether a is before b in the query's order.
func (p *page) before(a, b logstore.Position) bool {
	if p.query.Descending {
		return a.Compare(b) > 0
	}
	return a.Compare(b) < 0
}

// missing is how many entries there is room for.
func (p *page) missing() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.query.Limit - len(p.found) + 1
}

// full reports whether later entries do not belong to the page.
func (p *page) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wasCut || len(p.found) >= p.query.Limit
}

// entries is the page in order.
func (p *page) entries() []logstore.Entry {
	slices.SortFunc(p.found, func(a, b logstore.Entry) int {
		if p.query.Descending {
			a, b = b, a
		}
		return a.Position().Compare(b.Position())
	})
	return p.found
}

// Len implements heap.Interface.
func (p *page) Len() int { return len(p.found) }

// Less implements heap.Interface: the last in the query's order is on top.
func (p *page) Less(i, j int) bool { return p.before(p.found[j].Position(), p.found[i].Position()) }

// Swap implements heap.Interface.
func (p *page) Swap(i, j int) { p.found[i], p.found[j] = p.found[j], p.found[i] }

// Push implements heap.Interface.
func (p *page) Push(x any) {
	e := x.(logstore.Entry)
	p.bytes += e.Size()
	p.have[e.Position()] = true
	p.found = append(p.found, e)
}

// Pop implements heap.Interface.
func (p *page) Pop() any {
	e := p.found[len(p.found)-1]
	p.found = p.found[:len(p.found)-1]
	p.bytes -= e.Size()
	delete(p.have, e.Position())
	return e
}
