package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// cursorType is the type of the records that say how far a reader of the
// changes is.
const cursorType = "records.selvedge.dev/Cursor"

// changesAtOnce is how many changes are read at once: enough that reading them
// one by one costs little, few enough to be kept in memory.
const changesAtOnce = 500

// tailPause is how long Tail lets changes gather before it looks again. A change
// after a quiet time is handled at once; under load, reading them one commit at
// a time costs as much as a tenth of the commits do.
const tailPause = 10 * time.Millisecond

// keptEach is how often Tail keeps how far it is while changes come: it is a
// commit.
const keptEach = time.Second

// Tail calls f with the changes of the store, in their order and whole
// transactions at a time, until ctx ends. It
// begins behind those for which f returned nil in an earlier run of the same
// name, so f sees every change at least once; after a crash it sees those of
// the last second again. A new name begins with the oldest change that is kept.
// After an error of f it calls f with the same changes again, after a pause.
// Changes that were trimmed before f saw them are left out, and logged; see
// [Store.Trim].
func (s *Store) Tail(ctx context.Context, name string, f func(context.Context, []Change) error) error {
	return s.TailOr(ctx, name, f, nil)
}

// TailOr is [Store.Tail] for who must know what he does not see: missed, unless nil, is
// called when the changes after one and up to another were trimmed before f
// saw them, and again after a pause until it returns nil. After a crash it may
// come again.
func (s *Store) TailOr(ctx context.Context, name string, f func(context.Context, []Change) error, missed func(ctx context.Context, after, through Seq) error) error {
	t := tail{s: s, name: name, f: f, missed: missed}
	for ctx.Err() == nil {
		err := t.step(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			continue
		case fault.ReasonOf(err) == "CHANGES_EXPIRED":
			s.o.Logger.LogAttrs(ctx, slog.LevelError, "changes were trimmed before they were read", slog.String("cursor", name), slog.Int64("after", int64(t.at)))
			if err := t.skip(ctx); err != nil && ctx.Err() == nil {
				s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "what was missed is not passed over yet", slog.String("cursor", name), slog.Any("error", err))
				pauseFor(ctx, retryPause)
			}
		default:
			s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "changes cannot be handled", slog.String("cursor", name), slog.Any("error", err))
			pauseFor(ctx, retryPause)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keptEach)
	defer cancel()
	if err := t.keep(ctx); err != nil {
		s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "some changes will be handled again", slog.String("cursor", name), slog.Any("error", err))
	}
	return nil
}

// tail is a run of Tail.
type tail struct {
	s    *Store
	name string
	f    func(context.Context, []Change) error
	// missed is told of what f does not see, nil if nobody is.
	missed func(ctx context.Context, after, through Seq) error
	// begun is whether at is known: the last change that f handled. Kept is the
	// one that a new run would begin behind, and due is when that is too old.
	begun    bool
	at, kept Seq
	due      time.Time
}

// step waits for changes, and hands them to f. It keeps the position when that
// is due.
func (t *tail) step(ctx context.Context) (err error) {
	if !t.begun {
		if t.at, err = t.s.position(ctx, t.name); err != nil {
			return err
		}
		t.begun, t.kept = true, t.at
	}
	wait, stop := ctx, context.CancelFunc(func() {})
	if t.at != t.kept {
		wait, stop = context.WithDeadline(ctx, t.due)
	}
	defer stop()
	if err := t.s.driver.Wait(wait, t.at); wait.Err() != nil {
		return t.keep(ctx)
	} else if err != nil {
		return err
	}
	changes, more, err := t.read(ctx)
	if err != nil || len(changes) == 0 {
		return err
	}
	if err := t.f(ctx, changes); err != nil {
		return fmt.Errorf("handling the changes after %d: %w", t.at, err)
	}
	if t.at == t.kept {
		t.due = time.Now().Add(keptEach)
	}
	t.at = changes[len(changes)-1].Seq
	if !more {
		pauseFor(ctx, tailPause)
	}
	return nil
}

// skip goes on with the oldest change that is kept.
func (t *tail) skip(ctx context.Context) error {
	at, err := t.s.oldest(ctx, t.at)
	if err != nil {
		return err
	}
	if at <= t.at {
		return fmt.Errorf("the changes after %d are said to be kept, and cannot be read", t.at)
	}
	if t.missed != nil {
		if err := t.missed(ctx, t.at, at); err != nil {
			return err
		}
	}
	t.at = at
	return nil
}

