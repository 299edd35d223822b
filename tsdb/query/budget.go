package query

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// Reasons of the Exhausted errors of queries that want more memory than there
// is.
const (
	// QueryTooLarge is one that wants more than Options.MaxBytes: it has to ask
	// for less.
	QueryTooLarge = "QUERY_TOO_LARGE"
	// QueriesBusy is one for which the others leave no room: it can be asked
	// again.
	QueriesBusy = "QUERIES_BUSY"
)

const (
	// firstBytes is what a query has at its begin, and by how much it grows: a
	// page of points with what is being aligned for it.
	firstBytes = 8 << 20
	// defaultWait is how long a query waits for its begin.
	defaultWait = 10 * time.Second
	// retryBusy is when a query that found no room should come again.
	retryBusy = 2 * time.Second
)

// Budget bounds the memory of the queries of several engines together. It may
// be used concurrently.
type Budget struct {
	free  *semaphore.Weighted
	total int64
	wait  time.Duration
}

// NewBudget makes a budget of so many bytes, 8 MiB at least. A query that finds
// none free waits for wait at most, 0 meaning ten seconds.
func NewBudget(bytes int64, wait time.Duration) *Budget {
	if wait == 0 {
		wait = defaultWait
	}
	bytes = max(bytes, firstBytes)
	return &Budget{free: semaphore.NewWeighted(bytes), total: bytes, wait: wait}
}

// busy is the error of a query that finds no room.
type busy struct{ error }

// RetryAfter implements fault.RetryAfter.
func (busy) RetryAfter() time.Duration { return retryBusy }

// lease is the memory of a query: what it holds of the points that it read, in
// all of its stages. A nil lease is without bound.
type lease struct {
	budget *Budget
	// most bounds the query.
	most int64
	// used is what it uses, held what it has of the budget.
	used atomic.Int64
	held int64
}

// Begin begins a query of another engine, which may have so many bytes at most.
// It waits its turn. The query calls reach, from one goroutine at a time, with
// how many bytes it holds when those become more, and end at its end.
func (b *Budget) Begin(ctx context.Context, most int64) (reach func(bytes int64) error, end func(), err error) {
	l, err := b.lease(ctx, most)
	if err != nil {
		return nil, nil, err
	}
	return func(bytes int64) error { return l.hold(bytes - l.used.Load()) }, l.release, nil
}

// lease begins a query. It waits its turn, and is to be released.
func (e *Engine) lease(ctx context.Context) (*lease, error) {
	if e.opts.Budget == nil {
		return &lease{most: e.opts.MaxBytes}, nil
	}
	return e.opts.Budget.lease(ctx, e.opts.MaxBytes)
}

// lease begins a query.
func (b *Budget) lease(ctx context.Context, most int64) (*lease, error) {
	l := &lease{budget: b, most: b.total}
	if most > 0 {
		l.most = min(most, b.total)
	}
	if !l.budget.free.TryAcquire(firstBytes) {
		if err := l.await(ctx); err != nil {
			return nil, err
		}
	}
	l.held = firstBytes
	return l, nil
}

// await waits for the first bytes.
func (l *lease) await(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, l.budget.wait)
	defer cancel()
	if err := l.budget.free.Acquire(waiting, firstBytes); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return l.noRoom(fmt.Errorf("other queries took all of the %d bytes for %s", l.budget.total, l.budget.wait))
	}
	return nil
}

// noRoom is the error of a query for which the others leave no room.
func (l *lease) noRoom(err error) error {
	return &fault.Error{Op: "tsdb/query", Kind: fault.Exhausted, Reason: QueriesBusy, Err: busy{err}}
}

// release ends the query.
func (l *lease) release() {
	if l.held > 0 {
		l.budget.free.Release(l.held)
		l.held = 0
	}
}

// charge notes that the query holds r, or is the error of one that may not.
func (l *lease) charge(r *collected) error { return l.hold(r.bytes()) }

// hold notes that the query holds so many bytes more, or is the error of one
// that may not. It is for one goroutine at a time.
func (l *lease) hold(bytes int64) error {
	if l == nil {
		return nil
	}
	used := l.used.Add(bytes)
	if l.most > 0 && used > l.most {
		return &fault.Error{
			Op: "tsdb/query", Kind: fault.Exhausted, Reason: QueryTooLarge,
			Err: fmt.Errorf("the query needs more than the %d bytes that one may have: ask for fewer series, a shorter interval or a longer alignment period", l.most),
		}
	}
	for l.budget != nil && used > l.held {
		// It does not wait: who has something must not wait for others who
		// wait too.
		if !l.budget.free.TryAcquire(firstBytes) {
			return l.noRoom(fmt.Errorf("other queries left no more than %d bytes", l.held))
		}
		l.held += firstBytes
	}
	return nil
}

// refund notes that the query no longer holds what takes so many bytes.
func (l *lease) refund(bytes int64) {
	if l != nil {
		l.used.Add(-bytes)
	}
}

// What things take, in bytes, about: an empty result with its series, a label,
// and a point that is a number.
const (
	resultBytes = 400
	labelBytes  = 48
	pointBytes  = 16
)

// bytes is how much memory r takes, about. Names are shared with others, often;
// they count all the same.
func (r *collected) bytes() int64 {
	n := int64(resultBytes + len(r.key) + 8*len(r.Points.Times) + 8*len(r.Points.Values))
	if s := r.Series; s != nil {
		n += int64(labelBytes * (len(s.MetricLabels) + len(s.ResourceLabels)))
	}
	for _, d := range r.Points.Distributions {
		n += distributionBytes(d)
	}
	return n
}

// distributionBytes is how much memory a distribution takes, about.
func distributionBytes(d *tsdb.Distribution) int64 {
	const fixed = 160
	return int64(fixed + 8*len(d.Counts) + 8*len(d.Buckets.Bounds))
}

// bytesOf is how much memory results take.
func bytesOf(all []collected) int64 {
	n := int64(0)
	for i := range all {
		n += all[i].bytes()
	}
	return n
}
