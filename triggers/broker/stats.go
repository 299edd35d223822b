package broker

import (
	"strings"

	"selvedge.dev/sdk/journal"
)

// Stats are the figures of one trigger since the broker was opened.
type Stats struct {
	// Trigger is the ID of the trigger.
	Trigger string `json:"trigger"`
	// Matched and Filtered are the events that passed the filter and that did
	// not.
	Matched  int64 `json:"matched"`
	Filtered int64 `json:"filtered"`
	// Delivered, Retried, Failed and DeadLettered count attempts by outcome;
	// a Failed event is in the ledger.
	Delivered    int64 `json:"delivered"`
	Retried      int64 `json:"retried"`
	Failed       int64 `json:"failed"`
	DeadLettered int64 `json:"deadLettered"`
	// Pending is how many journal records the trigger has yet to finish.
	Pending int64 `json:"pending"`
}

// Stats returns the figures of every trigger. When all have nothing pending,
// then everything was delivered that was published before the call, and so
// were all replies: the end of the journal is read last.
func (b *Broker) Stats() []Stats {
	runners := *b.runners.Load()
	out := make([]Stats, len(runners))
	low := make([]journal.Offset, len(runners))
	for i, r := range runners {
		low[i] = r.track.low()
		out[i] = Stats{
			Trigger: r.id, Matched: r.matched.Load(), Filtered: r.filtered.Load(),
			Delivered: r.delivered.Load(), Retried: r.retried.Load(), Failed: r.failed.Load(),
			DeadLettered: r.deadLettered.Load(),
		}
	}
	end := b.journal.End()
	for i := range out {
		out[i].Pending = int64(end) - int64(low[i])
	}
	return out
}

// Journal is the figures of the broker's journal.
func (b *Broker) Journal() journal.Stats { return b.journal.Stats() }

// Idle is a trigger that was set before a restart and was not set again. Its
// cursor holds the journal until it is set or removed.
type Idle struct {
	Project string `json:"project,omitempty"`
	Name    string `json:"name"`
	// Pending is how many journal records its cursor holds.
	Pending int64 `json:"pending"`
}

// Idle are the triggers that have a cursor and are not set.
func (b *Broker) Idle() []Idle {
	var idle []Idle
	for _, c := range b.journal.Stats().Cursors {
		id, ok := strings.CutPrefix(c.Name, cursorPrefix)
		if !ok || b.find(id) != nil {
			continue
		}
		project, name := splitID(id)
		idle = append(idle, Idle{Project: project, Name: name, Pending: int64(c.Lag)})
	}
	return idle
}
