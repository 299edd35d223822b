package logstore

import (
	"errors"
	"fmt"
	"time"

	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/fault"
)

// MaxPage is the most bytes, by Entry.Size, of a page with more than one entry.
const MaxPage = 16 << 20

// Check is an error if the query is not valid. Every store asks it first.
func (q *Query) Check() error {
	err := q.check()
	if err == nil && (q.Limit < 1 || q.Limit > MaxLimit) {
		err = fmt.Errorf("the limit is %d: it must be 1 to %d", q.Limit, MaxLimit)
	}
	return invalid("logstore.List", err)
}

// Check is an error if the counting is not valid. Every store asks it first.
func (c *Counting) Check() error {
	err := c.check()
	switch {
	case err != nil:
	case c.Interval < 0 || c.Interval > 0 && c.Interval < time.Millisecond:
		err = fmt.Errorf("the interval is %s: it must be 0, or a millisecond or more", c.Interval)
	case len(c.By) > MaxBy:
		err = fmt.Errorf("it is by %d fields, the most are %d", len(c.By), MaxBy)
	case c.Limit < 0 || c.Limit > MaxGroups:
		err = fmt.Errorf("the limit is %d: it must be 0 to %d", c.Limit, MaxGroups)
	}
	for _, path := range c.By {
		if _, typ, e := filter.Field(path); err == nil && e != nil {
			err = e
		} else if err == nil && typ == filter.Object {
			err = fmt.Errorf("%v has fields of its own: count by one of them", path)
		}
	}
	return invalid("logstore.Count", err)
}

// MaxBy is the most fields that may be counted by.
const MaxBy = 4

// check is an error if the selection is not valid.
func (s *Selection) check() error {
	if s.Project == "" {
		return errors.New("the project is missing")
	}
	return nil
}

// invalid makes a fault of an error, if there is one.
func invalid(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fault.Error{Op: op, Kind: fault.Invalid, Reason: "INVALID_QUERY", Err: err}
}

// Matcher makes the selection ready: it selects as Selection does.
func (s *Selection) Matcher() (*Selector, error) {
	m, err := Compile(s.Filter)
	if err != nil {
		return nil, err
	}
	sel := &Selector{selection: *s, filter: m}
	if s.Buckets != nil {
		sel.buckets = make(map[string]bool, len(s.Buckets))
		for _, b := range s.Buckets {
			sel.buckets[b] = true
		}
	}
	return sel, nil
}

// Selector is a selection made ready for many entries. It may be used
// concurrently.
type Selector struct {
	selection Selection
	buckets   map[string]bool
	filter    *Matcher
}

// Match reports whether the selection selects e.
func (s *Selector) Match(e *Entry) bool {
	return e.Project == s.selection.Project && (s.buckets == nil || s.buckets[e.Bucket]) &&
		!e.Time.Before(s.selection.From) && (s.selection.To.IsZero() || e.Time.Before(s.selection.To)) && s.filter.Match(e)
}

// Narrow is the selection with From and To as narrow as its filter says: it
// selects the same. A store asks it for the days to look in.
func (s Selection) Narrow() Selection {
	from, to := Times(s.Filter)
	if s.From.Before(from) {
		s.From = from
	}
	if !to.IsZero() && (s.To.IsZero() || to.Before(s.To)) {
		s.To = to
	}
	return s
}

// Times bounds the times of what a filter selects: from is in, to is not, zero
// is no bound. If it can select nothing, to is not after from.
func Times(f filter.Expr) (from, to time.Time) {
	switch f := f.(type) {
	case *filter.And:
		for _, t := range f.Terms {
			a, b := Times(t)
			if from.Before(a) {
				from = a
			}
			if to.IsZero() || !b.IsZero() && b.Before(to) {
				to = b
			}
		}
	case *filter.Or:
		for i, t := range f.Terms {
			a, b := Times(t)
			if i == 0 || a.Before(from) {
				from = a
			}
			if i == 0 || b.IsZero() || !to.IsZero() && b.After(to) {
				to = b
			}
		}
	case *filter.Comparison:
		if len(f.Path) == 1 && f.Path[0] == "timestamp" && len(f.Steps) == 0 {
			return bounds(f.Op, f.Value.Text)
		}
	}
	return from, to
}

// bounds are those of a comparison of the time.
func bounds(op filter.Op, text string) (from, to time.Time) {
	t, ok := filter.ParseTimestamp(text)
	if !ok {
		return from, to
	}
	switch op {
	case filter.Equal:
		return t, t.Add(1)
	case filter.Greater:
		return t.Add(1), to
	case filter.GreaterOrEqual:
		return t, to
	case filter.Less:
		return from, t
	case filter.LessOrEqual:
		return from, t.Add(1)
	}
	return from, to
}

// Check is an error if the deletion is not valid. Every store asks it first.
func (d *Deletion) Check() error {
	var err error
	switch {
	case d.Project == "" || d.Bucket == "":
		err = errors.New("the project or the bucket is missing")
	case d.Before.IsZero() || !d.Before.Equal(Day(d.Before)):
		err = fmt.Errorf("%s is not the begin of a day in UTC", d.Before)
	}
	return invalid("logstore.Delete", err)
}
