package broker_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/deadletters"
	"selvedge.dev/triggers/delivery"
)

// letterStore is a store of dead letters that lives as long as the test.
func letterStore(t *testing.T) *deadletters.SQL {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "letters"), deadletters.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return deadletters.New(db, deadletters.Options{})
}

// letters waits until project p has n letters.
func letters(t *testing.T, s deadletters.Store, n int) []deadletters.Letter {
	t.Helper()
	var found []deadletters.Letter
	require.Eventually(t, func() bool {
		var err error
		found, err = s.List(context.Background(), deadletters.Query{Project: "p", Limit: 1000})
		require.NoError(t, err)
		return len(found) == n
	}, 10*time.Second, 10*time.Millisecond, "%d letters", n)
	return found
}

func TestReplay_ToTheTriggerThatGaveUpAndNobodyElse(t *testing.T) {
	t.Parallel()
	store := letterStore(t)
	var mended atomic.Bool
	s := newSink(func(context.Context, event.Event, int) (*event.Event, error) {
		if mended.Load() {
			return nil, nil
		}
		return nil, &fault.Error{Kind: fault.Invalid, Reason: "NO_NUMBERS", Err: errors.New("no numbers")}
	})
	witness := newSink(nil)
	r := newRig(t, broker.Options{DeadLetters: store}, trigger("witness", "t", witness), of("p", "a", "", s))
	e := reading("1", "t")
	e.SetExtension("mine", "x")
	r.publish(e)
	l := letters(t, store, 1)[0]
	require.Equal(t, "p/a", l.Trigger)
	require.Equal(t, "NO_NUMBERS", l.Reason)
	require.Equal(t, "no numbers", l.Detail)
	require.Equal(t, 400, l.Status)
	require.Contains(t, string(l.Body), "NO_NUMBERS")
	require.Equal(t, 1, l.Attempts)
	require.WithinDuration(t, time.Now(), l.First, time.Minute)
	r.losses(map[string]int64{"p/a NO_NUMBERS": 1})
	s.ids(t, 1)
	witness.ids(t, 1)

	n, err := r.Replay(t.Context(), []deadletters.Letter{l}, "")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	again := <-s.got
	require.Equal(t, "1", event.Extension(&again, event.Replay))
	again = letters(t, store, 1)[0].Event
	require.Equal(t, e.String(), again.String(), "the letter has the event as it came")
	l = letters(t, store, 1)[0]
	require.Equal(t, 1, l.Replays)

	mended.Store(true)
	for range 2 { // twice the same, as after an answer that was lost
		_, err = r.Replay(t.Context(), []deadletters.Letter{l}, "")
		require.NoError(t, err)
	}
	again = <-s.got
	require.Equal(t, "2", event.Extension(&again, event.Replay))
	require.JSONEq(t, string(e.Data()), string(again.Data()))
	require.NoError(t, r.Settle(t.Context()))
	letters(t, store, 0)
	r.stop()
	require.Empty(t, s.got)
	require.Empty(t, witness.got, "nobody else")
}

func TestReplay_ToAnotherTriggerOfTheProject(t *testing.T) {
	t.Parallel()
	store := letterStore(t)
	refuse := newSink(func(context.Context, event.Event, int) (*event.Event, error) {
		return nil, &fault.Error{Kind: fault.Invalid}
	})
	other, foreign := newSink(nil), newSink(nil)
	o := of("p", "other", "", other)
	o.Filter = trigger("", "never", nil).Filter
	r := newRig(t, broker.Options{DeadLetters: store}, of("p", "a", "", refuse), o, of("q", "foreign", "", foreign))
	r.publish(reading("1", "t"))
	l := letters(t, store, 1)
	for _, to := range []string{"q/foreign", "p/nobody", broker.Unrouted} {
		_, err := r.Replay(t.Context(), l, to)
		require.Equal(t, fault.NotFound, fault.KindOf(err), to)
	}
	_, err := r.Replay(t.Context(), l, "p/other")
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, other.ids(t, 1))
	require.NoError(t, r.Settle(t.Context()))
	r.losses(map[string]int64{"p/a INVALID_ARGUMENT": 1})
}

