package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/once"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
)

// mostRetry is how many times of the first wait after an error the longest is.
const mostRetry = 50

// shipper hands on what is in the journal to the store.
type shipper struct {
	in     *Intake
	cursor *journal.Cursor
	// opened is where the journal ended when it was opened.
	opened journal.Offset
	// sure says that skip is known: the numbers from the cursor on that the
	// store has. It is not after an error.
	sure bool
	skip map[uint64]bool
	// since is when what waits for a batch began to, synced when the store was.
	since, synced time.Time
	batch         journal.Batch
	// entries are memory for those of a batch.
	entries []logstore.Entry
	// woken is told when there is more to do.
	woken chan struct{}

	// mu guards what others than the shipper's goroutine read; it alone writes.
	mu     sync.Mutex
	origin string
	// next is the first number that the store does not have.
	next journal.Offset
	// wanted is up to where somebody waits for.
	wanted journal.Offset
	// err is why the store does not take anything now; moved is closed when it
	// or next changes.
	err   error
	moved chan struct{}
}

// init makes it ready to run.
func (s *shipper) init(in *Intake, cursor *journal.Cursor) {
	s.in, s.opened, s.woken, s.moved = in, in.journal.End(), make(chan struct{}, 1), make(chan struct{})
	s.adopt(cursor)
	in.brand = s.origin[:min(brandBytes, len(s.origin))]
	s.next = cursor.Position()
	s.synced = time.Now()
}

// adopt makes a cursor and the origin that its name says its own.
func (s *shipper) adopt(cursor *journal.Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor, s.origin = cursor, strings.TrimPrefix(cursor.Name(), cursorPrefix)
	s.in.window.origin = s.origin
}

// brandBytes are how many bytes of the origin are in an insert id.
const brandBytes = 6

// wake says that there is more in the journal.
func (s *shipper) wake() {
	select {
	case s.woken <- struct{}{}:
	default: // It has been told.
	}
}

// run hands on until ctx ends.
func (s *shipper) run(ctx context.Context) {
	first := s.in.options.RetryDelay
	retry := first
	for ctx.Err() == nil {
		err := s.step(ctx)
		if err == nil {
			retry = first
			continue
		}
		if ctx.Err() != nil {
			return
		}
		s.failed(err)
		s.pause(ctx, retry)
		retry = min(2*retry, mostRetry*first)
	}
}

// pause waits.
func (s *shipper) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// failed takes note of an error of the store: nothing is sure any more.
func (s *shipper) failed(err error) {
	s.mu.Lock()
	known := s.err != nil && s.err.Error() == err.Error()
	s.err = err
	s.next = s.cursor.Position()
	s.announce()
	s.mu.Unlock()
	s.sure = false
	if !known {
		s.in.options.Logger.LogAttrs(context.Background(), slog.LevelWarn, "log store does not take entries", slog.String("error", err.Error()))
	}
}

// announce wakes those who wait for a change. mu is held.
func (s *shipper) announce() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// advance takes note of what the store has.
func (s *shipper) advance(next journal.Offset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.err = next, nil
	s.announce()
}

// step does one thing of what there is to do, or waits for something.
func (s *shipper) step(ctx context.Context) error {
	if !s.sure {
		if err := s.ask(ctx); err != nil {
			return err
		}
	}
	waiting := int(s.in.journal.End() - s.next)
	switch {
	case waiting == 0:
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = time.Now()
	}
	delay := s.in.options.BatchDelay - time.Since(s.since)
	if waiting > 0 && (waiting >= s.in.options.BatchEntries || delay <= 0 || s.hurried()) {
		return s.ship(ctx)
	}
	unsynced := s.next > s.cursor.Position()
	until := s.in.options.SyncDelay - time.Since(s.synced)
	if unsynced && until <= 0 {
		return s.sync(ctx)
	}
	switch {
	case waiting > 0 && unsynced:
		s.wait(ctx, min(delay, until))
	case waiting > 0:
		s.wait(ctx, delay)
	case unsynced:
		s.wait(ctx, until)
	default:
		s.wait(ctx, -1)
		if !s.synced.IsZero() {
			s.synced = time.Now() // what comes first is not synced alone
		}
	}
	return nil
}

// wait waits for d, for ever if that is negative, or until it is woken.
func (s *shipper) wait(ctx context.Context, d time.Duration) {
	var over <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-over:
	case <-s.woken:
	}
}

// hurried reports whether somebody waits for what is not in the store.
func (s *shipper) hurried() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted > s.next
}

// ask finds out what the store has of what is not known to be durable there.
func (s *shipper) ask(ctx context.Context) error {
	at := s.cursor.Position()
	numbers, err := s.in.store.Since(ctx, s.origin, uint64(at))
	if err != nil {
		return fmt.Errorf("ask for what is there: %w", err)
	}
	if n := len(numbers); n > 0 && s.next == at && s.skip == nil && numbers[n-1] >= uint64(s.opened) {
		if err := s.renounce(at); err != nil {
			return err
		}
	}
	s.skip = make(map[uint64]bool, len(numbers))
	for _, n := range numbers {
		if n < uint64(s.in.journal.End()) {
			s.skip[n] = true
		}
	}
	s.sure = true
	s.advance(at)
	return nil
}