// read reads the next changes, of whole transactions, and whether there may be
// more.
func (t *tail) read(ctx context.Context) (changes []Change, more bool, err error) {
	for limit := changesAtOnce; ; limit *= 2 {
		changes, err := t.s.driver.Changes(ctx, t.at, limit)
		if err != nil {
			return nil, false, err
		}
		whole := len(changes)
		for whole > 0 && !changes[whole-1].Last {
			whole--
		}
		if more = len(changes) == limit; whole > 0 || !more {
			return changes[:whole], more, nil
		}
	}
}

// keep keeps the position.
func (t *tail) keep(ctx context.Context) error {
	if t.at == t.kept {
		return nil
	}
	if err := t.s.setPosition(ctx, t.name, t.at); err != nil {
		return fmt.Errorf("keeping the position %d: %w", t.at, err)
	}
	t.kept = t.at
	return nil
}

// cursors is the type of cursors.
func (s *Store) cursors() *schema.Resource {
	r, _ := s.types.Type(cursorType)
	return r
}

// cursorName is the name of a cursor.
func cursorName(name string) resource.Name { return resource.Name("cursors/" + name) }

// position is how far the reader of that name is. A new one is noted, and one that
// was given up is there again.
func (s *Store) position(ctx context.Context, name string) (at Seq, err error) {
	forsaken := false
	err = s.Run(ctx, Consistent, func(ctx context.Context) error {
		m, err := s.Get(ctx, s.cursors(), cursorName(name))
		switch c, _ := m.(*resourcev1.Cursor); {
		case err == nil:
			at, forsaken = Seq(c.GetSeq()), c.GetForsaken()
		case fault.KindOf(err) == fault.NotFound:
			at, err = 0, nil
		}
		return err
	})
	if err != nil || at > 0 && !forsaken {
		return at, err
	}
	if at == 0 {
		if at, err = s.oldest(ctx, 0); err != nil {
			return 0, err
		}
	}
	return at, s.setPosition(ctx, name, at) // from now on nothing after it is trimmed
}

// setPosition keeps how far the reader of that name is.
func (s *Store) setPosition(ctx context.Context, name string, at Seq) error {
	return s.Run(ctx, Transaction, func(ctx context.Context) error {
		m, err := s.Get(ctx, s.cursors(), cursorName(name))
		c, _ := m.(*resourcev1.Cursor)
		switch {
		case fault.KindOf(err) == fault.NotFound:
			c = &resourcev1.Cursor{Name: string(cursorName(name)), Origin: s.NewUID()}
		case err != nil:
			return err
		}
		c.Seq, c.Forsaken = int64(at), false
		return s.Save(ctx, c, SaveOptions{})
	})
}

// oldest is the least position from at on whose changes are all kept.
func (s *Store) oldest(ctx context.Context, at Seq) (Seq, error) {
	newest, err := s.newest(ctx)
	if err != nil {
		return at, err
	}
	low, high := at, newest // changes after high are kept
	for low < high {
		mid := low + (high-low)/2
		_, err := s.driver.Changes(ctx, mid, 1)
		switch {
		case err == nil:
			high = mid
		case fault.ReasonOf(err) == "CHANGES_EXPIRED":
			low = mid + 1
		default:
			return at, err
		}
	}
	return high, nil
}

// Trim forgets the changes up to that one, but none that a reader by [Store.Tail]
// has not seen. It returns up to where it did.
func (s *Store) Trim(ctx context.Context, through Seq) (Seq, error) {
	readers, err := s.readers(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the cursors: %w", err)
	}
	newest, err := s.newest(ctx) // what is not there yet is not forgotten in advance
	if err != nil {
		return 0, err
	}
	through = min(through, newest)
	for _, at := range readers {
		through = min(through, at)
	}
	return through, s.driver.Trim(ctx, through)
}

// Note puts notes into the feed by themselves (see [Batch]), whatever handle the
// context has. They are durable when it returns nil.
func (s *Store) Note(ctx context.Context, info Info, notes ...[]byte) error {
	_, err := s.driver.Commit(ctx, &Batch{ID: s.o.NewUID(), Time: s.o.Now(), Notes: notes, Info: info})
	return err
}
