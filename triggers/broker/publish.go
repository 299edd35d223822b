package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/types"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
)

// Verdict is what became of a published event.
type Verdict uint8

// The verdicts. Both mean that the event is durable here.
const (
	// Accepted: it was not there before.
	Accepted Verdict = iota
	// Duplicate: an event of the same project, source and id is in the
	// window, so this one is not applied again.
	Duplicate
)

// Publish makes events durable and hands them to the triggers. There is a
// verdict for every event once all are durable. An error means that no
// verdict is known, and publishing again is safe: Exhausted when the journal
// is full, Unavailable when ctx ends or the broker is closing. The events are
// the broker's from now on.
func (b *Broker) Publish(ctx context.Context, events []event.Event) ([]Verdict, error) {
	if b.stopped.Load() {
		return nil, &fault.Error{Op: "broker.Publish", Kind: fault.Unavailable, Reason: "SHUTTING_DOWN", Err: errors.New("the broker is closing")}
	}
	if used := b.used.read(b.journal); used >= b.opts.MaxBytes {
		return nil, &fault.Error{Op: "broker.Publish", Kind: fault.Exhausted, Reason: "BROKER_FULL", Err: full{used, b.opts.MaxBytes}}
	}
	now := time.Now()
	envelopes := make([]envelope, len(events))
	for i := range events {
		e := &events[i]
		hops, _ := Hops(e)
		for _, name := range [...]string{event.BrokerTTL, event.ArrivalTime} {
			if _, set := event.Value(e, name); set {
				e.SetExtension(name, nil)
			}
		}
		envelopes[i] = envelope{origin: fromOutside, key: keyOf(e, homeOf(e), ""), hops: hops, arrival: now, event: e}
	}
	return b.append(ctx, fromOutside, envelopes)
}

// Hops is how often e, which comes from outside, and the replies to it may pass
// the broker: 255, or what its own attribute says less one, as on Knative. False
// means that it may not even once; it counts as once then.
func Hops(e *event.Event) (byte, bool) {
	v, set := event.Value(e, event.BrokerTTL)
	if !set {
		return maxHops, true
	}
	n, err := types.ToInteger(v)
	if err != nil {
		return maxHops, true
	}
	return byte(min(max(n-1, 1), maxHops)), n > 1
}

// append makes the envelopes of one origin durable that are not there yet.
func (b *Broker) append(ctx context.Context, o origin, envelopes []envelope) ([]Verdict, error) {
	verdicts := make([]Verdict, len(envelopes))
	// left are the indexes without a verdict. All get one in the first round,
	// unless somebody else is appending the same event at this moment.
	left := make([]int, len(envelopes))
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		keys := make([]key, len(left))
		for n, i := range left {
			keys[n] = envelopes[i].key
		}
		c := b.dedupe.claim(o, keys)
		if err := b.appendFresh(ctx, c, envelopes, left); err != nil {
			return nil, fmt.Errorf("publish: %w", err)
		}
		var busy []int
		for n, i := range left {
			switch {
			case c.busy[n]:
				busy = append(busy, i)
			case !c.fresh[n]:
				verdicts[i] = Duplicate
			}
		}
		for _, f := range c.waits {
			select {
			case <-f.done:
			case <-ctx.Done():
				return nil, fmt.Errorf("publish: %w", ctx.Err())
			}
		}
		left = busy
	}
	return verdicts, nil
}

// appendFresh writes the fresh envelopes of a claim to the journal and settles
// it; index says which envelope each of its keys belongs to.
func (b *Broker) appendFresh(ctx context.Context, c *claim, envelopes []envelope, index []int) error {
	records := make([][]byte, 0, len(index))
	room, total := 0, 0
	for n, i := range index {
		if v := &envelopes[i]; c.fresh[n] && v.record == nil {
			room += v.size()
		}
	}
	buf := make([]byte, 0, room)
	var err error
	for n, i := range index {
		if !c.fresh[n] {
			continue
		}
		record := envelopes[i].record
		if record == nil {
			start := len(buf)
			if buf, err = envelopes[i].append(buf); err != nil {
				return errors.Join(err, b.dedupe.settle(c, 0, false))
			}
			// When buf grows it moves, but what was written of it stays as it is.
			record = slices.Clip(buf[start:])
		}
		records = append(records, record)
		total += len(record)
	}
	if len(records) == 0 {
		return b.dedupe.settle(c, 0, false)
	}
	first, err := b.journal.Append(ctx, records...)
	if err != nil {
		return errors.Join(err, b.dedupe.settle(c, 0, false))
	}
	b.recent.put(first, records, max(total, cap(buf)))
	return b.dedupe.settle(c, first, true)
}

// full is the error of a journal over its bound.
type full struct{ used, bound int64 }

// Error says how full.
func (f full) Error() string {
	return fmt.Sprintf("%d bytes of events wait for delivery, the bound is %d", f.used, f.bound)
}

// RetryAfter is how long a publisher should wait: the time in which a journal
// that drains at all has freed a segment.
func (f full) RetryAfter() time.Duration { return 5 * time.Second }

// gaugeEvery is how often the journal is asked for its size: within that time
// no intake fills a noticeable part of any sensible bound.
const gaugeEvery = 50 * time.Millisecond

// gauge remembers the size of the journal for a moment, since asking takes
// the journal's lock.
type gauge struct {
	until atomic.Int64
	bytes atomic.Int64
}

// read is the size of j in bytes on disk, at most gaugeEvery old.
func (g *gauge) read(j *journal.Journal) int64 {
	now := time.Now().UnixNano()
	if until := g.until.Load(); now >= until && g.until.CompareAndSwap(until, now+int64(gaugeEvery)) {
		g.bytes.Store(j.Stats().Bytes)
	}
	return g.bytes.Load()
}