// A letter that is on its way to a trigger when that is removed comes back.
func TestReplay_OfATriggerThatIsRemoved(t *testing.T) {
	t.Parallel()
	store := letterStore(t)
	refuse := newSink(func(context.Context, event.Event, int) (*event.Event, error) {
		return nil, &fault.Error{Kind: fault.Invalid}
	})
	r := newRig(t, broker.Options{DeadLetters: store}, of("p", "a", "", refuse))
	r.publish(reading("1", "t"))
	l := letters(t, store, 1)
	r.stop()

	// Not running, so that nothing takes the event before the trigger goes.
	b, err := broker.Open(t.Context(), broker.Options{Dir: filepath.Join(r.dir, "broker"), Ledger: forgetful{}, DeadLetters: store}, []broker.Trigger{of("p", "a", "", refuse)})
	require.NoError(t, err)
	_, err = b.Replay(t.Context(), l, "")
	require.NoError(t, err)
	letters(t, store, 0)
	require.NoError(t, b.RemoveTrigger(t.Context(), "p", "a"))
	require.NoError(t, b.Close())
	r.start()
	back := letters(t, store, 1)[0]
	require.Equal(t, "p/a", back.Trigger)
	require.Equal(t, 1, back.Replays)
}

func TestDeadLetter_SinkThatFailsToo(t *testing.T) {
	t.Parallel()
	store := letterStore(t)
	refuse := newSink(func(context.Context, event.Event, int) (*event.Event, error) {
		return nil, &fault.Error{Kind: fault.Invalid, Reason: "NO"}
	})
	tr := of("p", "a", "", refuse)
	tr.Policy, tr.DeadLetter = delivery.Policy{Retry: 1}, delivery.InProcess(newSink(func(context.Context, event.Event, int) (*event.Event, error) {
		return nil, errors.New("away")
	}))
	r := newRig(t, broker.Options{DeadLetters: store}, tr)
	r.publish(reading("1", "t"), reading("2", "unheard"))
	l := letters(t, store, 1)[0]
	require.Equal(t, "NO", l.Reason, "the subscriber's own")
	require.NoError(t, r.Settle(t.Context()))
	r.losses(map[string]int64{"p/a NO": 1, "broker NO_TRIGGER": 1})
	letters(t, store, 1)
}

// away is a store that does not take letters for a while.
type away struct {
	deadletters.Store
	gone atomic.Bool
}

// Keep implements deadletters.Store.
func (s *away) Keep(ctx context.Context, letters []deadletters.Letter) error {
	if s.gone.Load() {
		return &fault.Error{Kind: fault.Unavailable}
	}
	return s.Store.Keep(ctx, letters)
}

// A cursor does not pass what was given up before it is kept.
func TestDeadLetter_StoreThatIsAway(t *testing.T) {
	t.Parallel()
	store := &away{Store: letterStore(t)}
	store.gone.Store(true)
	refuse := newSink(func(context.Context, event.Event, int) (*event.Event, error) {
		return nil, &fault.Error{Kind: fault.Invalid, Reason: "NO"}
	})
	r := newRig(t, broker.Options{DeadLetters: store, SyncEvery: time.Millisecond}, of("p", "a", "", refuse))
	r.publish(readings(20, "t")...)
	refuse.ids(t, 20)
	require.Error(t, r.Settle(t.Context()))
	for _, c := range r.Journal().Cursors {
		if c.Name == "trigger-p/a" {
			require.EqualValues(t, 20, c.Lag)
		}
	}
	store.gone.Store(false)
	letters(t, store, 20)
	require.NoError(t, r.Settle(t.Context()))
	r.losses(map[string]int64{"p/a NO": 20})
}
