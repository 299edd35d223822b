// Package retention says what of each bucket is not kept any longer, and has a
// store delete it: whole days, by age and by size. It holds nothing; policies
// come from whoever has the buckets.
package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// Policy says for how long a bucket keeps its entries. A bucket without a policy
// keeps them for ever.
type Policy struct {
	Project, Bucket string
	// Age is how old the entries of a day may be, by their times, before the day
	// is deleted; 0 is any age.
	Age time.Duration
	// Bytes is how much the bucket may hold, as logstore.Usage has it; of what
	// is more the oldest days are deleted, but never today's. 0 is any size.
	Bytes int64
}

// Reason says why days are deleted.
type Reason string

// The reasons.
const (
	// Age says that they are too old.
	Age Reason = "AGE"
	// Size says that the bucket holds too much.
	Size Reason = "SIZE"
)

// Step is a deletion that a policy asks for.
type Step struct {
	logstore.Deletion
	// Reason is the one that asks for the most.
	Reason Reason
	// Days are how many days have entries that are deleted, Entries and Bytes
	// how many there are.
	Days           int
	Entries, Bytes int64
}

// day is how long a day is.
const day = 24 * time.Hour

// Preview says what the policies ask for at a time: a step for each bucket that
// something is to be deleted of, by project and bucket. It deletes nothing.
func Preview(ctx context.Context, keeper logstore.Keeper, policies []Policy, now time.Time) ([]Step, error) {
	const op = "logstore/retention.Preview"
	type bucket struct{ project, bucket string }
	used := make(map[bucket][]logstore.Usage)
	all, err := keeper.Usage(ctx, "")
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.KindOf(err), Reason: fault.ReasonOf(err), Err: fmt.Errorf("look what there is: %w", err)}
	}
	for _, u := range all {
		b := bucket{u.Project, u.Bucket}
		used[b] = append(used[b], u)
	}
	var steps []Step
	for _, p := range policies {
		if p.Age < 0 || p.Bytes < 0 {
			return nil, &fault.Error{Op: op, Name: p.Bucket, Kind: fault.Invalid, Err: fmt.Errorf("a bucket cannot keep %s or %d bytes", p.Age, p.Bytes)}
		}
		if s := p.step(used[bucket{p.Project, p.Bucket}], now); s.Days > 0 {
			steps = append(steps, s)
		}
	}
	slices.SortFunc(steps, func(a, b Step) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Bucket, b.Bucket))
	})
	return steps, nil
}

// step is what the policy asks for of a bucket's days, which are ascending.
func (p Policy) step(used []logstore.Usage, now time.Time) Step {
	s := Step{Deletion: logstore.Deletion{Project: p.Project, Bucket: p.Bucket}}
	if p.Age > 0 {
		s.Before, s.Reason = logstore.Day(now.Add(-p.Age)), Age
	}
	if p.Bytes > 0 {
		var held int64
		for _, u := range slices.Backward(used) {
			held += u.Bytes
			if held > p.Bytes && u.Day.Before(logstore.Day(now)) {
				if before := u.Day.Add(day); before.After(s.Before) {
					s.Before, s.Reason = before, Size
				}
				break
			}
		}
	}
	for _, u := range used {
		if u.Day.Before(s.Before) {
			s.Days++
			s.Entries += u.Entries
			s.Bytes += u.Bytes
		}
	}
	return s
}

// Apply deletes what the steps say. One that fails does not keep the others
// from being done.
func Apply(ctx context.Context, keeper logstore.Keeper, steps []Step) error {
	var failed []error
	for _, s := range steps {
		if err := keeper.Delete(ctx, s.Deletion); err != nil {
			failed = append(failed, fmt.Errorf("delete of bucket %s of %s: %w", s.Bucket, s.Project, err))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return &fault.Error{Op: "logstore/retention.Apply", Kind: fault.KindOf(err), Reason: fault.ReasonOf(err), Err: err}
	}
	return nil
}

// DefaultEvery is how often policies are applied: days end once a day.
const DefaultEvery = time.Hour

// Worker applies policies again and again.
type Worker struct {
	// Keeper is the store.
	Keeper logstore.Keeper
	// Policies gives those of the moment.
	Policies func(ctx context.Context) ([]Policy, error)
	// Every is the time from one round to the next; 0 means DefaultEvery.
	Every time.Duration
	// Now is the clock; nil is the machine's.
	Now func() time.Time
	// Logger hears of what is deleted and of failures; nil discards.
	Logger *slog.Logger
}

// Run applies the policies at once and then every Every, until ctx ends. A round
// that fails is logged, and done again with the next.
func (w *Worker) Run(ctx context.Context) {
	every := w.Every
	if every == 0 {
		every = DefaultEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := w.Round(ctx); err != nil && ctx.Err() == nil {
			w.logger().LogAttrs(ctx, slog.LevelError, "retention of logs failed", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Round applies the policies once.
func (w *Worker) Round(ctx context.Context) error {
	now := time.Now
	if w.Now != nil {
		now = w.Now
	}
	policies, err := w.Policies(ctx)
	if err != nil {
		return &fault.Error{Op: "logstore/retention.Round", Kind: fault.KindOf(err), Err: fmt.Errorf("read policies: %w", err)}
	}
	steps, err := Preview(ctx, w.Keeper, policies, now())
	if err != nil {
		return err
	}
	for _, s := range steps {
		w.logger().LogAttrs(ctx, slog.LevelInfo, "log entries deleted by retention", slog.String("project", s.Project), slog.String("bucket", s.Bucket),
			slog.String("reason", string(s.Reason)), slog.Time("before", s.Before), slog.Int64("entries", s.Entries), slog.Int64("bytes", s.Bytes))
	}
	return Apply(ctx, w.Keeper, steps)
}

// logger is the worker's logger, or one that discards.
func (w *Worker) logger() *slog.Logger {
	if w.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return w.Logger
}
