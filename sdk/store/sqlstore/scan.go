package sqlstore

import (
	"bytes"
	"context"
	"fmt"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// Few is how many objects are sorted rather than found in their order, unless a
// driver says otherwise. It is also how far a condition is counted to know
// whether it selects few, which takes 0.1 ms.
const Few = 1000

// maxConditions bounds the conditions and the order keys of a scan, and
// maxValues the values of a condition.
const (
	maxConditions = 64
	maxValues     = 1000
)

// Reader reads a database as it is at one moment.
type Reader interface {
	// Dialect is how its statements are written.
	Dialect() Dialect
	// Records calls yield with the records that a statement selects until it
	// returns false.
	Records(ctx context.Context, q Query, yield func(*store.Record) bool) error
	// Numbers is the one row of so many numbers that a statement selects.
	Numbers(ctx context.Context, q Query, n int) ([]int64, error)
	// Symbols are all that there are.
	Symbols(ctx context.Context) (map[Symbol]int64, error)
}

// Scan does a scan.
func Scan(ctx context.Context, r Reader, syms *Symbols, q *store.Scan, columns Columns, yield func(*store.Record) bool) error {
	s, err := plan(ctx, r, syms, q, true)
	if err != nil || s == nil {
		return err
	}
	return r.Records(ctx, s.query(r.Dialect(), columns), func(rec *store.Record) bool {
		rec.Type = q.Type
		return yield(rec)
	})
}

// Count is how many records a scan selects, regardless of its Limit, After and
// Reverse.
func Count(ctx context.Context, r Reader, syms *Symbols, q *store.Scan) (int64, error) {
	all := *q
	all.Order, all.After, all.Limit, all.Reverse = nil, nil, 0, false
	s, err := plan(ctx, r, syms, &all, false)
	if err != nil || s == nil {
		return 0, err
	}
	n, err := r.Numbers(ctx, s.query(r.Dialect(), ColumnsCount), 1)
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// scan is a scan in the terms of the tables, with the way that it goes.
type scan struct {
	kind     int64
	from, to resource.Name
	conds    []cond
	keys     []key
	after    *store.Position
	reverse  bool
	limit    int
	// drive is the condition whose entries are gone through, which is not in
	// conds. Without one it is the entries of the first key, or the objects.
	drive *cond
	// sorted is whether what is found is sorted by the keys.
	sorted bool
}

// cond is a condition: that the object has one of some terms.
type cond struct {
	// terms are these terms, unless it is a range.
	terms [][]byte
	// span is a range of them.
	span *span
}

// equal is whether it is one term, whose entries are in the order of names.
func (c *cond) equal() bool { return len(c.terms) == 1 }

// span is a range of terms. from and to are never nil.
type span struct {
	from, to           []byte
	fromOpen, toClosed bool
}

// empty is whether nothing can be in it.
func (s *span) empty() bool {
	c := bytes.Compare(s.from, s.to)
	return c > 0 || c == 0 && (s.fromOpen || !s.toClosed)
}

// key is a key of an order: the term of an object between from and to.
type key struct {
	from, to []byte
	span     span
	desc     bool
}

// plan makes a scan of what is asked for; nil when nothing can be selected.
func plan(ctx context.Context, r Reader, syms *Symbols, q *store.Scan, ordered bool) (*scan, error) {
	if err := checkScan(q); err != nil {
		return nil, err
	}
	if err := syms.Find(ctx, scanned(q), r.Symbols); err != nil {
		return nil, err
	}
	kind, ok := syms.Kind(q.Type)
	if !ok {
		return nil, nil
	}
	s := &scan{kind: kind, from: q.From, to: q.To, after: q.After, reverse: q.Reverse, limit: q.Limit}
	for _, k := range q.Order {
		id, ok := syms.id(Symbol{q.Type, k.Index})
		if !ok {
			return nil, nil
		}
		p := prefix(id, "")
		s.keys = append(s.keys, key{from: p, to: after(p), span: span{from: p, to: after(p)}, desc: k.Desc != q.Reverse})
	}
	for i := range q.Where {
		if !s.where(syms, q.Type, &q.Where[i]) {
			return nil, nil
		}
	}
	return s, s.choose(ctx, r, ordered)
}

// checkScan refuses a scan that is not what it must be.
func checkScan(q *store.Scan) error {
	const op = "store.Scan"
	if len(q.Where) > maxConditions || len(q.Order) > maxConditions {
		return Invalid(op, q.Type, "SCAN_INVALID", "a scan has at most %d conditions and keys", maxConditions)
	}
	for _, c := range q.Where {
		if len(c.Values) > maxValues {
			return Invalid(op, q.Type, "SCAN_INVALID", "a condition has at most %d values, not %d", maxValues, len(c.Values))
		}
		if c.Op > filter.All {
			return Invalid(op, q.Type, "SCAN_INVALID", "there is no comparison %d", c.Op)
		}
	}
	if q.After != nil && len(q.After.Values) != len(q.Order) {
		return Invalid(op, q.Type, "SCAN_INVALID", "a position in an order of %d keys has not %d values", len(q.Order), len(q.After.Values))
	}
	if q.Limit < 0 {
		return Invalid(op, q.Type, "SCAN_INVALID", "a limit is not negative")
	}
	return nil
}

// where adds a condition; false when it cannot hold. One on the first key of
// the order becomes its bound, because each object has one entry of it.
func (s *scan) where(syms *Symbols, typ string, c *filter.Condition) bool {
	id, known := syms.id(Symbol{typ, c.Index})
	if c.Op == filter.All && len(c.Values) == 0 {
		return true
	}
	if !known || c.Op == filter.In && len(c.Values) == 0 {
		return false
	}
	p := prefix(id, c.Key)
	of := func(value []byte) []byte { return append(p[:len(p):len(p)], value...) }
	switch c.Op {
	case filter.In:
		all := cond{}
		for _, v := range c.Values {
			all.terms = append(all.terms, of(v))
		}
		if first := s.firstKey(p); first != nil && all.equal() {
			return first.span.narrow(&span{from: all.terms[0], to: all.terms[0], toClosed: true})
		}
		s.conds = append(s.conds, all)
	case filter.All:
		for _, v := range c.Values {
			s.conds = append(s.conds, cond{terms: [][]byte{of(v)}})
		}
	case filter.Range:
		is := span{from: p, to: after(p)}
		if c.From != nil {
			is.from, is.fromOpen = of(c.From), c.FromOpen
		}
		if c.To != nil {
			is.to, is.toClosed = of(c.To), c.ToClosed
		}
		if first := s.firstKey(p); first != nil {
			return first.span.narrow(&is)
		}
		s.conds = append(s.conds, cond{span: &is})
		return !is.empty()
	}
	return true
}

// firstKey is the first key of the order if its terms have this prefix.
func (s *scan) firstKey(prefix []byte) *key {
	if len(s.keys) > 0 && bytes.Equal(s.keys[0].from, prefix) {
		return &s.keys[0]
	}
	return nil
}

// narrow bounds a span further; false when nothing is left.
func (s *span) narrow(by *span) bool {
	if c := bytes.Compare(by.from, s.from); c > 0 || c == 0 && by.fromOpen {
		s.from, s.fromOpen = by.from, by.fromOpen
	}
	if c := bytes.Compare(by.to, s.to); c < 0 || c == 0 && !by.toClosed {
		s.to, s.toClosed = by.to, by.toClosed
	}
	return !s.empty()
}

// choose chooses the way: without a sort, unless there are few objects to sort.
// Entries of one term and objects come in the order of names, those of the first
// key in its order.
func (s *scan) choose(ctx context.Context, r Reader, ordered bool) error {
	bounded := len(s.keys) > 0 && s.to != ""
	switch {
	case len(s.conds) == 0 && !bounded:
		return nil
	case len(s.conds) == 1 && len(s.keys) == 0 && (s.conds[0].equal() || !ordered):
		s.take(0)
		return nil
	}
	few := int64(r.Dialect().Few)
	counts, err := r.Numbers(ctx, s.probes(r.Dialect(), bounded), len(s.conds)+1)
	if err != nil {
		return fmt.Errorf("estimating: %w", err)
	}
	objects := counts[len(s.conds)]
	best := -1
	for i := range s.conds {
		if best < 0 || counts[i] < counts[best] || counts[i] == counts[best] && s.conds[i].equal() && !s.conds[best].equal() {
			best = i
		}
	}
	switch {
	case best >= 0 && counts[best] < few && counts[best] <= objects:
		s.sorted = len(s.keys) > 0 || !s.conds[best].equal()
		s.take(best)
	case objects < few:
		s.sorted = true
	case len(s.keys) == 0 && s.conds[best].equal(), !ordered:
		s.take(best)
	}
	return nil
}

// take makes a condition what is gone through.
func (s *scan) take(i int) {
	c := s.conds[i]
	s.drive, s.conds = &c, append(s.conds[:i:i], s.conds[i+1:]...)
}
