package vm

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"
)

// horizon is how far a property of the added batches has come: that they are
// visible, or durable. It moves on demand, by one caller for all that wait.
type horizon struct {
	// turn holds one token, for whoever moves the mark.
	turn chan struct{}
	// mark is how many batches have the property.
	mark atomic.Uint64
	// rest is when the mark may move again; the turn's holder has it.
	rest time.Time
}

// newHorizon is a horizon at zero.
func newHorizon() *horizon {
	h := &horizon{turn: make(chan struct{}, 1)}
	h.turn <- struct{}{}
	return h
}

// reach returns when at least want batches have the property: at once, or
// after somebody else's move, or after a move of its own. move returns the
// new mark and for how long to leave it there.
func (h *horizon) reach(ctx context.Context, want uint64, move func() (uint64, time.Duration)) error {
	if h.mark.Load() >= want {
		return ctx.Err()
	}
	select {
	case <-h.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { h.turn <- struct{}{} }()
	if h.mark.Load() >= want {
		return nil
	}
	if wait := time.Until(h.rest); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	mark, rest := move()
	h.mark.Store(mark)
	h.rest = time.Now().Add(rest)
	return nil
}

// After rows were made visible, they are not again for revealRest at least, so
// that many queries beside much ingest share the work (each time costs some
// milliseconds and makes a part that must be merged later), and for
// revealShare times as long as it took, so that it never takes more than a
// fifth of the time, up to revealRestMax: a query never waits longer than that
// for its turn.
const (
	revealRest    = 50 * time.Millisecond
	revealRestMax = 400 * time.Millisecond
	revealShare   = 4
)

// reveal makes all that was added visible to searches. DebugFlush turns the
// engine's buffers into parts in memory; it leaves out what a concurrent
// AddRows has taken from the buffers, so none may run.
func (s *Store) reveal() (uint64, time.Duration) {
	s.adding.Lock()
	defer s.adding.Unlock()
	start := time.Now()
	s.flush()
	var m storage.Metrics
	s.engine.UpdateMetrics(&m)
	s.indexed.Store(m.TableMetrics.IndexDBMetrics.ItemsAdded)
	return s.added.Load(), min(max(revealRest, revealShare*time.Since(start)), revealRestMax)
}

// Sync implements tsdb.Store. Concurrent calls share the work, and when
// nothing was added there is none; otherwise it takes a few fsyncs for each
// month that has data, during the last of which Append waits. It is meant to be called
// every few seconds, not after each batch.
func (s *Store) Sync(ctx context.Context) error {
	const op = "tsdb/vm.Sync"
	if err := s.use(op); err != nil {
		return err
	}
	defer s.users.Done()
	if err := s.durable.reach(ctx, s.added.Load(), s.persist); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// persist puts all that was added on disk. The engine does that by timers
// alone; creating a snapshot is its only call that does it now, for data and
// index of every month: it writes the parts in memory to files, syncs files
// and directories, and then makes hard links, which are removed again.
//
// A snapshot is not the whole answer: it passes over parts that a background
// merge or flush is working on, and what those make of them may be in memory
// again. While nothing is added their number only falls, so snapshots are made
// until no part is in memory; nearly always that is one.
//
// A first snapshot is made while rows are added: under load it is what takes
// long, and what it leaves for the time when none may be added is little.
func (s *Store) persist() (uint64, time.Duration) {
	if s.partsInMemory() {
		s.dropSnapshot(s.engine.MustCreateSnapshot())
	}
	s.adding.Lock()
	defer s.adding.Unlock()
	// This waits for the buffers that the engine's timers have taken.
	s.flush()
	for {
		name := s.engine.MustCreateSnapshot()
		inMemory := s.partsInMemory()
		s.dropSnapshot(name)
		if !inMemory {
			return s.added.Load(), 0
		}
	}
}

// dropSnapshot removes a snapshot that was made for its effect.
func (s *Store) dropSnapshot(name string) {
	if err := s.engine.DeleteSnapshot(name); err != nil {
		panic("BUG: a snapshot's own name is not valid: " + err.Error())
	}
}

// partsInMemory reports whether anything that was added is in memory only.
func (s *Store) partsInMemory() bool {
	var m storage.Metrics
	s.engine.UpdateMetrics(&m)
	data, index := &m.TableMetrics, &m.TableMetrics.IndexDBMetrics
	return data.PendingRows+data.InmemoryPartsCount+index.PendingItems+index.InmemoryPartsCount > 0
}
