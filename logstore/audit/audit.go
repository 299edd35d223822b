// Package audit keeps the audit trail: for each project a chain of records that
// nobody can alter unseen, with signed checkpoints, retention that keeps the
// chain, and proofs. What a record says is opaque to it.
//
// The one invariant: a record that Append has returned for is on disk, has one
// place in its project's chain and keeps it, whatever crashes. What was once
// durable is never repaired in silence: damage is set aside in a file of its
// own and recorded in the chain.
//
// A record goes to the journal first, at its place in the chain, and from there
// into the segments of its project, files of some megabytes, each of which
// begins with the state of the chain and ends with a checkpoint. The journal
// makes one fdatasync serve many projects; a segment can be read and verified
// without the others.
//
//	DIR/journal/                      what may not be in the segments yet
//	DIR/chains/PROJECT-FIRST.chain    a segment: a slash is +, FIRST the first
//	                                  record's number in 16 hexadecimal digits
//	DIR/chains/*.damaged              what was set aside
//	DIR/keys/                         the signing key and the public keys
//
// All methods may be called from any goroutine. A directory belongs to one
// Trail. The memory of a Trail does not grow with the number of projects, but
// for some hundred bytes each.
package audit

import (
	"errors"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
)

// Record is what is recorded.
type Record = chain.Record

// Link is a record at its place.
type Link = chain.Link

// Checkpoint is a signed state of a chain.
type Checkpoint = chain.Checkpoint

// The defaults and bounds of Options.
const (
	// defaultSegmentBytes is what is scanned when a project is first written
	// to: some ten milliseconds.
	defaultSegmentBytes, minSegmentBytes, maxSegmentBytes = 4 << 20, 4 << 10, 64 << 20
	// defaultCheckpointRecords costs a signature's 300 bytes and 30 µs for
	// every 1024 records.
	defaultCheckpointRecords = 1024
	// defaultCheckpointEvery is the age at which a record is signed for,
	// however few there are.
	defaultCheckpointEvery = 10 * time.Minute
	// journalBytes bounds the journal; flushBytes is what it may hold that the
	// segments on disk do not: what is read again after a crash.
	journalBytes, flushBytes = 256 << 20, 8 << 20
	// journalSegment is what the journal gives back at once: erased data may be
	// in it until so much more was recorded.
	journalSegment = 4 << 20
	// maxLoaded bounds the ids of records that are held in memory for finding
	// duplicates, 16 bytes and a map's share each.
	maxLoaded = 1 << 20
	// maxOpen is how many chains are in memory, each with an open file, and
	// how many of them one commit may be for.
	maxOpen = 256
)

// Signer signs checkpoints. Keyring is one; a key that lives in hardware or in
// a key management service is another.
type Signer interface {
	// Name is the platform's name, the origin of its checkpoints.
	Name() string
	// Sign sets KeyID and Signature. It may move Time forward, into the
	// key's period.
	Sign(c *Checkpoint) error
	// Keys are all public keys so far.
	Keys() chain.Keys
}

// Options configures a Trail.
type Options struct {
	// Signer signs; it must be given.
	Signer Signer
	// SegmentBytes is the size at which a segment is complete; 0 means 4 MiB.
	SegmentBytes int64
	// CheckpointRecords is how many records of a project at most wait for a
	// checkpoint; 0 means 1024. CheckpointEvery is how long they do; 0 means
	// ten minutes.
	CheckpointRecords int
	CheckpointEvery   time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// FS is the file system; nil means the operating system's.
	FS journal.FS
	// Logger hears of damage and of failures that no caller is told about.
	Logger *slog.Logger
}

