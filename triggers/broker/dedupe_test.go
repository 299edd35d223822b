package broker_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/broker"
)

func TestDuplicates_AreAcknowledgedAndNotAppliedTwice(t *testing.T) {
	t.Parallel()
	s := newSink(nil)
	r := newRig(t, broker.Options{}, trigger("a", "t", s))
	e := reading("1", "t")
	require.Equal(t, []broker.Verdict{broker.Accepted, broker.Duplicate}, r.publish(e, e), "within a batch")
	require.Equal(t, []broker.Verdict{broker.Duplicate}, r.publish(e), "later")
	elsewhere := reading("1", "t")
	elsewhere.SetExtension(event.Project, "q")
	require.Equal(t, []broker.Verdict{broker.Accepted}, r.publish(elsewhere), "another project's events are its own")

	r.stop()
	r.start(trigger("a", "t", s))
	require.Equal(t, []broker.Verdict{broker.Duplicate, broker.Accepted}, r.publish(e, reading("2", "t")), "after a restart")
	require.ElementsMatch(t, []string{"1", "1", "2"}, s.ids(t, 3))
	r.stop()
	require.Empty(t, s.got)
}

func TestDuplicates_WindowIsBoundedAndSurvivesRestarts(t *testing.T) {
	t.Parallel()
	s := newSink(nil)
	o := broker.Options{Window: 100}
	r := newRig(t, o, trigger("a", "t", s))
	all := readings(2000, "t")
	for i := 0; i < len(all); i += 50 {
		r.publish(all[i : i+50]...)
		if i%500 == 0 {
			r.stop()
			r.start(trigger("a", "t", s))
		}
	}
	for _, e := range all[len(all)-700:] {
		require.Equal(t, []broker.Verdict{broker.Duplicate}, r.publish(e), "at least seven generations are remembered: %s", e.ID())
	}
	require.Equal(t, []broker.Verdict{broker.Accepted}, r.publish(all[0]), "the window is bounded")
}

func TestDuplicates_ConcurrentPublishersAgree(t *testing.T) {
	t.Parallel()
	s := newSink(nil)
	r := newRig(t, broker.Options{Window: 64}, trigger("a", "t", s))
	const n, publishers = 200, 8
	var accepted [publishers]int
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			events := readings(n, "t")
			if p%2 == 1 { // the opposite order, so that publishers hold each other's events
				for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
					events[i], events[j] = events[j], events[i]
				}
			}
			for i := 0; i < n; i += 20 {
				verdicts, err := r.Publish(context.Background(), events[i:i+20])
				if err != nil {
					panic(err)
				}
				for _, v := range verdicts {
					if v == broker.Accepted {
						accepted[p]++
					}
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, a := range accepted {
		sum += a
	}
	require.Equal(t, n, sum, "each event is accepted from exactly one publisher")
	s.ids(t, n)
	r.stop()
	require.Empty(t, s.got)
}
