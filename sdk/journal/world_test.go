package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/sdk/journal/crashfs"
)

// world is a journal on a disk that loses power, and beside it what the
// journal promised: the model that every answer is held against. All of it
// follows from the seed.
type world struct {
	seed    uint64
	rng     *rand.Rand
	disk    *crashfs.FS
	options journal.Options
	journal *journal.Journal

	records [][]byte             // by offset: acknowledged, or seen after a restart
	first   journal.Offset       // First may only grow
	doubt   [][][]byte           // batches that failed since the last success
	cursors map[string]*expected // that may be there
	handles map[string]*journal.Cursor
	serial  uint64 // makes every record another one
	uniform int    // size of all records, 0 if they differ

	cuts  int
	trace []string // of the last operations
}

// expected is what is known of a cursor.
type expected struct {
	maybe     bool // its creation or removal failed
	low, high journal.Offset
	// position = start + passed + evicted, at all times.
	start               journal.Offset
	passed, passedAtMax uint64
	evicted             uint64
}

// newWorld makes the world of a seed. defect may change its file system and
// options.
func newWorld(seed uint64, defect defect) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{seed: seed, rng: rng, disk: crashfs.New(seed), cursors: map[string]*expected{}}
	w.options = journal.WithEpochs(journal.Options{
		SegmentBytes: 64 << 10,
		MaxBytes:     int64(2+rng.IntN(4)) * 64 << 10,
		OnFull:       journal.OnFull(rng.IntN(2)),
		FS:           defect.wrap(w.disk),
	}, rng.Uint32)
	if defect == unchecked {
		w.options = journal.WithoutChecksums(w.options)
	}
	if rng.IntN(8) == 0 {
		w.disk.WithoutAllocate()
	}
	if rng.IntN(2) == 0 {
		w.uniform = 200 + rng.IntN(3000)
	}
	return w
}

// violation is a promise that was not kept.
func (w *world) violation(format string, args ...any) error {
	return fmt.Errorf("seed %d, cut %d: %s\nlast operations: %s", w.seed, w.cuts, fmt.Sprintf(format, args...), w.trace)
}

// note remembers an operation for a violation to show.
func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
	if len(w.trace) > 24 {
		w.trace = w.trace[1:]
	}
}

// run lives several lives, each of which ends with a power cut, a kill or a
// clean close, and begins with a check of everything that survived.
func (w *world) run() error {
	for range 8 {
		end := w.rng.IntN(10)
		if end < 8 {
			w.disk.CutAfter(1 + w.rng.IntN(1+w.rng.IntN(200)))
		}
		if err := w.live(); err != nil {
			return err
		}
		switch {
		case end == 9 && !w.disk.Dead():
			w.note("close")
			if err := w.journal.Close(); err != nil && !errors.Is(err, syscall.EIO) {
				return w.violation("close: %v", err)
			}
			w.disk.Kill() // What a failed Close left open.
		default:
			w.stop()
		}
	}
	return nil
}

// stop ends the process at once, and the machine with it more often than not.
func (w *world) stop() {
	if w.rng.IntN(4) == 0 {
		w.note("kill")
		w.disk.Kill()
		return
	}
	w.note("power cut")
	w.disk.Restart()
	w.cuts++
}

// live opens the journal and runs random operations until the power goes or
// the program ends.
func (w *world) live() error {
	for {
		w.note("open")
		j, err := journal.Open("journal", w.options)
		if err == nil {
			w.journal = j
			break
		}
		switch {
		case w.disk.Dead():
			w.stop()
		case errors.Is(err, syscall.EIO):
			w.disk.Kill()
		default:
			return w.violation("open: %v", err)
		}
	}
	if err := w.checkRestart(); err != nil || w.disk.Dead() {
		return err
	}
	for range 20 + w.rng.IntN(120) {
		if err := w.step(); err != nil || w.disk.Dead() {
			return err
		}
	}
	return nil
}

// step runs one random operation and checks its outcome.
func (w *world) step() error {
	switch n := w.rng.IntN(100); {
	case n < 55:
		return w.append()
	case n < 75:
		return w.commit()
	case n < 80:
		return w.addCursor()
	case n < 82:
		return w.removeCursor()
	case n < 94:
		return w.read()
	case n < 97:
		w.note("fail sync")
		w.disk.FailSync(1 + w.rng.IntN(6))
	default:
		w.note("capacity")
		w.disk.SetCapacity(0)
		if w.rng.IntN(2) == 0 {
			w.disk.SetCapacity(w.disk.Used() + w.rng.Int64N(200<<10))
		}
	}
	return nil
}

// batch makes records that were never submitted before.
func (w *world) batch() [][]byte {
	batch := make([][]byte, 1+w.rng.IntN(5))
	for i := range batch {
		size := w.uniform
		if size == 0 {
			size = w.rng.IntN(1 + w.rng.IntN(6000))
		}
		if w.uniform == 0 && w.rng.IntN(100) == 0 {
			size = 30_000
		}
		w.serial++
		b := make([]byte, 8, 8+size)
		binary.LittleEndian.PutUint64(b, w.serial)
		for len(b) < size {
			b = append(b, byte(w.serial), byte(w.serial>>8), byte(len(b)))
		}
		batch[i] = b
	}
	return batch
}

