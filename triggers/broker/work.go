package broker

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/ledger"
)

// Reasons of losses that the broker itself gives.
const (
	reasonExhausted    = "RETRIES_EXHAUSTED"
	reasonLoop         = "TTL_EXPIRED"
	reasonInvalidReply = "INVALID_REPLY"
	reasonLargeReply   = "REPLY_TOO_LARGE"
)

// The bounds of replies: of one, which is more than what the door takes of a
// device, and of those that are made durable at once.
const (
	maxReply   = 2 << 20
	maxReplies = 8 << 20
)

// patience is the pause before an event is offered again to a sink that events
// must wait for. A disk that is full stays so for longer, and a second is soon
// enough to go on after.
const patience = time.Second

// deadLetter is an event on its way to the dead letter sink.
type deadLetter struct {
	event event.Event
	// reason and cause are why it is there, for the ledger in case that the
	// dead letter sink does not take it either.
	reason string
	cause  delivery.Result
}

// work delivers what comes down a lane, until ctx ends. Attempts use ctx work,
// which outlives ctx a little.
func (r *runner) work(ctx, work context.Context, lane <-chan []task) {
	for {
		select {
		case <-ctx.Done():
			return
		case step := <-lane:
			r.deliverStep(ctx, work, step)
		}
	}
}

// deliverStep attempts each task once, then publishes all replies at once. A
// task is finished when its effects are safe: its reply durable, its loss
// noted. Tasks that ctx leaves no time for stay unfinished, and are delivered
// again after the next start.
func (r *runner) deliverStep(ctx, work context.Context, step []task) {
	var done []journal.Offset
	var replies []envelope
	bytes := 0
	for _, t := range step {
		if ctx.Err() != nil {
			break
		}
		if bytes > maxReplies {
			if !r.publish(work, replies) {
				return
			}
			r.track.finish(done...)
			// The ring of recent events keeps the envelopes: they are not reused.
			done, replies, bytes = done[:0], nil, 0
		}
		result := r.attempt(work, t)
		switch {
		case !result.OK():
			if r.fail(t, result) {
				done = append(done, t.offset)
			}
			continue
		case t.dead != nil:
			r.deadLettered.Add(1)
		default:
			r.delivered.Add(1)
			r.lost(t, result)
			if reply := r.reply(t, result.Reply); reply != nil {
				replies = append(replies, *reply)
				bytes += len(reply.record)
			}
		}
		done = append(done, t.offset)
	}
	if len(replies) == 0 || r.publish(work, replies) {
		r.track.finish(done...)
	}
}

// attempt delivers a task once.
func (r *runner) attempt(ctx context.Context, t task) delivery.Result {
	ctx, cancel := context.WithTimeout(ctx, r.Policy.Attempt())
	defer cancel()
	if t.dead != nil {
		return r.DeadLetter.Deliver(ctx, t.dead.event.Clone())
	}
	return r.Sink.Deliver(ctx, t.envelope.copy())
}

// fail decides what follows a failed attempt, and reports whether the task is
// finished with that.
func (r *runner) fail(t task, result delivery.Result) bool {
	if r.Patient && (result.Status == http.StatusTooManyRequests || result.Status == http.StatusServiceUnavailable) {
		r.retried.Add(1)
		r.retry.push(time.Now().Add(patience), t)
		return false
	}
	if result.Retry() {
		if wait, again := r.Policy.Wait(t.attempt); again {
			r.retried.Add(1)
			t.attempt++
			r.retry.push(time.Now().Add(wait), t)
			return false
		}
	}
	reason := fault.ReasonOf(result.Err)
	if result.Retry() {
		reason = reasonExhausted
	}
	switch {
	case t.dead != nil:
		r.lose(t, t.dead.reason, t.dead.cause.Err)
	case r.DeadLetter != nil:
		t.dead = &deadLetter{event: delivery.DeadLetter(*t.envelope.event, r.Dest, result), reason: reason, cause: result}
		t.attempt = 0
		r.retry.push(time.Now(), t)
		return false
	default:
		r.lose(t, reason, result.Err)
	}
	r.failed.Add(1)
	return true
}

// lose notes in the ledger that the task's event was dropped.
func (r *runner) lose(t task, reason string, cause error) {
	r.log.Debug("event dropped", slog.String("reason", reason), slog.Any("error", cause))
	r.note(t, reason, message(cause), 1)
}

// lost notes the parts that a subscriber dropped of an event it took.
func (r *runner) lost(t task, result delivery.Result) {
	for _, l := range result.Losses {
		r.note(t, l.Reason, "", l.Count)
	}
}

// maxDetail bounds the text of a loss.
const maxDetail = 256

// message is the text of a loss: what the publisher of the event may read.
func message(err error) string {
	if err == nil {
		return ""
	}
	text := fault.ProblemOf(err).Error.Message
	return text[:min(len(text), maxDetail)]
}

// note adds a line for the ledger.
func (r *runner) note(t task, reason, detail string, count int) {
	e := t.envelope.event
	l := ledger.Loss{
		Project: project(e), Stream: r.Name, Offset: uint64(t.offset), Reason: reason, Detail: detail,
		Count: count, Source: e.Source(), ID: e.ID(), Type: e.Type(), Time: time.Now(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses = append(r.losses, l)
}

// reply is the envelope of a reply to t, nil when there is none or when it
// cannot be taken, which is noted as a loss. A reply belongs to the project of
// what it answers, whatever it says itself.
func (r *runner) reply(t task, e *event.Event) *envelope {
	if e == nil {
		return nil
	}
	if e.Context == nil || e.ID() == "" || e.Source() == "" || e.Type() == "" || e.SpecVersion() != "1.0" {
		r.note(t, reasonInvalidReply, "the function's reply is no CloudEvent 1.0", 1)
		return nil
	}
	if t.envelope.hops == 0 {
		r.note(t, reasonLoop, "the event and its replies passed the broker too often", 1)
		return nil
	}
	if p := project(t.envelope.event); p != "" {
		e.SetExtension(event.Project, p)
	}
	e.SetExtension(event.ArrivalTime, nil)
	v := &envelope{origin: fromReply, key: keyOf(e, r.Name), hops: t.envelope.hops - 1, arrival: time.Now(), event: e}
	record, err := v.append(nil)
	switch {
	case err != nil:
		r.note(t, reasonInvalidReply, message(err), 1)
		return nil
	case len(record) > maxReply:
		r.note(t, reasonLargeReply, fmt.Sprintf("a reply of %d bytes, the bound is %d", len(record), maxReply), 1)
		return nil
	}
	v.record = record
	return v
}

// publish makes replies durable, trying until ctx ends: a reply that has no
// room waits for it. It reports whether it did.
func (r *runner) publish(ctx context.Context, replies []envelope) bool {
	wait := 10 * time.Millisecond
	for reported := false; ; {
		_, err := r.b.append(ctx, fromReply, replies)
		if err == nil {
			return true
		}
		if !reported {
			r.log.Warn("replies wait for the journal", slog.Any("error", err))
			reported = true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		}
	}
}