// renounce gives the intake a new origin: the store has entries of the old one
// that are not in the journal, which therefore is an older copy of itself, and its
// next numbers are taken.
func (s *shipper) renounce(at journal.Offset) error {
	cursor, err := s.in.journal.Cursor(cursorPrefix+newOrigin(), at)
	if err != nil {
		return fmt.Errorf("make cursor of a new origin: %w", err)
	}
	s.in.options.Logger.LogAttrs(context.Background(), slog.LevelWarn, "journal of logs is older than the store; goes on with a new origin",
		slog.String("old", s.origin))
	old := s.cursor
	s.adopt(cursor)
	if err := old.Remove(); err != nil {
		return fmt.Errorf("remove cursor of the old origin: %w", err)
	}
	return nil
}

// ship hands on one batch.
func (s *shipper) ship(ctx context.Context) error {
	items, next, err := s.read()
	if err != nil {
		return err
	}
	whole := len(items)
	if items, err = s.in.window.sieve(ctx, s.in.store, items); err != nil {
		return err
	}
	s.in.counts.drop(ReasonDuplicate, whole-len(items))
	s.entries = slices.Grow(s.entries[:0], len(items))[:len(items)]
	for i, it := range items {
		s.entries[i] = *it.entry
		s.entries[i].Origin, s.entries[i].Seq = s.origin, uint64(it.at)
	}
	err = s.append(ctx, s.entries)
	clear(s.entries)
	if err != nil {
		return err
	}
	s.in.hot.forget(next)
	for n := range s.skip {
		if n < uint64(next) {
			delete(s.skip, n)
		}
	}
	s.since = time.Time{}
	s.advance(next)
	if next >= s.opened {
		s.in.window.complete()
	}
	if st := s.in.journal.Stats(); st.Bytes > st.MaxBytes/2 {
		return s.sync(ctx)
	}
	return nil
}

// read gives the next batch, without what the store has, from memory or from
// the journal.
func (s *shipper) read() ([]item, journal.Offset, error) {
	if len(s.skip) == 0 {
		items := s.in.hot.take(s.next, s.in.options.BatchEntries, s.in.options.BatchBytes)
		if len(items) > 0 {
			return items, s.next + journal.Offset(len(items)), nil
		}
	}
	if err := s.in.journal.Read(s.next, &s.batch, s.in.options.BatchBytes); err != nil {
		return nil, 0, fmt.Errorf("read journal: %w", err)
	}
	n := min(s.batch.Len(), s.in.options.BatchEntries)
	items := make([]item, 0, n)
	next := s.batch.Next()
	if n < s.batch.Len() {
		next = s.batch.At(n).Offset
	}
	for i := range n {
		record := s.batch.At(i)
		if s.skip[uint64(record.Offset)] {
			continue
		}
		e, err := logstore.ParseRecord(record.Data)
		if err != nil {
			s.in.dropped(ReasonUnreadable, uint64(record.Offset), err)
			continue
		}
		items = append(items, item{entry: &e, key: once.KeyOf(&e), at: record.Offset, first: s.in.hot.isFirst(record.Offset)})
	}
	return items, next, nil
}

// append appends entries to the store, apart from those that it refuses for
// themselves.
func (s *shipper) append(ctx context.Context, entries []logstore.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	err := s.in.store.Append(ctx, entries)
	switch kind := fault.KindOf(err); {
	case err == nil:
		return nil
	case kind != fault.Invalid && kind != fault.TooLarge:
		return fmt.Errorf("append to the store: %w", err)
	case len(entries) == 1:
		s.in.dropped(ReasonRefused, entries[0].Seq, err)
		return nil
	}
	// Some of them may be there, as after any error.
	numbers, sinceErr := s.in.store.Since(ctx, s.origin, entries[0].Seq)
	if sinceErr != nil {
		return errors.Join(err, sinceErr)
	}
	left := slices.DeleteFunc(slices.Clone(entries), func(e logstore.Entry) bool {
		_, there := slices.BinarySearch(numbers, e.Seq)
		return there
	})
	half := (len(left) + 1) / 2
	if err := s.append(ctx, left[:half]); err != nil {
		return err
	}
	return s.append(ctx, left[half:])
}

// sync makes durable what the store has, and has the journal let go of it.
func (s *shipper) sync(ctx context.Context) error {
	next := s.next
	if err := s.in.store.Sync(ctx); err != nil {
		return fmt.Errorf("sync the store: %w", err)
	}
	if err := s.cursor.Commit(next); err != nil {
		return fmt.Errorf("move cursor: %w", err)
	}
	s.synced = time.Now()
	return nil
}

// flush waits until the store has everything before an offset.
func (s *shipper) flush(ctx context.Context, to journal.Offset) error {
	for {
		s.mu.Lock()
		s.wanted = max(s.wanted, to)
		done, err, moved := s.next >= to, s.err, s.moved
		s.mu.Unlock()
		switch {
		case done:
			return nil
		case err != nil:
			return err
		}
		s.wake()
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
