package eventing_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/eventing"
	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
)

// noted are Triggers that note where a trigger led, one time after the other.
type noted struct{ dests []string }

// SetTrigger implements eventing.Triggers.
func (n *noted) SetTrigger(_ context.Context, t broker.Trigger) error {
	n.dests = append(n.dests, t.Dest)
	return nil
}

// RemoveTrigger implements eventing.Triggers.
func (n *noted) RemoveTrigger(context.Context, string, string) error { return nil }

// Idle implements eventing.Triggers.
func (n *noted) Idle() []broker.Idle { return nil }

// A trigger is never set to what it was before, though its subscriber changes
// at the same time and has it set as well.
func TestTrigger_NeverGoesBack(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "o.db"), object.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	store, err := object.Open(t.Context(), db, append(eventing.Kinds(), service), object.Options{})
	require.NoError(t, err)
	set := &noted{}
	e := eventing.New(eventing.Options{
		Store: store, Triggers: set, URL: func() string { return "http://here" },
		Service: func(string, string) delivery.Sink { return sink{} },
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = e.Run(ctx) })
	w := &world{t: t, store: store}
	w.address(w.create(service.Key(), "p", "fn", `{}`))
	w.create(eventing.Trigger, "p", "t", toFn)

	changed := make(chan struct{})
	var touching sync.WaitGroup
	touching.Go(func() {
		for n := int64(0); ; n++ {
			select {
			case <-changed:
				return
			default:
			}
			if o, err := store.Get(service.Key(), "p", "fn"); err == nil {
				o.Set(n, "status", "touched")
				_, _ = store.UpdateStatus(t.Context(), o)
			}
		}
	})
	const last = 300
	for n := 1; n <= last; {
		o, err := store.Get(eventing.Trigger, "p", "t")
		require.NoError(t, err)
		o.Set(fmt.Sprintf("/%03d", n), "spec", "subscriber", "uri")
		if _, err = store.Update(t.Context(), o); err == nil {
			n++
		}
	}
	close(changed)
	touching.Wait()
	w.until("p", "t", "True")
	cancel()
	running.Wait()

	require.IsNonDecreasing(t, set.dests)
	require.Equal(t, fmt.Sprintf("http://here/functions/p/fn/%03d", last), set.dests[len(set.dests)-1])
}
