package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/triggers/ledger"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/ingest/wire"
)

// cursorName is the cursor of what the storage has on disk.
const cursorName = "series"

// The bounds of the log in front.
const (
	defaultMaxBytes = 1 << 30
	// replayBytes is how much of the log is read at once at a start.
	replayBytes = 4 << 20
	// maxPending bounds the losses that wait for the ledger.
	maxPending = 4096
)

// front is the log in front of the storage.
type front struct {
	service *Service
	journal *journal.Journal
	cursor  *journal.Cursor
	// kick asks for a sync before its time; full is at how many bytes since
	// the last one, and bytes counts them.
	kick  chan struct{}
	full  int64
	bytes atomic.Int64
	// refuses is whether the log refused the last body.
	refuses atomic.Bool

	// flow is held shared from before a body is logged until its points are in
	// the storage, and exclusively to look where the log ends: everything
	// before that end is then in the storage.
	flow sync.RWMutex

	// syncing makes one sync at a time. It guards left, which is where a replay
	// that is still to be done ends; it is 0 when there is none.
	syncing sync.Mutex
	left    journal.Offset
	// mu guards pending, the losses that the ledger has not been told.
	mu      sync.Mutex
	pending []ledger.Loss

	stop context.CancelFunc
	done chan struct{}
}

// openFront opens the log, replays it, and starts to sync. When the storage
// takes nothing now, the replay is tried again with every sync, and nothing is
// trimmed before.
func openFront(ctx context.Context, s *Service) (*front, error) {
	most := s.options.MaxBytes
	if most == 0 {
		most = defaultMaxBytes
	}
	j, err := journal.Open(s.options.Dir, journal.Options{
		MaxBytes: most, MaxRecord: maxBody + 4<<10, Logger: s.log,
	})
	if err != nil {
		return nil, err
	}
	f := &front{service: s, journal: j, kick: make(chan struct{}, 1), full: most / 4, done: make(chan struct{})}
	if f.cursor, err = j.Cursor(cursorName, journal.Oldest); err == nil {
		f.left = j.End()
		err = f.sync(ctx)
	}
	switch k := fault.KindOf(err); {
	case err == nil:
	case k == fault.Unavailable || k == fault.Exhausted:
		s.log.LogAttrs(ctx, slog.LevelWarn, "points not replayed yet", slog.Any("error", err))
	default:
		return nil, errors.Join(err, j.Close())
	}
	var running context.Context
	running, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	go f.run(running)
	return f, nil
}

// keep logs b and appends its points to the storage. A body without a point,
// such as one of metadata, is not logged. Of one that is refused as a whole only
// that there was one is logged: after a crash the storage may take what it
// refused, since bounds do not hold for what is replayed.
func (f *front) keep(ctx context.Context, b *body) (outcome, error) {
	if len(b.batch.Samples)+len(b.batch.Losses) == 0 {
		return outcome{}, nil
	}
	f.flow.RLock()
	defer f.flow.RUnlock()
	record := b.record
	if f.refusesAll(b.batch.Samples) {
		nothing := entry{project: b.project, format: wire.Influx, now: b.now}
		record = nothing.appendHeader(nil)
	}
	// What is in the log is finished, whoever waits for it.
	finish := context.WithoutCancel(ctx)
	// The storage takes the points while the disk takes the body, which spares
	// one wait of two. While the log refuses bodies, it is asked first.
	var storing chan error
	if !f.refuses.Load() {
		storing = make(chan error, 1)
		go func() { storing <- f.append(finish, b) }()
	}
	offset, err := f.journal.Append(ctx, record)
	if (err != nil) != f.refuses.Load() {
		f.refuses.Store(err != nil)
	}
	var stored error
	if storing != nil {
		stored = <-storing
	}
	if err != nil {
		return outcome{}, fmt.Errorf("log points: %w", err)
	}
	if f.bytes.Add(int64(len(record))) > f.full {
		select {
		case f.kick <- struct{}{}:
		default:
		}
	}
	if storing == nil {
		stored = f.append(finish, b)
	}
	return f.store(finish, b, offset, stored)
}

// refusesAll reports whether the storage would refuse all samples. It nearly
// always takes the first, and then they are not looked at.
func (f *front) refusesAll(samples []tsdb.Sample) bool {
	c, checks := f.service.options.Series.(ingest.Checker)
	if !checks || len(samples) == 0 {
		return false
	}
	for i := range samples {
		if c.Check(samples[i]) == "" {
			return false
		}
	}
	return true
}

// append gives the points of b to the storage, if there are any.
func (f *front) append(ctx context.Context, b *body) error {
	if len(b.batch.Samples) == 0 {
		return nil
	}
	return f.service.options.Series.Append(ctx, b.batch.Samples)
}

// store finishes a body of which the storage has taken all points or none, with
// the error err, and notes what was refused.
func (f *front) store(ctx context.Context, b *body, offset journal.Offset, err error) (outcome, error) {
	losses := slices.Clone(b.batch.Losses)
	samples, err := ingest.AppendRest(ctx, f.service.options.Series, b.batch.Samples, err, func(_ tsdb.Sample, reason string) {
		losses = lose(losses, reason)
	})
	if err != nil {
		if k := fault.KindOf(err); k != fault.Exhausted && k != fault.Unavailable {
			err = &fault.Error{Op: "collector.store", Kind: fault.Unavailable, Err: err}
		}
		return outcome{}, fmt.Errorf("append points: %w", err)
	}
	if len(losses) > 0 {
		if err := f.note(ctx, b, offset, losses); err != nil {
			return outcome{}, err
		}
	}
	return outcome{written: len(samples), losses: losses}, nil
}

