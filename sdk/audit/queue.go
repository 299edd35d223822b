package audit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/store"
)

// queued is a record that waits to be written.
type queued struct {
	st      *store.Store
	note    *resourcev1.ActivityNote
	sampled bool
}

// The bounds of what waits, of what is written at once, and of how long an answer
// waits for its record.
const (
	maxQueued  = 4096
	atOnce     = 256
	gatherFor  = 100 * time.Millisecond
	maxWait    = 3 * time.Second
	retryPause = time.Second
)

// now writes a record, and returns when it is durable. If that cannot be done it
// waits in the queue.
func (r *Recorder) now(ctx context.Context, x queued) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxWait)
	defer cancel()
	err := r.write(ctx, []queued{x})
	if err == nil {
		return
	}
	r.o.Logger.LogAttrs(ctx, slog.LevelWarn, "a record of the audit waits for the database", slog.Any("error", err))
	r.later(x)
}

// later has a record written soon. One of a sample that finds no place is
// dropped at once; others wait for a place as long as a call may take.
func (r *Recorder) later(x queued) {
	select {
	case r.queue <- x:
		return
	default:
	}
	if !x.sampled {
		t := time.NewTimer(retryPause)
		defer t.Stop()
		select {
		case r.queue <- x:
			return
		case <-t.C:
		}
		r.o.Logger.Error("a record of the audit is lost: the database does not take it", slog.String("method", x.note.GetLog().GetMethod()))
	}
	r.dropped.Add(1)
}

// write writes records to their stores.
func (r *Recorder) write(ctx context.Context, all []queued) error {
	byStore := map[*store.Store][][]byte{}
	for _, x := range all {
		b, err := proto.Marshal(x.note)
		if err != nil { // for good
			r.dropped.Add(1)
			r.o.Logger.LogAttrs(ctx, slog.LevelError, "a record of the audit cannot be encoded", slog.String("method", x.note.GetLog().GetMethod()), slog.Any("error", err))
			continue
		}
		byStore[x.st] = append(byStore[x.st], b)
	}
	info := store.Info{}
	if len(all) == 1 {
		info = store.Info{Principal: all[0].note.GetLog().GetPrincipal(), RequestID: all[0].note.GetLog().GetRequestId()}
	}
	for st, notes := range byStore {
		if err := st.Note(ctx, info, notes...); err != nil {
			return err
		}
	}
	return nil
}

// Run writes what waits, until ctx ends and then what is left. It is called
// once, with the store that is told how many records were dropped.
func (r *Recorder) Run(ctx context.Context, st *store.Store) error {
	told := int64(0)
	for ctx.Err() == nil {
		var all []queued
		select {
		case <-ctx.Done():
		case x := <-r.queue:
			all = r.gather(ctx, x)
		case <-time.After(retryPause):
		}
		all = append(all, r.numbers(st, &told)...)
		for len(all) > 0 && ctx.Err() == nil {
			err := r.write(ctx, all)
			if err == nil {
				all = nil
				break
			}
			r.o.Logger.LogAttrs(ctx, slog.LevelWarn, "records of the audit wait for the database", slog.Any("error", err))
			select {
			case <-ctx.Done():
			case <-time.After(retryPause):
			}
		}
		if len(all) > 0 {
			r.rest(ctx, all)
			return nil
		}
	}
	r.rest(ctx, nil)
	return nil
}

// gather takes what comes within a short time.
func (r *Recorder) gather(ctx context.Context, first queued) []queued {
	all := []queued{first}
	t := time.NewTimer(gatherFor)
	defer t.Stop()
	for len(all) < atOnce {
		select {
		case x := <-r.queue:
			all = append(all, x)
			continue
		case <-t.C:
		case <-ctx.Done():
		}
		return all
	}
	return all
}

// rest writes what is left at the end.
func (r *Recorder) rest(ctx context.Context, all []queued) {
	for more := true; more; {
		select {
		case x := <-r.queue:
			all = append(all, x)
		default:
			more = false
		}
	}
	if len(all) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryPause)
	defer cancel()
	if err := r.write(ctx, all); err != nil {
		r.dropped.Add(int64(len(all)))
		r.o.Logger.LogAttrs(ctx, slog.LevelError, "records of the audit are lost", slog.Int("records", len(all)), slog.Any("error", err))
	}
}

// numbers are the records of how many were not recorded one by one since the
// last time.
func (r *Recorder) numbers(st *store.Store, told *int64) []queued {
	var out []queued
	add := func(category resourcev1.ActivityLog_Category, n int64, message string) {
		if n > 0 {
			out = append(out, queued{st: st, note: &resourcev1.ActivityNote{Log: &resourcev1.ActivityLog{
				Id: st.NewUID(), Time: timestamppb.New(r.o.Now()), Category: category, Region: r.o.Region, Host: r.o.Host,
				Principal: "services/audit.selvedge.dev", Status: &resourcev1.ActivityStatus{Message: fmt.Sprintf(message, n)},
			}}})
		}
	}
	dropped := r.dropped.Load()
	add(resourcev1.ActivityLog_INTERNAL, dropped-*told, "%d records were dropped: there was no place for them")
	*told = dropped
	add(resourcev1.ActivityLog_REJECTED, r.rejected.take(), "%d more calls by nobody known were rejected")
	return out
}

// maxRejected is how many rejections of callers who are nobody are recorded one
// by one in a second: a port that is found by scanners has no end of them.
const maxRejected = 20

// rejected counts the rejections of callers who are nobody.
type rejected struct {
	mu     sync.Mutex
	second int64
	n      int
	// more are those that were not recorded.
	more int64
}

// tooMany counts a rejection, and reports whether it is not to be recorded.
func (r *rejected) tooMany(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := now.Unix(); s != r.second {
		r.second, r.n = s, 0
	}
	if r.n++; r.n <= maxRejected {
		return false
	}
	r.more++
	return true
}

// take is how many were not recorded since it was asked the last time.
func (r *rejected) take() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.more
	r.more = 0
	return n
}