// append submits a batch.
func (w *world) append() error {
	batch := w.batch()
	end := journal.Offset(len(w.records))
	offset, err := w.journal.Append(context.Background(), batch...)
	w.note("append %d → %d, %v", len(batch), offset, err)
	if err == nil {
		if offset != end {
			return w.violation("append returned %d, not %d", offset, end)
		}
		w.records = append(w.records, batch...)
		w.doubt = nil
		return w.checkCursors()
	}
	full := fault.ReasonOf(err) == journal.ReasonJournalFull
	switch {
	case w.disk.Dead(), errors.Is(err, syscall.EIO), errors.Is(err, syscall.ENOSPC):
	case full && w.options.OnFull == journal.Reject:
	default:
		return w.violation("append: %v", err)
	}
	if !full {
		w.doubt = append(w.doubt, batch)
	}
	if w.options.OnFull == journal.DropOldest {
		for _, c := range w.cursors {
			c.high = max(c.high, end) // An eviction may have been cut short.
		}
	}
	if w.disk.Dead() {
		return nil
	}
	return w.checkCursors()
}

// names are the cursors that may be there, sorted.
func (w *world) names() []string {
	var names []string
	for name := range w.cursors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// pick is a random cursor with a handle; nil if there is none.
func (w *world) pick() (string, *journal.Cursor) {
	var names []string
	for _, name := range w.names() {
		if w.handles[name] != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	name := names[w.rng.IntN(len(names))]
	return name, w.handles[name]
}

// commit moves a cursor forwards. It needs no space, so a full disk is no
// excuse.
func (w *world) commit() error {
	name, c := w.pick()
	if c == nil {
		return nil
	}
	e := w.cursors[name]
	now, end := c.Position(), journal.Offset(len(w.records))
	next := now + journal.Offset(w.rng.Uint64N(1+uint64(end-now)))
	err := c.Commit(next)
	w.note("commit %s %d → %d, %v", name, now, next, err)
	moved := uint64(next - now)
	switch {
	case err == nil && moved == 0: // What an earlier attempt left is still in doubt.
	case err == nil:
		e.low, e.high = next, next
		e.passed += moved
		e.passedAtMax = e.passed
	case w.disk.Dead(), errors.Is(err, syscall.EIO):
		e.high = max(e.high, next)
		e.passedAtMax = max(e.passedAtMax, e.passed+moved)
	default:
		return w.violation("commit %s: %v", name, err)
	}
	if w.disk.Dead() {
		return nil
	}
	return w.checkCursors()
}

// addCursor opens a cursor, which makes it if it is not there.
func (w *world) addCursor() error {
	name := string(rune('a' + w.rng.IntN(3)))
	end := journal.Offset(len(w.records))
	first := w.journal.First()
	start := []journal.Offset{journal.Oldest, journal.Newest, first + journal.Offset(w.rng.Uint64N(1+uint64(end-first)))}[w.rng.IntN(3)]
	at := max(min(start, end), first)
	c, err := w.journal.Cursor(name, start)
	w.note("cursor %s at %d, %v", name, at, err)
	e := w.cursors[name]
	if err != nil {
		if !w.disk.Dead() && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
			return w.violation("cursor %s: %v", name, err)
		}
		if e == nil {
			w.cursors[name] = &expected{maybe: true, low: at, high: at}
		} else {
			e.low, e.high = min(e.low, at), max(e.high, at)
		}
		return nil
	}
	if w.handles[name] == nil {
		if c.Position() != at {
			return w.violation("new cursor %s is at %d, not %d", name, c.Position(), at)
		}
		w.handles[name] = c
		w.cursors[name] = &expected{low: at, high: at, start: at}
	}
	return nil
}

// removeCursor removes a cursor.
func (w *world) removeCursor() error {
	name, c := w.pick()
	if c == nil {
		return nil
	}
	err := c.Remove()
	w.note("remove %s, %v", name, err)
	delete(w.handles, name)
	switch {
	case err == nil:
		delete(w.cursors, name)
	case w.disk.Dead(), errors.Is(err, syscall.EIO):
		e := w.cursors[name]
		e.maybe = true
		e.high = journal.Offset(len(w.records)) // Nothing is known any more.
		e.low = 0
	default:
		return w.violation("remove %s: %v", name, err)
	}
	return nil
}

// read reads a random part and checks it.
func (w *world) read() error {
	end := journal.Offset(len(w.records))
	from := journal.Offset(w.rng.Uint64N(uint64(end) + 2))
	var b journal.Batch
	for range 3 {
		if err := w.journal.Read(from, &b, w.rng.IntN(20_000)); err != nil {
			return w.violation("read from %d: %v", from, err)
		}
		from = max(from, w.journal.First())
		if from < end && b.Len() == 0 {
			return w.violation("read from %d of %d returned nothing", from, end)
		}
		for i := range b.Len() {
			if r := b.At(i); r.Offset != from || from >= end || !bytes.Equal(r.Data, w.records[from]) {
				return w.violation("read %d bytes at %d, not the record at %d of %d", len(r.Data), r.Offset, from, end)
			}
			from++
		}
		if b.Next() != from {
			return w.violation("next is %d, not %d", b.Next(), from)
		}
	}
	return nil
}
