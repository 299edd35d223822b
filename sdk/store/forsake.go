package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// Forsake gives up the readers by [Store.Tail] whose names begin with prefix, but
// for the one called but, that have not handled a change which was made before
// that time: nobody knows whether they come back, and until they are given up
// [Store.Trim] keeps everything for them. One that does come back goes on where it
// was, or, if that was trimmed, with the oldest change that is kept, and is told what
// it missed. It returns who was given up.
func (s *Store) Forsake(ctx context.Context, prefix, but string, before time.Time) ([]string, error) {
	readers, err := s.readers(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the cursors: %w", err)
	}
	var gone []string
	for name, at := range readers {
		if !strings.HasPrefix(name, prefix) || name == but {
			continue
		}
		next, err := s.driver.Changes(ctx, at, 1)
		if err != nil && fault.ReasonOf(err) != "CHANGES_EXPIRED" {
			return gone, err
		}
		if err == nil && (len(next) == 0 || !next[0].Time.Before(before)) {
			continue
		}
		forgotten, err := s.forsakeOne(ctx, name, at)
		if err != nil {
			return gone, fmt.Errorf("giving up the reader %s: %w", name, err)
		}
		if forgotten {
			gone = append(gone, name)
		}
	}
	return gone, nil
}

// readers are how far the readers of the changes are, by their names, but for those
// that were given up.
func (s *Store) readers(ctx context.Context) (map[string]Seq, error) {
	all := map[string]Seq{}
	err := s.Run(ctx, Consistent, func(ctx context.Context) error {
		t, err := s.handle(ctx, "store.readers")
		if err != nil {
			return err
		}
		clear(all)
		return t.view(ctx, func(snap Snapshot, _ Seq) error {
			var failed error
			err := snap.Scan(ctx, Scan{Type: cursorType}, func(rec *Record) bool {
				m, err := Decode(s.cursors(), rec)
				if c, ok := m.(*resourcev1.Cursor); ok && !c.GetForsaken() {
					all[strings.TrimPrefix(c.GetName(), string(cursorName("")))] = Seq(c.GetSeq())
				}
				failed = err
				return err == nil
			})
			return errors.Join(err, failed)
		})
	})
	return all, err
}

// forsakeOne gives up a reader, unless it has gone on meanwhile.
func (s *Store) forsakeOne(ctx context.Context, name string, at Seq) (forgotten bool, err error) {
	err = s.Run(ctx, Transaction, func(ctx context.Context) error {
		forgotten = false
		m, err := s.Get(ctx, s.cursors(), cursorName(name))
		c, _ := m.(*resourcev1.Cursor)
		if fault.KindOf(err) == fault.NotFound || err == nil && Seq(c.GetSeq()) != at {
			return nil
		}
		if err != nil {
			return err
		}
		forgotten, c.Forsaken = true, true
		return s.Save(ctx, c, SaveOptions{})
	})
	return forgotten && err == nil, err
}