// lose counts one more loss.
func lose(losses []function.Loss, reason string) []function.Loss {
	for i := range losses {
		if losses[i].Reason == reason {
			losses[i].Count++
			return losses
		}
	}
	return append(losses, function.Loss{Reason: reason, Count: 1})
}

// doorNames are the streams of the ledger by format.
var doorNames = map[wire.Format]string{
	wire.Influx: "collector-influx", wire.RemoteWrite1: "collector-remote-write",
	wire.RemoteWrite2: "collector-remote-write", wire.OTLP: "collector-otlp", wire.OTLPInJSON: "collector-otlp",
	wire.CloudEvents: "collector-cloudevents",
}

// note has the losses of b told to the ledger, which knows them by the offset:
// a replay does not count them again.
func (f *front) note(ctx context.Context, b *body, offset journal.Offset, losses []function.Loss) error {
	f.mu.Lock()
	for _, l := range losses {
		f.pending = append(f.pending, ledger.Loss{
			Project: b.project, Stream: doorNames[b.format], Offset: uint64(offset), Reason: l.Reason, Count: l.Count,
			Source: "//selvedge.dev/projects/" + b.project, Time: time.UnixMilli(int64(b.now)),
		})
	}
	much := len(f.pending) > maxPending
	f.mu.Unlock()
	if much {
		return f.tell(ctx)
	}
	return nil
}

// tell tells the ledger what waits. After an error it still waits.
func (f *front) tell(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) == 0 {
		return nil
	}
	if err := f.service.options.Ledger.Record(ctx, f.pending); err != nil {
		return &fault.Error{Op: "collector.tell", Kind: fault.Unavailable, Err: err}
	}
	f.pending = f.pending[:0]
	return nil
}

// sync makes the storage durable and trims the log. The losses of what is
// trimmed are told first, since nothing would tell them after a crash.
func (f *front) sync(ctx context.Context) error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if f.left > 0 {
		if err := f.replay(ctx); err != nil {
			return err
		}
		f.left = 0
	}
	f.flow.Lock()
	end := f.journal.End()
	f.bytes.Store(0)
	f.flow.Unlock()
	if err := f.tell(ctx); err != nil {
		return err
	}
	if end == f.cursor.Position() {
		return nil
	}
	if err := f.service.options.Series.Sync(ctx); err != nil {
		return fmt.Errorf("sync points: %w", err)
	}
	if err := f.cursor.Commit(end); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	for _, stream := range []string{doorNames[wire.Influx], doorNames[wire.RemoteWrite1], doorNames[wire.OTLP], doorNames[wire.CloudEvents]} {
		if err := f.service.options.Ledger.Passed(ctx, stream, uint64(end)); err != nil {
			return fmt.Errorf("trim ledger: %w", err)
		}
	}
	return nil
}

// run syncs until ctx ends.
func (f *front) run(ctx context.Context) {
	defer close(f.done)
	ticker := time.NewTicker(f.service.options.SyncEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-f.kick:
		}
		if err := f.sync(ctx); err != nil && ctx.Err() == nil {
			f.service.log.LogAttrs(ctx, slog.LevelError, "points not synced", slog.Any("error", err))
		}
	}
}

// close syncs a last time and closes the log.
func (f *front) close() error {
	f.stop()
	<-f.done
	return errors.Join(f.sync(context.Background()), f.journal.Close())
}

// replay appends to the storage what it may not have had on disk when the log
// was opened. f.syncing is held.
func (f *front) replay(ctx context.Context) error {
	var batch journal.Batch
	bodies := 0
	for from := f.cursor.Position(); from < f.left; from = batch.Next() {
		if err := f.journal.Read(from, &batch, replayBytes); err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		if batch.Len() == 0 {
			break
		}
		for i := range batch.Len() {
			if err := f.again(ctx, batch.At(i)); err != nil {
				return fmt.Errorf("replay record %d: %w", batch.At(i).Offset, err)
			}
		}
		bodies += batch.Len()
	}
	if bodies > 0 {
		f.service.log.LogAttrs(ctx, slog.LevelInfo, "points replayed", slog.Int("bodies", bodies))
	}
	return nil
}

// again appends the points of a record. One that cannot be read any more is
// left out with a warning: it must not keep the platform from starting.
func (f *front) again(ctx context.Context, record journal.Record) error {
	e, err := parseEntry(record.Data)
	if err == nil {
		b := &body{entry: e, record: record.Data}
		if err = f.service.decode(ctx, b); err == nil {
			_, err = f.store(ctx, b, record.Offset, f.append(ctx, b))
		}
	}
	if k := fault.KindOf(err); err == nil || k == fault.Unavailable || k == fault.Exhausted {
		return err
	}
	f.service.log.LogAttrs(ctx, slog.LevelWarn, "record of the log left out",
		slog.Uint64("offset", uint64(record.Offset)), slog.Any("error", err))
	return nil
}
