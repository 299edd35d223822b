// Package intake makes entries of logs durable before they are acknowledged,
// and hands them to a store once.
//
// The invariant: an entry whose outcome is Stored is in the journal of the
// intake or, durably, in the store; and of entries with the same project,
// bucket, log, time and insert id the store gets one, however often and with
// whatever delay they are written, also over restarts and crashes of either.
//
// # The way of an entry
//
// Write checks it and appends it to a journal on disk (sdk/journal: one write and one fdatasync
// for all who wait), and then it is acknowledged. One goroutine reads the
// journal in batches of BatchEntries, or what there is after BatchDelay, gives
// each entry the intake's origin and its number in the journal, and appends
// it to the store. The journal lets go of it once Store.Sync has returned.
//
// After a start, and after any error of the store, which says little about what
// is there, the intake goes back to where the last Sync was, asks the store
// which of the numbers from there on it has (Store.Since), and leaves those out.
//
// # Duplicates
//
// The keys of the newest entries are kept in memory (window.go). For an entry
// that is older than those the store is asked, when it is about to be appended:
// so Write never waits for a store, and its outcome Duplicate is only for
// what is known without asking.
//
// # Bounds
//
// The journal has MaxBytes. With the store away it fills, and then Write fails
// as Exhausted, with a time to wait. Nothing acknowledged is dropped for room.
// An entry that the store refuses for itself (Invalid, TooLarge) is dropped,
// counted as REFUSED and logged, as no retry would help.
//
// # Reading one's own writes
//
// What is acknowledged is found in the store after BatchDelay, a second by default, if the
// store is well. Who cannot wait calls Flush before reading.
package intake

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/once"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
)

// The defaults of Options.
const (
	// DefaultMaxBytes is a million entries or so.
	DefaultMaxBytes = 512 << 20
	// DefaultBatchEntries is from where on larger batches are hardly cheaper
	// for a store.
	DefaultBatchEntries = 20_000
	// DefaultBatchBytes is a quarter of what Store.Append takes.
	DefaultBatchBytes = 8 << 20
	// DefaultBatchDelay is how long somebody waits for a line to show up.
	DefaultBatchDelay = time.Second
	// DefaultSyncDelay makes a store write a file every few seconds, not with
	// every batch.
	DefaultSyncDelay = 5 * time.Second
	// DefaultRetryDelay is a little for a store that restarts; one that is away
	// is asked every five seconds.
	DefaultRetryDelay = 100 * time.Millisecond
	// DefaultWindow takes 10 MB when it is full.
	DefaultWindow = 100_000
	// DefaultFuture forgives a device clock that is in the wrong zone or a day
	// off.
	DefaultFuture = 2 * 24 * time.Hour
	// DefaultMaxTails are more people than look at a log at once.
	DefaultMaxTails = 64
)

// maxWrite is the most bytes of one Write, by Entry.Size: what Store.Append
// takes.
const maxWrite = 32 << 20

