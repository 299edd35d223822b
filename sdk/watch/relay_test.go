package watch_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/watch"
)

// broker takes events, and sometimes fails.
type broker struct {
	mu     sync.Mutex
	events []event.Event
	// fails is how many calls fail; after is whether they fail once the events
	// were taken.
	fails int
	after bool
}

// publish takes events.
func (b *broker) publish(_ context.Context, events []event.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	failing := b.fails > 0
	if failing {
		b.fails--
	}
	if !failing || b.after {
		b.events = append(b.events, events...)
	}
	if failing {
		return &fault.Error{Kind: fault.Unavailable}
	}
	return nil
}

// ids are the ids of the events.
func (b *broker) ids() (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		out = append(out, e.ID())
	}
	return out
}

// relay runs a Relay until the function that it returns is called.
func (w *world) relay(b *broker, o watch.RelayOptions) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- watch.NewRelay(w.st, b.publish, o).Run(ctx) }()
	return func() {
		cancel()
		require.NoError(w.t, <-done)
	}
}

// TestRelay_Events shows what the event of a change is, and that it has no
// secrets. DESIGN decision 3.
func TestRelay_Events(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		b := new(broker)
		defer w.relay(b, watch.RelayOptions{})()
		ctx := store.WithInfo(context.Background(), store.Info{Principal: "users/u", RequestID: "q1"})
		o := robot("a", "1", 1)
		require.NoError(w.t, w.st.Run(ctx, store.Transaction, func(ctx context.Context) error {
			return w.st.Save(ctx, o, store.SaveOptions{})
		}))
		changed := robot("a", "1", 2)
		changed.Spec.Pin = "other secret"
		w.save(changed)
		w.remove("a")
		later(time.Minute)
		var kinds []string
		for i, e := range b.events {
			require.NoError(w.t, e.Validate())
			kinds = append(kinds, e.Type())
			require.Equal(w.t, "//selvedge.dev/sample.selvedge.dev", e.Source())
			require.Equal(w.t, name("a"), e.Subject())
			require.Equal(w.t, "p", event.Extension(&e, event.Project))
			require.NotContains(w.t, string(e.Data()), "secret")
			var c resourcev1.ChangeEvent
			require.NoError(w.t, protojson.Unmarshal(e.Data(), &c))
			require.Equal(w.t, name("a"), c.GetName())
			require.Equal(w.t, i == 0, c.GetBefore() == "")
			require.Equal(w.t, i == 2, c.GetAfter() == "")
			switch i {
			case 0:
				require.Equal(w.t, []string{"users/u", "q1"}, []string{c.GetPrincipal(), c.GetRequestId()})
				var after samplev1.Robot
				require.NoError(w.t, protojson.Unmarshal([]byte(c.GetAfter()), &after))
				require.Equal(w.t, "1", after.GetDisplayName())
			case 1:
				require.Equal(w.t, []string{"metadata.resource_version", "spec.power"}, c.GetPaths())
			}
		}
		const typ = "selvedge.sample.v1.Robot"
		require.Equal(w.t, []string{typ + watch.Created, typ + watch.Updated, typ + watch.Deleted}, kinds)
	})
}

// TestRelay_Wanted shows that what nobody wants is passed by, which is asked
// before the data is made.
func TestRelay_Wanted(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		b := new(broker)
		asked := 0
		defer w.relay(b, watch.RelayOptions{Wanted: func(e event.Event) bool {
			asked++
			require.Empty(w.t, e.Data())
			require.Equal(w.t, "application/json", e.DataContentType())
			return strings.HasSuffix(e.Type(), watch.Deleted)
		}})()
		w.save(robot("a", "1", 1), robot("b", "1", 1))
		w.remove("a")
		later(time.Minute)
		require.Equal(w.t, 3, asked)
		require.Len(w.t, b.events, 1)
		require.Equal(w.t, name("a"), b.events[0].Subject())
	})
}

// TestRelay_LargeObjects shows that what is too large for an event is left out of
// it.
func TestRelay_LargeObjects(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		b := new(broker)
		defer w.relay(b, watch.RelayOptions{})()
		w.save(robot("a", strings.Repeat("x", 1<<20), 1), robot("a", "2", 1))
		later(time.Minute)
		require.Len(w.t, b.events, 2)
		for _, e := range b.events {
			require.Less(w.t, len(e.Data()), 1<<20)
			require.Contains(w.t, string(e.Data()), `"display_name"`)
		}
	})
}

// TestRelay_AtLeastOnceInOrder shows that events are published in the order of
// the commits, and that what comes again after a failure or a crash has the same
// ids.
func TestRelay_AtLeastOnceInOrder(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		b := new(broker)
		for round := range 20 {
			stop := w.relay(b, watch.RelayOptions{})
			b.mu.Lock()
			b.fails, b.after = round%3, round%2 == 0
			b.mu.Unlock()
			for i := range 10 {
				w.save(robot(strconv.Itoa(i), strconv.Itoa(round), 1))
			}
			if round%4 != 0 {
				later(10 * time.Minute)
			}
			stop()
		}
		defer w.relay(b, watch.RelayOptions{})()
		later(10 * time.Minute)
		var first []string
		seen := map[string]bool{}
		for _, id := range b.ids() {
			if !seen[id] {
				seen[id] = true
				first = append(first, id)
			}
		}
		require.Len(w.t, first, 200)
		var origin string
		last := 0
		for _, id := range first {
			i := len(id) - 1
			for id[i] != '-' {
				i--
			}
			n, err := strconv.Atoi(id[i+1:])
			require.NoError(w.t, err)
			require.Greater(w.t, n, last)
			if last = n; origin == "" {
				origin = id[:i]
			}
			require.Equal(w.t, origin, id[:i])
		}
		require.Len(w.t, origin, 36)
	})
}

// TestRelay_Trims shows that the store keeps the last changes, and those that
// somebody has not read.
func TestRelay_Trims(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		kept := func() int {
			w.t.Helper()
			for after := store.Seq(0); ; after++ {
				changes, err := w.st.Driver().Changes(w.t.Context(), after, 1<<20)
				if fault.ReasonOf(err) == "CHANGES_EXPIRED" {
					continue
				}
				require.NoError(w.t, err)
				return len(changes)
			}
		}
		held := make(chan struct{})
		w.run(func(ctx context.Context) error {
			first := true
			return w.st.Tail(ctx, "slow", func(ctx context.Context, _ []store.Change) error {
				if first {
					first = false
					return nil
				}
				select {
				case <-held:
				case <-ctx.Done():
					return ctx.Err()
				}
				return nil
			})
		})
		w.save(robot("a", "0", 1))
		later(time.Minute)
		defer w.relay(new(broker), watch.RelayOptions{Keep: 32})()
		for i := range 200 {
			w.save(robot("a", fmt.Sprint("x", i), 1))
			later(time.Second)
		}
		n := kept()
		close(held)
		later(time.Minute)
		for i := range 10 {
			w.save(robot("a", fmt.Sprint("y", i), 1))
			later(time.Second)
		}
		require.GreaterOrEqual(w.t, n, 200)
		require.LessOrEqual(w.t, kept(), 36)
		require.GreaterOrEqual(w.t, kept(), 10)
	})
}
