package journal

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Journal is an open log. Its locks are taken in the order shape, Cursor.mu,
// mu, and mu is never held over a file operation.
type Journal struct {
	options Options
	log     *slog.Logger
	dir     Dir

	requests sync.Pool // of *request that nobody uses

	// shape is held while segments are added or deleted and cursors made or
	// removed. It guards what follows.
	shape      sync.Mutex
	head       *slots
	headUnsure bool   // the last attempt to move the head failed
	sequence   uint64 // of the next segment

	// The leader, see append.go, owns these: one goroutine at a time. It changes
	// active under mu, so that others may look.
	active *segment // takes new records; nil when the next commit must make one
	limit  int64    // of the size of active
	buf    []byte   // the encoded group

	durable atomic.Uint64 // End

	// mu guards everything below and the fields of segments.
	mu       sync.Mutex
	segments []*segment // listed ones, oldest first, without a break between them
	doomed   []*segment // no longer listed, whose files are still to be deleted
	deleted  mark       // what the head holds: the oldest offset, and losses before it
	readable Offset     // one past the last record that can be read
	cursors  map[string]*Cursor
	grown    broadcast // of readable, or closed
	failed   uint64    // commit groups
	closed   bool

	queue   []*request    // waiting for a leader
	queued  int           // bytes of them and of the group being committed
	leading bool          // somebody leads, or is about to
	room    broadcast     // in the queue, or closed, or nobody leads
	crowd   chan struct{} // of capacity 1: a full group has queued
}

// Open opens the journal in the directory path, which it makes if it is
// missing, and repairs what a crash or damage left. It fails when another
// journal holds the directory (Kind Conflict), when a segment is of a later
// format, or when the file system fails.
func Open(path string, o Options) (*Journal, error) {
	const op = "journal.Open"
	o, err := o.withDefaults()
	if err != nil {
		return nil, wrap(op, err)
	}
	dir, err := o.FS.OpenDir(path)
	if err != nil {
		return nil, wrap(op, err)
	}
	j := &Journal{
		options: o, log: o.Logger.With(slog.String("journal", path)), dir: dir,
		requests: sync.Pool{New: newRequest}, crowd: make(chan struct{}, 1),
		cursors: map[string]*Cursor{},
	}
	if err := j.recover(); err != nil {
		return nil, wrap(op, errors.Join(err, j.release()))
	}
	return j, nil
}

// First is the offset of the oldest record that is kept; End if there is none.
func (j *Journal) First() Offset {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first()
}

// first is First with mu held.
func (j *Journal) first() Offset {
	if len(j.segments) > 0 {
		return j.segments[0].first
	}
	return j.End()
}

// End is one past the last durable record: the offset that comes next.
func (j *Journal) End() Offset { return Offset(j.durable.Load()) }

// Close commits what was queued, seals the log and releases the directory.
// Everything that is called afterwards fails with [ErrClosed]. An error means
// that the next Open will have to look at more, not that something is lost.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.grown.send()
	j.room.send()
	for j.leading {
		room := j.room.wait()
		j.mu.Unlock()
		<-room
		j.mu.Lock()
	}
	j.mu.Unlock()

	j.shape.Lock()
	defer j.shape.Unlock()
	var err error
	if j.active != nil {
		err = j.seal(j.active)
		j.activate(nil, 0)
	}
	return wrap("journal.Close", errors.Join(err, j.release()))
}

// release closes every file, and the directory last, since that unlocks it.
func (j *Journal) release() error {
	var errs []error
	for _, s := range j.segments {
		errs = append(errs, s.close())
	}
	for _, c := range j.cursors {
		c.mu.Lock()
		errs = append(errs, c.slots.file.Close())
		c.mu.Unlock()
	}
	if j.head != nil {
		errs = append(errs, j.head.file.Close())
	}
	return errors.Join(append(errs, j.dir.Close())...)
}
