package edgeruntime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	ingestv1 "selvedge.dev/functions/ingest/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
)

const (
	// maxBatchEvents and maxBatchBytes bound one batch: half a second of a
	// 20 Mbit/s link, and a quarter of what the platform accepts in one body.
	maxBatchEvents = 500
	maxBatchBytes  = 1 << 20
	// maxPayload is what is left for events beside commas and brackets.
	maxPayload = maxBatchBytes - maxBatchEvents - 1
	// minBackoff and maxBackoff are the first and the last bound of the wait
	// after a failure; each is twice the one before.
	minBackoff = time.Second
	maxBackoff = time.Minute
	// grace is how long the last flush after a stop may take.
	grace = 5 * time.Second
	// regrow is by how many bytes batches that were halved grow again after each
	// that was answered.
	regrow = 16 << 10
)

// uplink moves events from the queue to the platform, in order, one batch in
// flight, and the cursor behind them once the platform has answered for them.
type uplink struct {
	queue    *queue
	endpoint *endpoint
	link     *link
	log      *slog.Logger

	records journal.Batch
	// payload is how many bytes of events the next batch may have; a single
	// event may have more.
	payload int
	// failures counts attempts since the last one that settled something.
	failures int
	// reason is why the last event was rejected, so that it is logged once.
	reason string
}

// newUplink is the uplink of the queue.
func newUplink(c Config, q *queue, l *link) *uplink {
	return &uplink{queue: q, endpoint: newEndpoint(c), link: l, log: c.Logger, payload: maxPayload}
}

// run delivers until ctx is done, and then for as long as it goes without a
// failure and within grace.
func (u *uplink) run(ctx context.Context) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	for work.Err() == nil {
		stopping := ctx.Err() != nil
		if err := u.queue.journal.Wait(ctx, u.queue.position()); err != nil {
			if stopping || ctx.Err() == nil {
				return // there is nothing left, or the queue is closed
			}
			continue // the stop may have come together with the last event
		}
		wait := u.deliver(work)
		switch {
		case wait == 0:
		case stopping:
			return
		default:
			sleep(ctx, wait) // a stop ends it early: one more attempt
		}
	}
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// deliver makes one attempt at the next batch and returns how long to wait
// before the next one.
func (u *uplink) deliver(ctx context.Context) time.Duration {
	err := u.attempt(ctx)
	switch kind := fault.KindOf(err); {
	case err == nil:
		u.failures = 0
		u.link.delivering()
		return 0
	case kind == fault.Unauthenticated, kind == fault.Denied:
		// Somebody has to act; until then asking often helps nobody.
		u.failures = maxDoublings
		u.link.denied(err)
		return maxBackoff/2 + u.backoff(err)
	default:
		u.link.retrying(err)
		wait := u.backoff(err)
		u.failures++
		return wait
	}
}

// maxDoublings is how often minBackoff doubles until it is over maxBackoff.
const maxDoublings = 6

// backoff is the wait after the failure err: what the platform asked for, and
// up to the current bound beyond it, at random, so that devices that lost the
// platform together do not come back together.
func (u *uplink) backoff(err error) time.Duration {
	wait := rand.N(min(minBackoff<<min(u.failures, maxDoublings), maxBackoff))
	var asked fault.RetryAfter
	if errors.As(err, &asked) {
		wait += asked.RetryAfter()
	}
	return max(wait, time.Millisecond)
}

// attempt sends the next batch and settles what the platform answered for.
// After a failure the next batch is half as large: the link may be too slow to
// carry more before the post times out, and an outage is then probed with a
// single event. A batch that the platform will not take as a whole is halved at
// once, until the event is alone that is the reason, which is then lost.
func (u *uplink) attempt(ctx context.Context) error {
	b, err := u.next()
	if err != nil {
		return err
	}
	if len(b.items) == 0 {
		return u.commit(u.records.Next())
	}
	answer, err := u.endpoint.post(ctx, b.text)
	if err == nil {
		u.payload = min(u.payload+regrow, maxPayload)
		return u.settle(b.items, inOrder(b.items, answer))
	}
	u.payload = len(b.text) / 2
	switch kind := fault.KindOf(err); {
	case kind != fault.TooLarge && kind != fault.Invalid:
		return err
	case len(b.items) == 1:
		return u.settle(b.items, []verdict{rejection(err)})
	}
	return u.attempt(ctx)
}

// inOrder are the verdicts on the items, one for each; the zero verdict where
// the answer has none. An answer may have them in any order.
func inOrder(items []item, answer []verdict) []verdict {
	of := make(map[identity]verdict, len(answer))
	for _, v := range answer {
		of[identity{v.ID, v.Source}] = v
	}
	verdicts := make([]verdict, len(items))
	for i, it := range items {
		if id, err := it.identify(); err != nil {
			verdicts[i] = rejection(err)
		} else {
			verdicts[i] = of[id]
		}
	}
	return verdicts
}

// settle counts what was rejected and moves the cursor over all events up to
// the first without a final verdict, if there is one. First the count, then the
// cursor: see ledger.
func (u *uplink) settle(items []item, verdicts []verdict) error {
	if err := refusedAll(verdicts); err != nil {
		return err
	}
	n := slices.IndexFunc(verdicts, func(v verdict) bool { return !v.final() })
	var unsettled error
	if n >= 0 {
		unsettled = verdicts[n].fault()
	} else {
		n = len(items)
	}
	if n == 0 {
		return unsettled
	}
	losses := map[string]uint64{}
	for _, v := range verdicts[:n] {
		if v.Status == ingestv1.StatusRejected {
			losses[lostRejected+v.reason()]++
			u.logRejection(v)
		}
	}
	next := items[n-1].offset + 1
	if len(losses) > 0 {
		if err := u.queue.ledger.settle(next, losses); err != nil {
			return err
		}
	}
	u.link.count(verdicts[:n])
	return errors.Join(u.commit(next), unsettled)
}

// commit moves the cursor.
func (u *uplink) commit(next journal.Offset) error {
	if err := u.queue.cursor.Commit(next); err != nil {
		return fmt.Errorf("move cursor: %w", err)
	}
	return nil
}

// refusedAll is the fault of a batch whose every event the platform refused
// for want of a permission, which says something of the key and not of the
// events.
func refusedAll(verdicts []verdict) error {
	for _, v := range verdicts {
		kind := v.kind()
		if v.Status != ingestv1.StatusRejected || kind != fault.Denied && kind != fault.Unauthenticated {
			return nil
		}
	}
	return verdicts[0].fault()
}

// logRejection logs a rejection when its reason is another one than that of
// the last.
func (u *uplink) logRejection(v verdict) {
	if r := v.reason(); r != u.reason {
		u.reason = r
		u.log.Warn("events are rejected", slog.String("reason", r), slog.String("event_id", v.ID), slog.Any("error", v.fault()))
	}
}
