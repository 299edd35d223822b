package eventstoretest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/eventstore"
	"selvedge.dev/sdk/event"
)

// oracle is the obvious store of one project: a list, sorted oldest first.
type oracle struct {
	bound  int
	events []event.Event
	keys   map[string]bool
}

// append is what Append does.
func (o *oracle) append(events []event.Event) (done eventstore.Appended) {
	for _, e := range events {
		key := e.Source() + " " + e.ID()
		if o.keys[key] {
			done.Duplicates++
			continue
		}
		o.keys[key] = true
		done.Stored++
		o.events = append(o.events, e)
	}
	// Stable, so that those of one time stay in the order of their arrival.
	slices.SortStableFunc(o.events, func(a, b event.Event) int { return a.Time().Compare(b.Time()) })
	for len(o.events) > o.bound {
		delete(o.keys, o.events[0].Source()+" "+o.events[0].ID())
		o.events = o.events[1:]
		done.Evicted++
	}
	return done
}

// list is the ids that q selects.
func (o *oracle) list(q eventstore.Query) (ids []string) {
	for _, e := range slices.Backward(o.events) {
		if q.Type != "" && e.Type() != q.Type || q.Source != "" && e.Source() != q.Source || q.Subject != "" && e.Subject() != q.Subject ||
			e.Time().Before(q.From) || !q.To.IsZero() && !e.Time().Before(q.To) {
			continue
		}
		ids = append(ids, e.ID())
	}
	return ids
}

// model compares the store with the oracle over random histories.
func model(s *suite) {
	const histories, steps, bound, kinds = 3, 30, 25, 3
	for seed := range uint64(histories) {
		r := rand.New(rand.NewPCG(seed, 0))
		pick := func() string { return string(rune('a' + r.IntN(kinds))) }
		store, want := s.store(bound), &oracle{bound: bound, keys: map[string]bool{}}
		for step := range steps {
			var events []event.Event
			for range r.IntN(4) {
				e := at(fmt.Sprint(r.IntN(60)), r.IntN(10))
				e.SetSource(pick())
				e.SetType(pick())
				e.SetSubject(pick())
				events = append(events, e)
			}
			require.Equal(s, want.append(events), s.append(store, events...), "seed %d step %d", seed, step)
			q := eventstore.Query{PageSize: 1 + r.IntN(8)}
			for _, field := range []*string{&q.Type, &q.Source, &q.Subject} {
				if r.IntN(3) == 0 {
					*field = pick()
				}
			}
			if r.IntN(2) == 0 {
				q.From = noon.Add(time.Duration(r.IntN(10)) * time.Second)
			}
			if r.IntN(2) == 0 {
				q.To = noon.Add(time.Duration(r.IntN(10)) * time.Second)
			}
			require.Equal(s, want.list(q), s.all(store, q), "seed %d step %d: %+v", seed, step, q)
		}
	}
}
