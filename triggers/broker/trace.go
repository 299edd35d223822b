package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/triggers/deadletters"
	"selvedge.dev/triggers/filter"
)

// Trace is what became of an event and of all replies to it, as far as the
// journal still has them, in the order that they came in.
type Trace struct {
	Events []TracedEvent `json:"events"`
	// Truncated says that there are more replies than a trace shows.
	Truncated bool `json:"truncated,omitempty"`
}

// TracedEvent is an event and every trigger of its broker that could have taken
// it.
type TracedEvent struct {
	// Offset is its place in the journal.
	Offset  uint64 `json:"offset,string"`
	ID      string `json:"id"`
	Source  string `json:"source"`
	Type    string `json:"type"`
	Subject string `json:"subject,omitempty"`
	Broker  string `json:"broker"`
	// ArrivalTime is when the broker took it, TTL how often its replies may
	// still pass.
	ArrivalTime time.Time `json:"arrivalTime"`
	TTL         int       `json:"ttl"`
	// ReplyTo is the offset of the event that this one is a reply to, RepliedBy
	// the trigger whose function replied.
	ReplyTo   *uint64 `json:"replyTo,omitempty,string"`
	RepliedBy string  `json:"repliedBy,omitempty"`
	// ReplayedTo is the one trigger that a replayed event is for.
	ReplayedTo string `json:"replayedTo,omitempty"`
	// Unrouted says that no trigger takes it.
	Unrouted bool `json:"unrouted,omitempty"`
	// Forgotten says that the journal has the event no more, and that only what
	// its dead letters say is known.
	Forgotten bool            `json:"forgotten,omitempty"`
	Triggers  []TracedTrigger `json:"triggers"`
}

// The states of an event with a trigger.
const (
	// StateNotMatched: the filter does not want it.
	StateNotMatched = "NOT_MATCHED"
	// StateBeganLater: the trigger is newer than the event.
	StateBeganLater = "BEGAN_LATER"
	// StatePending: it is to be delivered, or delivered again.
	StatePending = "PENDING"
	// StateDelivered: the subscriber took it.
	StateDelivered = "DELIVERED"
	// StateDeadLettered: the dead letter sink took it.
	StateDeadLettered = "DEAD_LETTERED"
	// StateGivenUp: it was given up, and is among the dead letters.
	StateGivenUp = "GIVEN_UP"
	// StateDone: the trigger is done with it, and the attempts are forgotten.
	StateDone = "DONE"
)

// TracedTrigger is what a trigger made of an event. Whether it matches, and
// why, is computed anew from the filter that the trigger has now.
type TracedTrigger struct {
	Trigger     string              `json:"trigger"`
	State       string              `json:"state"`
	Matched     bool                `json:"matched"`
	Why         []string            `json:"why,omitempty"`
	Explanation *filter.Explanation `json:"explanation,omitempty"`
	Attempts    []TracedAttempt     `json:"attempts,omitempty"`
	// NextAttempt is when a pending event is attempted again; it is not there
	// for one that waits for its turn.
	NextAttempt *time.Time `json:"nextAttempt,omitempty"`
	// Replies are the ids of the events that the subscriber replied.
	Replies []string `json:"replies,omitempty"`
	// DeadLetter is the id of the letter that was kept.
	DeadLetter string `json:"deadLetter,omitempty"`
}

// TracedAttempt is one attempt at a delivery.
type TracedAttempt struct {
	Number         int           `json:"number"`
	Time           time.Time     `json:"time"`
	Duration       time.Duration `json:"durationNanos"`
	Status         int           `json:"status"`
	Outcome        string        `json:"outcome"`
	Answer         string        `json:"answer,omitempty"`
	DeadLetterSink bool          `json:"deadLetterSink,omitempty"`
}

// TraceQuery names the event to trace.
type TraceQuery struct {
	// Project is whose event it is; those of others are not seen.
	Project string
	// ID is the event's, Source too unless it is "": any event with that id.
	ID, Source string
}

