package edgeruntime

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"time"

	"selvedge.dev/sdk/journal"
)

// queueDir is the journal's folder within an agent's.
const queueDir = "queue"

// cursorName is the name of the uplink's cursor in the journal.
const cursorName = "uplink"

// maxSegmentBytes is the size of a segment in all but the smallest queues: what
// a full queue drops at once, and what an empty one takes.
const maxSegmentBytes = 4 << 20

// queue is the folder of an agent: the events that wait for the platform, how
// far that has answered, and what was lost. Safe for concurrent use.
type queue struct {
	journal  *journal.Journal
	cursor   *journal.Cursor
	ledger   *ledger
	maxBytes int64
}

// openQueue opens the queue in dir, making it if need be.
func openQueue(dir string, maxBytes int64, fs journal.FS, log *slog.Logger) (*queue, error) {
	j, err := journal.Open(filepath.Join(dir, queueDir), journal.Options{
		SegmentBytes: min(maxBytes/8, maxSegmentBytes),
		MaxBytes:     maxBytes,
		MaxRecord:    maxBatchBytes,
		OnFull:       journal.DropOldest,
		FS:           fs,
		Logger:       log,
	})
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q := &queue{journal: j, maxBytes: maxBytes}
	if q.cursor, err = j.Cursor(cursorName, journal.Oldest); err == nil {
		q.ledger, err = openLedger(dir, j.End(), log)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open queue: %w", err), j.Close())
	}
	return q, nil
}

// close writes what is still to be written. The queue is of no use afterwards.
func (q *queue) close() error {
	return errors.Join(q.ledger.save(), q.journal.Close())
}

// position is the first event that is not settled. The ledger is ahead of the
// cursor when a rejection was counted and the cursor could not be moved.
func (q *queue) position() journal.Offset {
	return max(q.cursor.Position(), q.ledger.through())
}

// state is what waits and what was lost. Times and rates that cannot be read
// are left out: they are for people, and must not stop anything.
func (q *queue) state(now time.Time) (QueueStatus, map[string]uint64) {
	stats := q.journal.Stats()
	from := max(q.position(), q.journal.First())
	s := QueueStatus{Pending: uint64(q.journal.End() - from), Bytes: stats.Bytes, MaxBytes: q.maxBytes}
	if at, _, ok := q.at(from); ok {
		s.Oldest = at
		s.OldestAge = max(now.Sub(at).Seconds(), 0)
	}
	lost := q.ledger.lost()
	for reason, n := range stats.Lost {
		lost[reason] += n
	}
	maps.DeleteFunc(lost, func(_ string, n uint64) bool { return n == 0 })
	return s, lost
}

// at is the time and the size of the first record from the offset on.
func (q *queue) at(from journal.Offset) (at time.Time, size int, ok bool) {
	var b journal.Batch
	if err := q.journal.Read(from, &b, 1); err != nil || b.Len() == 0 {
		return at, 0, false
	}
	var e struct{ Time time.Time }
	data := b.At(0).Data
	err := json.Unmarshal(data, &e)
	return e.Time, len(data), err == nil && !e.Time.IsZero()
}

// rate is how many bytes a second the pending events have come in at by their
// own times, 0 when there are too few to tell.
func (q *queue) rate() float64 {
	from, end := max(q.position(), q.journal.First()), q.journal.End()
	if end < from+2 {
		return 0
	}
	first, _, ok1 := q.at(from)
	last, size, ok2 := q.at(end - 1)
	span := last.Sub(first).Seconds()
	if !ok1 || !ok2 || span <= 0 {
		return 0
	}
	return float64(size) * float64(end-1-from) / span
}
