package broker

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/ledger"
)

// Reasons of losses that the broker itself gives.
const (
	reasonExhausted    = "RETRIES_EXHAUSTED"
	reasonUnreadable   = "EVENT_UNREADABLE"
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
	d := delivering{runner: r, notes: notes, done: make([]journal.Offset, 0, len(step))}
	defer d.limit.end()
	for len(step) > 0 && ctx.Err() == nil {
		if d.out.size() > maxReplies && !d.flush(work) {
			return d.notes
		}
		step = step[d.deliver(work, step):]
	}
	d.flush(work)
	return d.notes
}

// maxBulk is how many events are delivered at once to a sink that is a
// delivery.Bulk: what the writer takes in a millisecond.
const maxBulk = 256

// delivering is a step that is being delivered.
type delivering struct {
	*runner
	// notes are the attempts that were taken, done the offsets that are finished
	// once the replies of out are durable.
	notes []attempt
	done  []journal.Offset
	out   replies
	limit deadline
	// run and arrived are the tasks that are attempted together.
	run     []task
	arrived []function.Arrived
}

// flush makes the replies durable and then finishes what is done. It reports
// whether it did.
func (d *delivering) flush(work context.Context) bool {
	if len(d.out.envelopes) > 0 && !d.publish(work, &d.out) {
		return false
	}
	d.history.add(d.notes) // before others may see that the events are finished
	d.track.finish(d.done...)
	d.notes, d.done, d.out = d.notes[:0], d.done[:0], replies{}
	return true
}

// deliver attempts the first of the tasks that there are, or as many as their
// sink takes at once, and returns how many that are.
func (d *delivering) deliver(work context.Context, step []task) int {
	began := time.Now()
	n := 0
	d.run = d.run[:0]
	for more := true; more && n < len(step); {
		t := step[n]
		if !d.refresh(&t) {
			d.done = append(d.done, t.offset)
			n++
			continue
		}
		_, bulk := t.by.Sink.(delivery.Bulk)
		alone := t.dead != nil || !bulk
		if len(d.run) > 0 && (alone || t.by != d.run[0].by) {
			break
		}
		if t.first == 0 {
			t.first = began.UnixMilli()
		}
		d.run = append(d.run, t)
		n++
		more = !alone && len(d.run) < maxBulk
	}
	if len(d.run) == 0 {
		return n
	}
	ctx := d.limit.of(work, began, d.run[0].by.Policy.Attempt())
	if len(d.run) > 1 && d.attemptAll(work, ctx, began) {
		return n
	}
	for i, t := range d.run {
		if i > 0 {
			began = time.Now()
			ctx = d.limit.of(work, began, t.by.Policy.Attempt())
		}
		d.settle(work, t, d.attempt(ctx, t), attempt{at: began.UnixMicro(), took: took(time.Since(began))}, len(step)-i)
	}
	return n
}

// attemptAll delivers the tasks of the run at once, within ctx, and reports
// whether that could be done.
func (d *delivering) attemptAll(work, ctx context.Context, began time.Time) bool {
	sink, ok := d.run[0].by.Sink.(delivery.Bulk)
	if !ok {
		return false
	}
	d.arrived = d.arrived[:0]
	for _, t := range d.run {
		d.arrived = append(d.arrived, t.entry.arrived())
	}
	results, ok := sink.DeliverAll(ctx, d.arrived)
	if !ok {
		return false
	}
	note := attempt{at: began.UnixMicro(), took: took(time.Since(began))}
	for i, t := range d.run {
		d.settle(work, t, bounded(t, results[i]), note, len(d.run)-i)
	}
	return true
}

