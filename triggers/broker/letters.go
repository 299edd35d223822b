package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/types"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/deadletters"
)

// maxHeld bounds the bytes of dead letters of a trigger that are not in the
// store yet; beyond it those who fail wait for the store.
const maxHeld = 4 << 20

// letterOf is the letter of a task that the trigger with that ID gave up, whose
// event is e, its own. An event that no trigger took is a letter of the one that
// it was for.
func letterOf(id string, t task, e event.Event) deadletters.Letter {
	cause := t.dead.cause
	l := deadletters.Letter{
		Project: string(t.entry.project()), Broker: t.entry.broker(), Trigger: cmp.Or(string(t.entry.target()), id), Offset: uint64(t.offset),
		Reason: t.dead.reason, Detail: message(cause.Err), Status: cause.Status, Body: cause.Body,
		Attempts: t.dead.attempts, Replays: replays(&e), First: time.UnixMilli(t.first), Last: time.Now(),
	}
	if l.Replays > 0 {
		e.SetExtension(event.Replay, nil)
	}
	l.Event = e
	return l
}

// replays is how many times an event was replayed.
func replays(e *event.Event) int {
	v, _ := event.Value(e, event.Replay)
	n, err := types.ToInteger(v)
	if err != nil {
		return 0
	}
	return int(n)
}

// full reports whether more letters should wait for the store.
func (r *runner) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held > maxHeld
}

// keepLetters gives the letters since the last time to the store. What it does
// not take is kept for the next time.
func (r *runner) keepLetters(ctx context.Context) error {
	r.mu.Lock()
	letters, held := r.letters, r.held
	r.letters, r.held = nil, 0
	r.mu.Unlock()
	if len(letters) == 0 {
		return nil
	}
	if err := r.b.opts.DeadLetters.Keep(ctx, letters); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.letters, r.held = append(letters, r.letters...), held+r.held
		return err
	}
	return nil
}

// DeadLetters is the store of the events that were given up, nil for none.
func (b *Broker) DeadLetters() deadletters.Store { return b.opts.DeadLetters }

// replayBatch is how many letters go back to the journal at once.
const replayBatch = 64

// Replay has the trigger with that ID deliver the events of letters again,
// whatever its filter says: each as it came, with the number of its replays in
// the attribute event.Replay. "" is the trigger that gave each up. The letters
// leave the store once their events are in the journal; what fails again comes
// back. The letters are of one project, whose trigger it must be, or the
// platform's own. The answer is how many are on their way, also beside an
// error: NotFound is a trigger that is not set.
func (b *Broker) Replay(ctx context.Context, letters []deadletters.Letter, to string) (int, error) {
	for n := 0; n < len(letters); n += replayBatch {
		if err := b.replay(ctx, letters[n:min(n+replayBatch, len(letters))], to); err != nil {
			return n, fmt.Errorf("replay: %w", err)
		}
	}
	return len(letters), nil
}

// replay is Replay of a few letters.
func (b *Broker) replay(ctx context.Context, letters []deadletters.Letter, to string) error {
	if used := b.used.read(b.journal); used >= b.opts.MaxBytes {
		return &fault.Error{Op: "broker.Replay", Kind: fault.Exhausted, Reason: "BROKER_FULL", Err: full{used, b.opts.MaxBytes}}
	}
	envelopes := make([]envelope, len(letters))
	ids := make([]int64, len(letters))
	for i, l := range letters {
		target := cmp.Or(to, l.Trigger)
		project, _ := splitID(target)
		if r := b.find(target); r == nil || r.catchAll || project != "" && project != l.Project {
			return &fault.Error{
				Op: "broker.Replay", Name: target, Kind: fault.NotFound, Reason: "NO_SUCH_TRIGGER", Err: errors.New("there is no such trigger now"),
			}
		}
		e := event.Clone(&l.Event)
		e.SetExtension(event.Replay, int32(l.Replays+1))
		at := home{l.Project, cmp.Or(l.Broker, DefaultBroker)}
		envelopes[i] = envelope{
			origin: fromReplay, key: keyOf(&e, at, fmt.Sprint(target, "#", l.Replays+1, "@", l.Offset)), hops: maxHops,
			arrival: time.Now(), target: target, event: &e,
		}
		ids[i] = l.ID
	}
	if _, err := b.append(ctx, fromReplay, envelopes); err != nil {
		return err
	}
	return b.opts.DeadLetters.Remove(ctx, letters[0].Project, ids)
}

// loopEnds is the outcome of a delivery whose reply may not pass the broker any
// more: on Knative the broker refuses the reply, which fails the delivery.
func loopEnds() (status int, err error) {
	return http.StatusBadRequest, &fault.Error{
		Op: "broker", Kind: fault.Invalid, Reason: reasonLoop, Err: errors.New("the event and its replies passed the broker too often"),
	}
}
