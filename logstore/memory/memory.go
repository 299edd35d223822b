// Package memory keeps entries in memory: a logstore.Store for tests, and what
// the others are compared with. It does the least: a sorted slice, and
// logstore.Match for everything. Nothing is left after Close.
package memory

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// Store is a logstore.Store.
type Store struct {
	mu sync.Mutex
	// entries are by project and then by position, each once.
	entries []logstore.Entry
	closed  bool
}

var _ logstore.Store = (*Store)(nil)

// New makes an empty store.
func New() *Store { return &Store{} }

// compare is the order of the entries.
func compare(a, b logstore.Entry) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), a.Position().Compare(b.Position()))
}

// open locks the store, unless it is closed or the context has ended.
func (s *Store) open(ctx context.Context, op string) error {
	s.mu.Lock()
	err := ctx.Err()
	if err == nil && s.closed {
		err = &fault.Error{Op: "logstore/memory." + op, Kind: fault.Unavailable, Reason: "CLOSED"}
	}
	if err != nil {
		s.mu.Unlock()
	}
	return err
}

// Append implements logstore.Writer.
func (s *Store) Append(ctx context.Context, entries []logstore.Entry) error {
	if err := s.open(ctx, "Append"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.entries = append(s.entries, entries...)
	slices.SortStableFunc(s.entries, compare)
	s.entries = slices.CompactFunc(s.entries, func(a, b logstore.Entry) bool { return compare(a, b) == 0 })
	return nil
}

// Sync implements logstore.Writer.
func (s *Store) Sync(ctx context.Context) error {
	if err := s.open(ctx, "Sync"); err != nil {
		return err
	}
	s.mu.Unlock()
	return nil
}

// Since implements logstore.Writer.
func (s *Store) Since(ctx context.Context, origin string, seq uint64) ([]uint64, error) {
	if err := s.open(ctx, "Since"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var found []uint64
	for i := range s.entries {
		if e := &s.entries[i]; e.Origin == origin && e.Seq >= seq {
			found = append(found, e.Seq)
		}
	}
	slices.Sort(found)
	return found, nil
}

// List implements logstore.Reader.
func (s *Store) List(ctx context.Context, q logstore.Query) ([]logstore.Entry, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	selector, err := q.Matcher()
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx, "List"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var page []logstore.Entry
	size := 0
	for i := range s.entries {
		if q.Descending {
			i = len(s.entries) - 1 - i
		}
		e := &s.entries[i]
		if !q.Follows(e.Position()) || !selector.Match(e) {
			continue
		}
		if size += e.Size(); len(page) > 0 && size > logstore.MaxPage {
			break
		}
		if page = append(page, *e); len(page) == q.Limit {
			break
		}
	}
	return page, nil
}

// Count implements logstore.Reader.
func (s *Store) Count(ctx context.Context, c logstore.Counting) ([]logstore.Group, error) {
	counter, err := logstore.NewCounter(c)
	if err != nil {
		return nil, err
	}
	selector, err := c.Matcher()
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx, "Count"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for i := range s.entries {
		if e := &s.entries[i]; selector.Match(e) {
			if err := counter.Add(e); err != nil {
				return nil, err
			}
		}
	}
	return counter.Groups(), nil
}

// Usage implements logstore.Keeper.
func (s *Store) Usage(ctx context.Context, project string) ([]logstore.Usage, error) {
	if err := s.open(ctx, "Usage"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	type place struct {
		project, bucket string
		day             time.Time
	}
	sums := map[place]*logstore.Usage{}
	for i := range s.entries {
		e := &s.entries[i]
		if project != "" && e.Project != project {
			continue
		}
		at := place{e.Project, e.Bucket, logstore.Day(e.Time)}
		if sums[at] == nil {
			sums[at] = &logstore.Usage{Project: at.project, Bucket: at.bucket, Day: at.day}
		}
		sums[at].Entries++
		sums[at].Bytes += int64(e.Size())
	}
	all := make([]logstore.Usage, 0, len(sums))
	for _, u := range sums {
		all = append(all, *u)
	}
	slices.SortFunc(all, func(a, b logstore.Usage) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Bucket, b.Bucket), a.Day.Compare(b.Day))
	})
	return all, nil
}

// Delete implements logstore.Keeper.
func (s *Store) Delete(ctx context.Context, d logstore.Deletion) error {
	if err := d.Check(); err != nil {
		return err
	}
	if err := s.open(ctx, "Delete"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.entries = slices.DeleteFunc(s.entries, func(e logstore.Entry) bool {
		return e.Project == d.Project && e.Bucket == d.Bucket && e.Time.Before(d.Before)
	})
	return nil
}

// Close implements io.Closer.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.entries = true, nil
	return nil
}
