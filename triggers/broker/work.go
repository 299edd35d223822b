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
	// dead letter sink does not take it either, and attempts after how many.
	reason   string
	cause    delivery.Result
	attempts int
}

// work delivers what comes down a lane, until ctx ends. Attempts use ctx work,
// which outlives ctx a little.
func (r *runner) work(ctx, work context.Context, lane <-chan []task) {
	var notes []attempt
	for {
		select {
		case <-ctx.Done():
			return
		case step := <-lane:
			notes = r.deliverStep(ctx, work, step, notes[:0])
		}
	}
}

// deliverStep attempts each task once, then publishes all replies at once. A
// task is finished when its effects are safe: its reply durable, its loss
// noted. Tasks that ctx leaves no time for stay unfinished, and are delivered
// again after the next start. The attempts that were taken are collected in
// notes, which is returned to be used again.
func (r *runner) deliverStep(ctx, work context.Context, step []task, notes []attempt) []attempt {
	var done []journal.Offset
	var replies []envelope
	bytes := 0
	began := time.Now()
	for _, t := range step {
		if ctx.Err() != nil {
			break
		}
		if !r.refresh(&t) {
			done = append(done, t.offset)
			continue
		}
		if bytes > maxReplies {
			if !r.publish(work, replies) {
				return notes
			}
			r.history.add(notes) // before others may see that the events are finished
			r.track.finish(done...)
			// The ring of recent events keeps the envelopes: they are not reused.
			notes, done, replies, bytes = notes[:0], done[:0], nil, 0
			began = time.Now()
		}
		if t.first == 0 {
			t.first = began.UnixMilli()
		}
		result := r.attempt(work, t)
		now := time.Now()
		note := attempt{offset: t.offset, at: began.UnixMicro(), took: took(now.Sub(began)), n: uint16(t.attempt), status: uint16(result.Status), dead: t.dead != nil}
		began = now
		if !result.OK() {
			if note.fate = r.fail(work, t, result); note.fate != retried && note.fate != sentOn {
				done = append(done, t.offset)
			}
			r.history.fail(note, message(result.Err))
			continue
		}
		notes = append(notes, note)
		if t.dead != nil {
			r.deadLettered.Add(1)
		} else {
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
		r.history.add(notes)
		r.track.finish(done...)
	}
	return notes
}

// refresh brings a task up to what the trigger is now, and reports whether it
// still is to be delivered.
func (r *runner) refresh(t *task) bool {
	now := r.spec.Load()
	if t.by == now {
		return true
	}
	t.by = now
	if t.dead != nil {
		if now.DeadLetter == nil {
			r.giveUp(*t)
			return false
		}
		return true
	}
	if r.takes(t) {
		return true
	}
	r.matched.Add(-1)
	r.filtered.Add(1)
	return false
}

// attempt delivers a task once.
func (r *runner) attempt(ctx context.Context, t task) delivery.Result {
	ctx, cancel := context.WithTimeout(ctx, t.by.Policy.Attempt())
	defer cancel()
	if t.dead != nil {
		return t.by.DeadLetter.Deliver(ctx, t.dead.event.Clone())
	}
	result := t.by.Sink.Deliver(ctx, t.envelope.copy())
	if result.OK() && result.Reply != nil && t.envelope.hops <= 1 {
		status, err := loopEnds()
		return delivery.Result{Status: status, Err: err}
	}
	return result
}

// fail decides what follows a failed attempt. The task is finished unless it
// was retried or sent on.
func (r *runner) fail(ctx context.Context, t task, result delivery.Result) fate {
	if t.by.Patient && (result.Status == http.StatusTooManyRequests || result.Status == http.StatusServiceUnavailable) {
		r.retried.Add(1)
		r.retry.push(time.Now().Add(patience), t)
		return retried
	}
	if result.Retry() {
		if wait, again := t.by.Policy.Wait(t.attempt); again {
			r.retried.Add(1)
			t.attempt++
			r.retry.push(time.Now().Add(wait), t)
			return retried
		}
	}
	if t.dead != nil {
		r.giveUp(t)
		return givenUp
	}
	reason := fault.ReasonOf(result.Err)
	if result.Retry() {
		reason = reasonExhausted
	}
	t.dead = &deadLetter{reason: reason, cause: result, attempts: t.attempt + 1}
	if t.by.DeadLetter != nil {
		t.dead.event = delivery.DeadLetter(t.envelope.copy(), t.by.Dest, result)
		t.dead.event.SetExtension(event.BrokerTTL, int32(t.envelope.hops))
		t.attempt = 0
		r.retry.push(time.Now(), t)
		return sentOn
	}
	r.giveUp(t)
	if r.full() {
		// Those who fail wait for the store; it is what bounds the memory.
		if err := r.commit(ctx, false); err != nil {
			r.log.Warn("dead letters cannot be kept", slog.Any("error", err))
		}
	}
	return givenUp
}

// giveUp notes that the event of a task with a dead letter is dropped, and
// keeps the letter. What no trigger takes has nobody to be replayed to, and is
// not kept, unless it was on its way to one that was removed.
func (r *runner) giveUp(t task) {
	r.lose(t, t.dead.reason, t.dead.cause.Err)
	r.failed.Add(1)
	if r.b.opts.DeadLetters == nil || r.catchAll && t.envelope.target == "" {
		return
	}
	letter := letterOf(r.id, t)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.letters = append(r.letters, letter)
	r.held += letter.Size()
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
		Project: t.envelope.home.project, Stream: r.id, Offset: uint64(t.offset), Reason: reason, Detail: detail,
		Count: count, Source: e.Source(), ID: e.ID(), Type: e.Type(), Time: time.Now(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses = append(r.losses, l)
}

// adopt makes e, the reply to t, belong where its cause does, whatever it says
// itself. Of the attributes that only the platform sets, the function of a
// project may set the route; the others are those of the cause.
func adopt(t task, e *event.Event) {
	cause := t.envelope.event
	own := []string{event.Project, event.Broker}
	if t.by.Project != "" {
		own = append(own, event.Device, event.Blueprint)
	}
	for _, name := range own {
		if v, ok := event.Value(cause, name); ok {
			e.SetExtension(name, v)
		} else if _, set := event.Value(e, name); set {
			e.SetExtension(name, nil)
		}
	}
	for _, name := range [...]string{event.ArrivalTime, event.BrokerTTL, event.Replay} {
		e.SetExtension(name, nil)
	}
}

// reply is the envelope of a reply to t, nil when there is none or when it
// cannot be taken, which is noted as a loss.
func (r *runner) reply(t task, e *event.Event) *envelope {
	if e == nil {
		return nil
	}
	if e.Context == nil || e.ID() == "" || e.Source() == "" || e.Type() == "" || e.SpecVersion() != "1.0" {
		r.note(t, reasonInvalidReply, "the function's reply is no CloudEvent 1.0", 1)
		return nil
	}
	adopt(t, e)
	v := &envelope{
		origin: fromReply, key: keyOf(e, t.envelope.home, r.id), hops: t.envelope.hops - 1, arrival: time.Now(),
		answers: t.offset + 1, by: r.id, home: t.envelope.home, event: e,
	}
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