// withDefaults fills in what is zero and refuses what makes no sense.
func (o Options) withDefaults() (Options, error) {
	bad := func(field, text string) (Options, error) {
		return o, &fault.Error{Kind: fault.Invalid, Field: field, Err: errors.New(text)}
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.CheckpointRecords == 0 {
		o.CheckpointRecords = defaultCheckpointRecords
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = defaultCheckpointEvery
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FS == nil {
		o.FS = journal.OS()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Signer == nil:
		return bad("Signer", "no signer")
	case o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes:
		return bad("SegmentBytes", "not from 4 KiB to 64 MiB")
	case o.CheckpointRecords < 1 || o.CheckpointRecords > chain.MaxRun:
		return bad("CheckpointRecords", "not from 1 to 65536")
	case o.CheckpointEvery < 0:
		return bad("CheckpointEvery", "negative")
	}
	return o, nil
}

// Trail is the open trail. Its locks are taken in the order work, mu.
type Trail struct {
	o    Options
	log  *slog.Logger
	seed maphash.Seed

	queue queue

	// work is held while records are put into chains, and by everything else
	// that changes files.
	work    sync.Mutex
	journal *journal.Journal
	cursor  *journal.Cursor
	dir     journal.Dir
	applied journal.Offset    // up to which segments have what the journal has
	behind  bool              // the segments lack something: replay first
	unsaved int64             // bytes in segments that are not synced
	dirty   map[*project]bool // whose segments are not synced
	doubt   bool              // names in dir are not synced
	unseen  map[string]bool   // chains with records that may not be signed
	recent  []*index
	indexed int                 // how many indexes were read
	turn    uint64              // counts uses of the trail
	aside   map[string][]string // what was set aside, by project

	// mu guards what readers look at.
	mu     sync.Mutex
	chains map[string]*entry
	loaded int // ids in memory
	held   int // projects in memory
	stats  Stats
	closed bool
}

// entry is what is known of a project without reading its files.
type entry struct {
	// firsts are the first records of its segments, ascending; never empty.
	firsts []uint64
	// project is its state, nil if it is not in memory.
	project *project
	// spans are those of complete segments, as far as they were needed. work
	// guards them.
	spans map[uint64]span
}

// Open opens the trail in the directory path, which is made if it is missing,
// and brings the segments up to the journal.
func Open(path string, o Options) (*Trail, error) {
	const op = "audit.Open"
	o, err := o.withDefaults()
	if err != nil {
		return nil, wrap(op, err)
	}
	t := &Trail{
		o: o, log: o.Logger.With(slog.String("trail", path)), seed: maphash.MakeSeed(),
		chains: map[string]*entry{}, unseen: map[string]bool{}, aside: map[string][]string{}, dirty: map[*project]bool{},
	}
	if t.journal, err = journal.Open(filepath.Join(path, "journal"), journal.Options{MaxBytes: journalBytes, SegmentBytes: journalSegment, MaxRecord: maxBody + chain.MaxProject + 16, FS: o.FS, Logger: o.Logger}); err != nil {
		return nil, wrap(op, err)
	}
	err = func() error {
		if t.cursor, err = t.journal.Cursor("segments", journal.Oldest); err != nil {
			return err
		}
		if t.dir, err = o.FS.OpenDir(filepath.Join(path, "chains")); err != nil {
			return err
		}
		if err := t.list(); err != nil {
			return err
		}
		return t.replay()
	}()
	if err != nil {
		return nil, wrap(op, errors.Join(err, t.release()))
	}
	return t, nil
}

// list finds the segments by their names. Segments that a change was cut off
// from are removed.
func (t *Trail) list() error {
	names, err := t.dir.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if isTemporary(name) {
			if err := t.dir.Remove(name); err != nil {
				return err
			}
		}
		if project, first, ok := parseSegment(name); ok {
			t.note(project, first)
			t.unseen[project] = true
		}
		if project, _, ok := parseAside(name); ok {
			t.aside[project] = append(t.aside[project], name)
		}
	}
	return nil
}

// Close signs and saves everything and releases the directory.
func (t *Trail) Close() error {
	t.work.Lock()
	defer t.work.Unlock()
	t.mu.Lock()
	closed := t.closed
	t.closed = true
	t.mu.Unlock()
	if closed {
		return nil
	}
	err := errors.Join(t.sign(func(p *project) bool { return true }), t.save())
	return wrap("audit.Close", errors.Join(err, t.release()))
}

// release closes every file.
func (t *Trail) release() error {
	errs := []error{t.unload(func(*project) bool { return true })}
	if t.dir != nil {
		errs = append(errs, t.dir.Close())
	}
	return errors.Join(append(errs, t.journal.Close())...)
}

// usable is an error if the trail is closed, and catches up where segments are
// behind the journal. work is held.
func (t *Trail) usable() error {
	t.mu.Lock()
	closed := t.closed
	t.mu.Unlock()
	if closed {
		return ErrClosed
	}
	t.turn++ // What is loaded from now on stays until the next turn.
	if !t.behind {
		return nil
	}
	return t.replay()
}

// Stats are the figures of a trail since Open.
type Stats struct {
	// Records were appended, Duplicates were there already.
	Records, Duplicates uint64
	// Checkpoints were signed, Erased lost their data by retention or erasure.
	Checkpoints, Erased uint64
	// Damaged counts the places where durable records were found damaged. Each
	// is in its chain as a record, and in a file that ends in ".damaged".
	Damaged uint64
	// Projects is how many chains there are, Loaded how many of them are in
	// memory.
	Projects, Loaded int
	// Behind says that segments could not be written: what is recorded is safe
	// in the journal, of which Journal tells how full it is.
	Behind  bool
	Journal journal.Stats
}

// Stats returns the present figures.
func (t *Trail) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Projects, s.Journal = len(t.chains), t.journal.Stats()
	s.Loaded = t.held
	return s
}

// ErrClosed is what everything fails with after Close.
var ErrClosed error = &fault.Error{Kind: fault.Unavailable, Reason: "AUDIT_CLOSED", Err: errors.New("the audit trail is closed")}

// wrap says which operation failed.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fault.Error{Op: op, Kind: fault.KindOf(err), Reason: fault.ReasonOf(err), Err: err}
}

// epoch is a number that makes the frames of one file invalid in all others.
func epoch() uint32 { return max(1, rand.Uint32()) }
