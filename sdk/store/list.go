package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

// The bounds of a list: how many objects it looks at, which takes a second or
// so, and how many of them at once, from a page of a screen to what is worth a
// query.
const (
	maxScanned = 50_000
	minChunk   = 64
	maxChunk   = 4096
)

// List reads a page of objects. Of an object that is written between one page
// and the next nothing is said; every other one is in exactly one page.
func (s *Store) List(ctx context.Context, r *schema.Resource, q Query) (*Page, error) {
	const op = "store.List"
	t, err := s.reader(ctx, op)
	if err != nil {
		return nil, err
	}
	if q.Limit <= 0 || q.After != nil && len(q.After.Values) != len(q.Order.Keys) {
		return nil, &fault.Error{Op: op, Kind: fault.Invalid, Reason: "INVALID_PAGE", Err: errors.New("a page has a positive limit, and a position of its own order")}
	}
	l := &list{t: t, r: r, q: q}
	if err := l.plan(); err != nil {
		return nil, err
	}
	var page *Page
	err = t.view(ctx, func(snap Snapshot, seq Seq) error {
		l.snap = snap
		if page, err = l.page(ctx); err != nil {
			return err
		}
		if q.Reverse && len(page.Objects) == 0 && page.Prev == nil {
			l.q.Reverse, l.q.After = false, nil // what was there is gone: this is the beginning
			if page, err = l.page(ctx); err != nil {
				return err
			}
		}
		page.Seq = seq
		if q.Count {
			return l.count(ctx, page)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", r.Type, err)
	}
	s.observe(r, scopeOf(resource.Name(q.Parent.Name+"/")), "list", max(1, len(page.Objects)))
	return page, nil
}

// list is a List that is going on.
type list struct {
	t    *Tx
	r    *schema.Resource
	q    Query
	snap Snapshot
	// base is what the driver can tell, backward whether the names of the order
	// descend, which is the opposite order backward.
	base     Scan
	backward bool
	// rest is what it cannot tell of the filter, exact whether there is nothing
	// that it cannot.
	rest  *filter.Filter
	exact bool
}

// plan splits the query into what the driver can tell and the rest.
func (l *list) plan() error {
	q, prefix := l.q, resource.Name(l.q.Parent.Prefix())
	l.base = Scan{Type: l.r.Type, From: prefix, To: after(prefix), Where: q.Filter.Conjuncts()}
	l.rest = q.Filter.Residual(l.base.Where)
	if from, to := names(q.Filter); from > l.base.From {
		l.base.From = from
		l.base.To = least(l.base.To, to)
	} else {
		l.base.To = least(l.base.To, to)
	}
	if q.Phrase != "" {
		words, err := filter.Phrase(q.Phrase)
		if err != nil {
			return err
		}
		l.base.Where = append(l.base.Where, words...)
	}
	l.backward = q.Order.NameDesc
	for _, k := range q.Order.Keys {
		l.base.Order = append(l.base.Order, OrderKey{Index: k.Index, Desc: k.Desc != l.backward})
	}
	l.exact = l.rest.Empty() && q.Visible == nil && q.Shown == nil && l.onePrefix()
	return nil
}

// names are the bounds of names of a filter, which can be nil.
func names(f *filter.Filter) (from, to resource.Name) {
	if f.Empty() {
		return "", ""
	}
	return f.Names()
}

// after is the least name behind those that begin with a prefix, which ends
// with a slash.
func after(prefix resource.Name) resource.Name {
	if prefix == "" {
		return ""
	}
	return prefix[:len(prefix)-1] + "0" // which comes after the slash
}

// least is the lower of two upper bounds, "" being none.
func least(a, b resource.Name) resource.Name {
	if a == "" || b != "" && b < a {
		return b
	}
	return a
}

// onePrefix reports whether all names of the type with the parent's prefix are
// under it: it has no wildcard, and no other pattern goes deeper.
func (l *list) onePrefix() bool {
	p := l.q.Parent
	if p.Pattern == "" {
		return true
	}
	return len(l.r.Patterns) == 1 && p.Prefix() == p.Name+"/"+p.Pattern.Collection()+"/"
}

// wanted decodes a record and reports whether it is one to list.
func (l *list) wanted(rec *Record) (proto.Message, bool, error) {
	if !l.q.Parent.Match(rec.Name) || l.q.Visible != nil && !l.q.Visible(rec.Name) {
		return nil, false, nil
	}
	m, err := Decode(l.r, rec)
	if err != nil {
		return nil, false, err
	}
	return m, l.rest.Match(m.ProtoReflect()) && (l.q.Shown == nil || l.q.Shown(m)), nil
}

// page reads the page.
func (l *list) page(ctx context.Context) (*Page, error) {
	found, last, err := l.read(ctx)
	if err != nil {
		return nil, err
	}
	more := len(found) > l.q.Limit // the one beyond shows that there is more
	if more {
		found, last = found[:l.q.Limit], nil
	}
	page := &Page{Objects: found}
	ahead, behind := &page.Next, &page.Prev
	if l.q.Reverse {
		slices.Reverse(found)
		ahead, behind = behind, ahead
	}
	first, final := l.q.After, last
	if len(found) > 0 {
		first, final = l.position(found[0]), l.position(found[len(found)-1])
		if l.q.Reverse {
			first, final = final, first
		}
		if last != nil {
			final = last
		}
	}
	if more || last != nil {
		*ahead = final
	}
	if l.q.After != nil {
		*behind = first
	}
	return page, nil
}

// read reads objects from where the page begins until one more than its limit
// is found. If it gives up before it returns where.
func (l *list) read(ctx context.Context) (found []proto.Message, last *Position, err error) {
	s := l.base
	s.After, s.Reverse = l.q.After, l.q.Reverse != l.backward
	s.Limit = max(l.q.Limit+1, minChunk)
	if l.exact {
		s.Limit = l.q.Limit + 1
	}
	for scanned := 0; ; {
		var failed error
		n := 0
		var rec *Record
		err := l.t.scanIn(ctx, l.snap, s, func(x *Record) bool {
			rec = x
			n++
			m, ok, err := l.wanted(x)
			if failed = err; ok {
				found = append(found, m)
			}
			return err == nil && len(found) <= l.q.Limit
		})
		if err = errors.Join(err, failed); err != nil {
			return nil, nil, err
		}
		if n < s.Limit || len(found) > l.q.Limit {
			return found, nil, nil
		}
		m, err := Decode(l.r, rec)
		if err != nil {
			return nil, nil, err
		}
		s.After = l.position(m)
		if scanned += n; scanned >= maxScanned {
			return found, s.After, nil
		}
		s.Limit = min(2*s.Limit, maxChunk, maxScanned-scanned)
	}
}

// position is where an object is in the order.
func (l *list) position(m proto.Message) *Position {
	return &Position{Values: l.q.Order.Key(m.ProtoReflect()), Name: l.r.NameOf(m)}
}

// count sets where the page is and how many objects there are.
func (l *list) count(ctx context.Context, page *Page) (err error) {
	if l.exact {
		page.Total, err = l.snap.Count(ctx, l.base)
	} else {
		page.Total, err = l.matches(ctx, l.base)
	}
	if err != nil || l.q.After == nil && !l.q.Reverse {
		return err
	}
	s := l.base
	s.Reverse = !l.backward
	switch {
	case len(page.Objects) > 0:
		s.After = l.position(page.Objects[0])
	case l.q.Reverse:
		return nil // the page is before everything
	default:
		page.Offset = page.Total // behind everything
		return nil
	}
	page.Offset, err = l.matches(ctx, s)
	return err
}

// matches counts what a scan selects and the query wants, -1 if it is too much
// to look at. What it reads is no condition of a transaction.
func (l *list) matches(ctx context.Context, s Scan) (n int64, err error) {
	scanned := 0
	s.Limit = maxScanned + 1
	var failed error
	err = l.snap.Scan(ctx, s, func(rec *Record) bool {
		scanned++
		ok := l.exact
		if !ok {
			_, ok, failed = l.wanted(rec)
		}
		if ok {
			n++
		}
		return failed == nil
	})
	if scanned > maxScanned {
		n = -1
	}
	return n, errors.Join(err, failed)
}