// settle does what follows from the result of an attempt, which may be followed
// by as many in this step as left says.
func (d *delivering) settle(work context.Context, t task, result delivery.Result, note attempt, left int) {
	note.offset, note.n, note.status, note.dead = t.offset, uint16(t.attempt), uint16(result.Status), t.dead != nil
	if !result.OK() {
		if note.fate = d.fail(work, t, result); note.fate != retried && note.fate != sentOn {
			d.done = append(d.done, t.offset)
		}
		d.history.fail(note, message(result.Err))
		return
	}
	d.notes = append(d.notes, note)
	if t.dead != nil {
		d.deadLettered.Add(1)
	} else {
		d.delivered.Add(1)
		d.lost(t, result)
		d.reply(t, result.Reply, &d.out, left)
	}
	d.done = append(d.done, t.offset)
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

// deadline is the context of the attempts that begin within a thousandth of the
// time that one may take, so that not each of them sets a timer: the last may be
// cut short by that much.
type deadline struct {
	limit  time.Duration
	fresh  time.Time // until when attempts may begin with it
	ctx    context.Context
	cancel context.CancelFunc
}

// of is the context of an attempt that begins now and may take as long as limit.
func (d *deadline) of(work context.Context, now time.Time, limit time.Duration) context.Context {
	if d.cancel == nil || d.limit != limit || !now.Before(d.fresh) {
		d.end()
		d.limit, d.fresh = limit, now.Add(limit/1000)
		d.ctx, d.cancel = context.WithTimeout(work, limit)
	}
	return d.ctx
}

// end ends the context, if there is one.
func (d *deadline) end() {
	if d.cancel != nil {
		d.cancel()
	}
}

// attempt delivers a task once, within ctx.
func (r *runner) attempt(ctx context.Context, t task) delivery.Result {
	if t.dead != nil {
		return t.by.DeadLetter.Deliver(ctx, t.dead.event.Clone())
	}
	e, err := t.entry.copy()
	if err != nil {
		return delivery.Result{Status: http.StatusBadRequest, Err: &fault.Error{Op: "broker", Kind: fault.Invalid, Reason: reasonUnreadable, Err: err}}
	}
	return bounded(t, t.by.Sink.Deliver(ctx, e))
}

// bounded is the result of an attempt, which fails with a reply that may not pass
// the broker any more.
func bounded(t task, result delivery.Result) delivery.Result {
	if result.OK() && result.Reply != nil && t.entry.hops <= 1 {
		status, err := loopEnds()
		return delivery.Result{Status: status, Err: err}
	}
	return result
}

// fail decides what follows a failed attempt. The task is finished unless it
// was retried or sent on.
func (r *runner) fail(ctx context.Context, t task, result delivery.Result) fate {
	if t.by.Patient && (result.Status == http.StatusTooManyRequests || result.Status == http.StatusServiceUnavailable) {
		r.again(t, patience)
		return retried
	}
	if result.Retry() {
		if wait, again := t.by.Policy.Wait(t.attempt); again {
			t.attempt++
			r.again(t, wait)
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
	if e, err := t.entry.copy(); err == nil && t.by.DeadLetter != nil {
		t.dead.event = delivery.DeadLetter(e, t.by.Dest, result)
		t.dead.event.SetExtension(event.BrokerTTL, int32(t.entry.hops))
		t.attempt = 0
		r.push(t, 0)
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

// again has a task attempted once more, after wait.
func (r *runner) again(t task, wait time.Duration) {
	r.retried.Add(1)
	r.push(t, wait)
}

// push has a task wait. It holds on to nothing of the step that it was part of.
func (r *runner) push(t task, wait time.Duration) {
	t.entry = t.entry.apart()
	r.retry.push(time.Now().Add(wait), t)
}

// giveUp notes that the event of a task with a dead letter is dropped, and
// keeps the letter. What no trigger takes has nobody to be replayed to, and is
// not kept, unless it was on its way to one that was removed.
func (r *runner) giveUp(t task) {
	r.lose(t, t.dead.reason, t.dead.cause.Err)
	r.failed.Add(1)
	if r.b.opts.DeadLetters == nil || r.catchAll && len(t.entry.target()) == 0 {
		return
	}
	e, err := t.entry.head.Event(0)
	if err != nil {
		return // there is nothing that could be replayed
	}
	letter := letterOf(r.id, t, e)
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
	h := &t.entry.head
	l := ledger.Loss{
		Project: string(t.entry.project()), Stream: r.id, Offset: uint64(t.offset), Reason: reason, Detail: detail,
		Count: count, Source: string(h.Source()), ID: string(h.ID()), Type: string(h.Type()), Time: time.Now(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses = append(r.losses, l)
}