// The bounds of a trace.
const (
	// maxTraced is how many events a trace shows: a loop of replies and some
	// beside it.
	maxTraced = 500
	// traces is how many are computed at once: each reads the journal from its
	// begin, which is half a second a gigabyte.
	traces = 2
	// traceBytes is how much of the journal is read at once.
	traceBytes = 1 << 20
)

// Trace returns what became of an event. NotFound means that neither the
// journal nor the dead letters know it: what every trigger is done with is
// forgotten, some 65,536 events later.
func (b *Broker) Trace(ctx context.Context, q TraceQuery) (*Trace, error) {
	select {
	case b.tracing <- struct{}{}:
		defer func() { <-b.tracing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("trace: %w", ctx.Err())
	}
	found, truncated, err := b.search(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	letters := map[string][]deadletters.Letter{}
	if b.opts.DeadLetters != nil {
		all, err := b.opts.DeadLetters.List(ctx, deadletters.Query{Project: q.Project, EventID: q.ID, Source: q.Source})
		if err != nil {
			return nil, fmt.Errorf("trace: %w", err)
		}
		for _, l := range all {
			letters[place(l.Trigger, journal.Offset(l.Offset))] = append(letters[place(l.Trigger, journal.Offset(l.Offset))], l)
		}
	}
	out := &Trace{Truncated: truncated}
	for _, f := range found {
		out.Events = append(out.Events, b.traced(f, found, letters))
	}
	for _, kept := range letters {
		for i := range kept {
			out.Events = append(out.Events, forgotten(&kept[i]))
		}
	}
	if len(out.Events) == 0 {
		return nil, &fault.Error{
			Op: "broker.Trace", Name: q.ID, Kind: fault.NotFound, Reason: "EVENT_NOT_RETAINED", Err: errors.New("no event with this id is retained"),
		}
	}
	slices.SortStableFunc(out.Events, func(a, b TracedEvent) int { return a.ArrivalTime.Compare(b.ArrivalTime) })
	return out, nil
}

// place identifies an event with a trigger.
func place(trigger string, offset journal.Offset) string { return fmt.Sprint(trigger, "@", offset) }

// located is an event at its place in the journal.
type located struct {
	*entry
	event *event.Event
}

// search finds the events of a query, and the replies to them, in the journal.
// Records that cannot be it are told by their bytes, without decoding them.
func (b *Broker) search(ctx context.Context, q TraceQuery) (found []located, truncated bool, err error) {
	known := map[journal.Offset]bool{}
	var batch journal.Batch
	for from, end := b.journal.First(), b.journal.End(); from < end; from = batch.Next() {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		if err := b.journal.Read(from, &batch, traceBytes); err != nil {
			return nil, false, err
		}
		if batch.Len() == 0 && batch.Next() <= from {
			break
		}
		for i := range batch.Len() {
			rec := batch.At(i)
			named := bytes.Contains(rec.Data, []byte(q.ID))
			if !named && len(known) == 0 {
				continue
			}
			var v entry
			if err := v.read(rec.Offset, rec.Data); err != nil {
				return nil, false, fmt.Errorf("offset %d: %w", rec.Offset, err)
			}
			is := string(v.head.ID()) == q.ID && (q.Source == "" || string(v.head.Source()) == q.Source)
			reply := v.answers > 0 && known[v.answers-1]
			if string(v.project()) != q.Project || !is && !reply {
				continue
			}
			f := located{entry: &v}
			if err := v.read(rec.Offset, bytes.Clone(rec.Data)); err != nil {
				return nil, false, fmt.Errorf("offset %d: %w", rec.Offset, err)
			}
			if f.event, err = v.seen(); err != nil {
				return nil, false, fmt.Errorf("offset %d: %w", rec.Offset, err)
			}
			if len(found) == maxTraced {
				return found, true, nil
			}
			known[rec.Offset] = true
			found = append(found, f)
		}
	}
	return found, false, nil
}

// traced is what became of the event f; all are those of the trace. It takes
// the letters that are the event's out of the map.
func (b *Broker) traced(f located, all []located, letters map[string][]deadletters.Letter) TracedEvent {
	out := TracedEvent{
		Offset: uint64(f.offset), ID: f.event.ID(), Source: f.event.Source(), Type: f.event.Type(), Subject: f.event.Subject(),
		Broker: f.broker(), ArrivalTime: f.time(), TTL: int(f.hops), RepliedBy: string(f.by()), ReplayedTo: string(f.target()),
		Unrouted: !b.routes.Load().taken(f.entry), Triggers: []TracedTrigger{},
	}
	if f.answers > 0 {
		out.ReplyTo = new(uint64(f.answers - 1))
	}
	for _, r := range *b.runners.Load() {
		s := r.spec.Load()
		if target := string(f.target()); r.catchAll || target == "" && !s.covers(f.entry) || target != "" && target != r.id {
			continue
		}
		t := r.traced(s, f)
		for _, reply := range all {
			if reply.answers == f.offset+1 && string(reply.by()) == r.id {
				t.Replies = append(t.Replies, reply.event.ID())
			}
		}
		at := place(r.id, f.offset)
		for _, l := range letters[at] {
			t.DeadLetter, t.State = strconv.FormatInt(l.ID, 10), StateGivenUp
		}
		delete(letters, at)
		out.Triggers = append(out.Triggers, t)
	}
	return out
}

// traced is what the trigger, as it is now, made of the event f.
func (r *runner) traced(s *spec, f located) TracedTrigger {
	t := TracedTrigger{Trigger: r.id, Matched: true}
	if len(f.target()) == 0 {
		x := filter.Explain(s.Filter, f.event)
		t.Matched, t.Explanation = x.Passed, &x
		for _, d := range x.Decisive() {
			if why := d.Why; why != "" {
				t.Why = append(t.Why, d.Clause+": "+why)
			}
		}
	}
	if f.offset < journal.Offset(r.since.Load()) {
		t.State = StateBeganLater
		return t
	}
	finished := r.track.finished(f.offset) // asked before the attempts: what is finished has them
	for _, a := range r.history.of(f.offset) {
		t.Attempts = append(t.Attempts, TracedAttempt{
			Number: int(a.n) + 1, Time: time.UnixMicro(a.at).UTC(), Duration: time.Duration(a.took) * time.Microsecond, Status: int(a.status),
			Outcome: fates[a.fate], Answer: a.text, DeadLetterSink: a.dead,
		})
		switch {
		case a.fate == givenUp:
			t.State = StateGivenUp
		case a.fate == taken && a.dead:
			t.State = StateDeadLettered
		case a.fate == taken:
			t.State = StateDelivered
		default:
			t.State = ""
		}
	}
	switch due, waiting := r.retry.due(f.offset); {
	case waiting:
		t.State, t.NextAttempt = StatePending, &due
	case t.State != "":
	case !t.Matched:
		t.State = StateNotMatched
	case finished:
		t.State = StateDone
	default:
		t.State = StatePending
	}
	return t
}

// forgotten is what a letter says of an event that the journal has no more, or
// of a trigger that there is no more.
func forgotten(l *deadletters.Letter) TracedEvent {
	return TracedEvent{
		Offset: l.Offset, ID: l.Event.ID(), Source: l.Event.Source(), Type: l.Event.Type(), Subject: l.Event.Subject(),
		Broker: l.Broker, ArrivalTime: l.First, Forgotten: true,
		Triggers: []TracedTrigger{{
			Trigger: l.Trigger, State: StateGivenUp, Matched: true, DeadLetter: strconv.FormatInt(l.ID, 10),
			Attempts: []TracedAttempt{{Number: l.Attempts, Time: l.Last, Status: l.Status, Outcome: fates[givenUp], Answer: l.Detail}},
		}},
	}
}
