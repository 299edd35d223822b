package broker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"time"

	"selvedge.dev/sdk/event"
)

// replies are those to the events of a step, on their way to the journal.
type replies struct {
	envelopes []envelope
	// memory has their records, one after the other; ends is where each ends.
	memory []byte
	ends   []int
}

// size is the bytes of the records.
func (o *replies) size() int { return len(o.memory) }

// sealed are the envelopes with their records.
func (o *replies) sealed() []envelope {
	if cap(o.memory) > 2*len(o.memory) {
		o.memory = bytes.Clone(o.memory) // the ring of recent events keeps it
	}
	start := 0
	for i, end := range o.ends {
		o.envelopes[i].record = o.memory[start:end:end]
		start = end
	}
	return o.envelopes
}

// adopt makes e, the reply to t, belong where its cause does, whatever it says
// itself. Of the attributes that only the platform sets, the function of a
// project may set the route; the others are those of the cause.
func adopt(t task, e *event.Event) {
	cause := &t.entry.head
	own := []string{event.Project, event.Broker, event.Device, event.Blueprint}
	if t.by.Project == "" {
		own = own[:2]
	}
	for _, name := range own {
		have, set := event.Value(e, name)
		text, plain, ok := cause.Extension(name)
		if is, isText := have.(string); plain && isText && is == string(text) {
			continue // as it is in a reply that is the event itself
		}
		if v, valid := cause.Value(name); ok && valid {
			event.Set(e, name, v)
		} else if set {
			event.Set(e, name, nil)
		}
	}
	for _, name := range [...]string{event.ArrivalTime, event.BrokerTTL, event.Replay} {
		event.Set(e, name, nil)
	}
}

// reply adds the reply e to t, nil for none, to out, which may get as many more
// as left says. One that cannot be taken is noted as a loss.
func (r *runner) reply(t task, e *event.Event, out *replies, left int) {
	if e == nil {
		return
	}
	if e.Context == nil || e.ID() == "" || event.SourceOf(e) == "" || e.Type() == "" || e.SpecVersion() != "1.0" {
		r.note(t, reasonInvalidReply, "the function's reply is no CloudEvent 1.0", 1)
		return
	}
	adopt(t, e)
	v := envelope{
		origin: fromReply, key: keyOf(e, home{string(t.entry.project()), t.entry.broker()}, r.id), hops: t.entry.hops - 1, arrival: time.Now(),
		answers: t.offset + 1, by: r.id, event: e,
	}
	if out.memory == nil {
		// All of a step are much alike.
		out.memory = make([]byte, 0, min(v.size()*left, maxReplies))
		out.envelopes, out.ends = make([]envelope, 0, left), make([]int, 0, left)
	}
	start := len(out.memory)
	memory, err := v.append(out.memory)
	switch size := len(memory) - start; {
	case err != nil:
		r.note(t, reasonInvalidReply, message(err), 1)
		return
	case size > maxReply:
		r.note(t, reasonLargeReply, fmt.Sprintf("a reply of %d bytes, the bound is %d", size, maxReply), 1)
		return
	}
	v.event = nil // the record has it
	out.memory = memory
	out.envelopes = append(out.envelopes, v)
	out.ends = append(out.ends, len(memory))
}

// publish makes replies durable, trying until ctx ends: a reply that has no
// room waits for it. It reports whether it did.
func (r *runner) publish(ctx context.Context, out *replies) bool {
	wait := 10 * time.Millisecond
	envelopes := out.sealed()
	for reported := false; ; {
		_, err := r.b.append(ctx, fromReply, envelopes)
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