// Options are the settings of an intake; zero values mean the defaults above.
type Options struct {
	// MaxBytes bounds the journal on disk.
	MaxBytes int64
	// BatchEntries, BatchBytes and BatchDelay bound a batch for the store and
	// how long one waits to be full.
	BatchEntries, BatchBytes int
	BatchDelay               time.Duration
	// SyncDelay is the time between syncs of the store.
	SyncDelay time.Duration
	// RetryDelay is the wait after an error of the store; it doubles up to fifty
	// times of that with each further one.
	RetryDelay time.Duration
	// Window is how many keys of entries are kept in memory.
	Window int
	// Past and Future bound how far the time of an entry may be from now; a
	// Past of 0 is no bound.
	Past, Future time.Duration
	// MaxTails is how many Tail may be open at once.
	MaxTails int
	// Logger hears of a store that is away and of dropped entries; nil discards.
	Logger *slog.Logger
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

// withDefaults fills in the zero values.
func (o Options) withDefaults() Options {
	fill(&o.MaxBytes, DefaultMaxBytes)
	fill(&o.BatchEntries, DefaultBatchEntries)
	fill(&o.BatchBytes, DefaultBatchBytes)
	fill(&o.BatchDelay, DefaultBatchDelay)
	fill(&o.SyncDelay, DefaultSyncDelay)
	fill(&o.RetryDelay, DefaultRetryDelay)
	fill(&o.Window, DefaultWindow)
	fill(&o.Future, DefaultFuture)
	fill(&o.MaxTails, DefaultMaxTails)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// fill sets a zero value to its default.
func fill[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Intake makes entries durable in front of a store; make one with Open.
type Intake struct {
	options Options
	store   logstore.Store
	journal *journal.Journal
	window  *window
	hot     hot
	tails   tails
	counts  counts

	// brand, session and given make insert ids: of the intake, of its start and
	// of the entry.
	brand, session string
	given          atomic.Uint64
	// unused are *writing that no Write uses.
	unused sync.Pool

	shipper shipper
	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// Outcome says what became of an entry.
type Outcome struct {
	// Stored says that it is durable.
	Stored bool
	// Duplicate says that it is, since an earlier Write.
	Duplicate bool
	// InsertID is the entry's, given by the intake if it had none.
	InsertID string
	// Err says why it was not taken: Invalid or TooLarge; nil otherwise.
	Err error
}

// Open opens or creates the journal in a directory, which is for one intake at
// a time, and begins to hand on what is in it. The store is the caller's to
// close, after the intake. A store that is away is no error.
func Open(dir string, store logstore.Store, o Options) (*Intake, error) {
	const op = "logstore/intake.Open"
	o = o.withDefaults()
	j, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{MaxBytes: o.MaxBytes, Logger: o.Logger})
	if err != nil {
		return nil, &fault.Error{Op: op, Name: dir, Kind: fault.KindOf(err), Reason: fault.ReasonOf(err), Err: err}
	}
	in := &Intake{
		options: o, store: store, journal: j, window: newWindow(o.Window),
		session: strconv.FormatInt(o.Now().UnixMilli(), 36),
	}
	in.tails.most = o.MaxTails
	if err := in.openShipper(); err != nil {
		err = errors.Join(err, j.Close())
		return nil, &fault.Error{Op: op, Name: dir, Kind: fault.KindOf(err), Err: err}
	}
	ctx, stop := context.WithCancel(context.Background())
	in.stop = stop
	in.stopped.Go(func() { in.shipper.run(ctx) })
	return in, nil
}

// cursorPrefix is what the name of the journal's cursor begins with; the origin
// follows. So a journal that is lost takes its origin with it, and its numbers
// are never given again.
const cursorPrefix = "store-"

// openShipper finds the journal's cursor and with it the origin, or makes them.
func (in *Intake) openShipper() error {
	var cursor *journal.Cursor
	for _, c := range in.journal.Stats().Cursors {
		one, err := in.journal.Cursor(c.Name, journal.Oldest)
		if err == nil && cursor != nil {
			err = one.Remove() // left by an origin that was given up
		} else {
			cursor = one
		}
		if err != nil {
			return fmt.Errorf("open cursor: %w", err)
		}
	}
	if cursor == nil {
		var err error
		if cursor, err = in.journal.Cursor(cursorPrefix+newOrigin(), journal.Oldest); err != nil {
			return fmt.Errorf("make cursor: %w", err)
		}
	}
	in.shipper.init(in, cursor)
	return nil
}

// Origin is the origin of the entries that are taken in here, in the store.
func (in *Intake) Origin() string {
	in.shipper.mu.Lock()
	defer in.shipper.mu.Unlock()
	return in.shipper.origin
}

// newOrigin makes an origin that no other intake has.
func newOrigin() string {
	var b [10]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// Close stops handing on, waits for what is under way, and closes the journal.
// What the store does not have yet is handed on after the next Open. Tails end.
func (in *Intake) Close() error {
	in.stop()
	in.stopped.Wait()
	in.tails.close()
	if err := in.journal.Close(); err != nil {
		return &fault.Error{Op: "logstore/intake.Close", Kind: fault.KindOf(err), Err: err}
	}
	return nil
}

// Write takes entries in. It returns once those that are taken are durable,
// with an outcome for each entry; or with an error and nothing taken: Exhausted
// with a fault.RetryAfter if the journal or the disk is full, TooLarge above 32
// MiB. After any other error some may be there: write them again, with the same
// insert ids.
//
// Of an entry, Received and InsertID are filled in if they are not set; Origin and
// Seq are the intake's. The entries must not be changed later.
func (in *Intake) Write(ctx context.Context, entries []logstore.Entry) ([]Outcome, error) {
	const op = "logstore/intake.Write"
	w, _ := in.unused.Get().(*writing)
	if w == nil {
		w = new(writing)
	}
	defer in.reuse(w)
	outcomes, items, err := in.judge(entries, w.items[:0])
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.KindOf(err), Err: err}
	}
	w.items = items
	if len(items) == 0 {
		return outcomes, nil
	}
	first, err := in.journal.Append(ctx, w.encode()...)
	if err != nil {
		in.window.release(items)
		return nil, &fault.Error{Op: op, Kind: fault.KindOf(err), Reason: fault.ReasonOf(err), Err: err}
	}
	for i := range items {
		items[i].at = first + journal.Offset(i)
	}
	in.counts.stored.Add(uint64(len(items)))
	in.window.add(items)
	in.hot.put(items)
	in.tails.offer(items)
	in.shipper.wake()
	return outcomes, nil
}

// writing is the memory of a Write.
type writing struct {
	items   []item
	records [][]byte
	buf     []byte
}

// reusable is how many bytes of records are kept for another Write: of one as
// large as are usual.
const reusable = 4 << 20

// reuse keeps the memory of a Write for another.
func (in *Intake) reuse(w *writing) {
	if cap(w.buf) > reusable {
		return
	}
	clear(w.items[:cap(w.items)])
	in.unused.Put(w)
}

// encode gives the records of the items.
func (w *writing) encode() [][]byte {
	size := 0
	for i := range w.items {
		size += w.items[i].size
	}
	buf := slices.Grow(w.buf[:0], size+size/4+64*len(w.items))
	w.records = w.records[:0]
	for i := range w.items {
		start := len(buf)
		buf = logstore.AppendRecord(buf, w.items[i].entry)
		w.records = append(w.records, buf[start:len(buf):len(buf)])
	}
	w.buf = buf
	return w.records
}

// judge gives the outcome of each entry, and items of those that are to be
// stored, for which there is memory.
func (in *Intake) judge(entries []logstore.Entry, items []item) ([]Outcome, []item, error) {
	now := in.options.Now().UTC()
	outcomes := make([]Outcome, len(entries))
	items = slices.Grow(items, len(entries))
	for i := range entries {
		e := &entries[i]
		if err := in.prepare(e, now); err != nil {
			outcomes[i] = Outcome{InsertID: e.InsertID, Err: err}
			in.counts.drop(fault.ReasonOf(err), 1)
			continue
		}
		outcomes[i] = Outcome{Stored: true, InsertID: e.InsertID}
		items = append(items, item{entry: e, key: once.KeyOf(e), size: e.Size()})
	}
	items = in.unknown(outcomes, items)
	size := 0
	for i := range items {
		size += items[i].size
	}
	if size > maxWrite {
		in.window.release(items)
		return nil, nil, &fault.Error{Kind: fault.TooLarge, Err: fmt.Errorf("the entries have more than %d bytes", maxWrite)}
	}
	return outcomes, items, nil
}

// unknown gives the items, one for each outcome without an error, that are not
// known to be there. Write adds them to the window, or releases them.
func (in *Intake) unknown(outcomes []Outcome, items []item) []item {
	known := in.window.reserve(items)
	if len(known) == 0 {
		return items
	}
	kept, n := items[:0], 0
	for i := range outcomes {
		if outcomes[i].Err != nil {
			continue
		}
		if outcomes[i].Duplicate = known[n]; !known[n] {
			kept = append(kept, items[n])
		}
		n++
	}
	in.counts.drop(ReasonDuplicate, len(items)-len(kept))
	return kept
}

// The reasons of errors of entries and of dropped entries that are not those
// of logstore.
const (
	// ReasonDuplicate is of an entry that is there already.
	ReasonDuplicate = "DUPLICATE"
	// ReasonTooOld and ReasonTooNew are of entries outside of Past and Future.
	ReasonTooOld, ReasonTooNew = "TOO_OLD", "TOO_NEW"
	// ReasonRefused is of an entry that the store does not take.
	ReasonRefused = "REFUSED"
	// ReasonUnreadable is of an acknowledged entry whose record is damaged.
	ReasonUnreadable = "UNREADABLE"
)

// prepare fills an entry in and checks it.
func (in *Intake) prepare(e *logstore.Entry, now time.Time) error {
	if e.Received.IsZero() {
		e.Received = now
	}
	if e.InsertID == "" {
		e.InsertID = in.newInsertID()
	}
	e.Origin, e.Seq = "", 0
	if err := e.Check(); err != nil {
		return err
	}
	switch {
	case in.options.Past > 0 && now.Sub(e.Time) > in.options.Past:
		return &fault.Error{
			Op: "logstore/intake.Write", Name: e.InsertID, Kind: fault.Invalid, Reason: ReasonTooOld, Field: "timestamp",
			Err: fmt.Errorf("%s is more than %s ago", e.Time.Format(time.RFC3339), in.options.Past),
		}
	case e.Time.Sub(now) > in.options.Future:
		return &fault.Error{
			Op: "logstore/intake.Write", Name: e.InsertID, Kind: fault.Invalid, Reason: ReasonTooNew, Field: "timestamp",
			Err: fmt.Errorf("%s is more than %s ahead of the clock", e.Time.Format(time.RFC3339), in.options.Future),
		}
	}
	return nil
}

// newInsertID makes an insert id: of the intake, of its start and of a counter,
// so that entries of one time stay in the order in which they were taken, and
// that a store can keep them in a few bytes.
func (in *Intake) newInsertID() string {
	n := strconv.FormatUint(in.given.Add(1), 36)
	return in.brand + in.session + "-" + strings.Repeat("0", max(0, 7-len(n))) + n
}

// Flush waits until the store has, and shows, all that was acknowledged before
// it was called. It is Unavailable, with the store's error, if the store is
// away.
func (in *Intake) Flush(ctx context.Context) error {
	if err := in.shipper.flush(ctx, in.journal.End()); err != nil {
		return &fault.Error{Op: "logstore/intake.Flush", Kind: fault.Unavailable, Err: err}
	}
	return nil
}
