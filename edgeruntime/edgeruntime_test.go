package edgeruntime

import (
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

func TestAgent_Delivers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		began := time.Now()
		r.start(t)
		rest(21 * time.Second) // readings at 0, 5, 10, 15 and 20 s
		s := r.agent.Status()
		require.Equal(t, StateDelivering, s.State)
		require.Equal(t, "projects/p/devices/d", s.Device)
		require.Zero(t, s.Queue.Pending)
		require.EqualValues(t, 5, s.Delivered)
		require.NotNil(t, s.Queue.FitsFor)
		r.halt(t)

		require.Equal(t, upTo(0, 5), r.platform.numbers())
		require.Len(t, r.platform.posts, 5, "an event is posted as soon as it is there")
		for i, e := range r.platform.accepted {
			require.Equal(t, event.TypeHost, e.Type())
			require.Equal(t, "//selvedge.dev/projects/p/devices/d", e.Source())
			require.True(t, e.Time().Equal(began.Add(time.Duration(i)*5*time.Second)))
			requireFigure(t, &e, "cpu/utilization", 0.25)
			for path, want := range map[string]float64{"queue/pending_events": 0, "queue/oldest_age_seconds": 0, "queue/lost_total": 0, "queue/max_bytes": DefaultMaxBytes, "agent/partial_readings": 0} {
				requireFigure(t, &e, path, want)
			}
		}
		require.Equal(t, "k1", r.platform.posts[0].key)
	})
}

func TestAgent_Batches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.silent()
		r.fill(t, some(1203)...)
		r.start(t)
		synctest.Wait()
		r.halt(t)
		require.Equal(t, some(1203), ids(r.platform.accepted)[:1203])
		for i, want := range []int{maxBatchEvents, maxBatchEvents} {
			require.Len(t, r.platform.posts[i].texts, want)
		}
		require.LessOrEqual(t, len(r.platform.posts), 4, "the reading may come after the third")
	})
}

func TestAgent_BatchBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.silent()
		pad := strings.Repeat("x", 300<<10)
		r.queue(t, textEvent("a", pad), textEvent("b", pad), textEvent("c", pad), textEvent("d", pad), textEvent("e", pad),
			textEvent("f", strings.Repeat("x", 1<<20-400)), textEvent("g", ""))
		r.start(t)
		synctest.Wait()
		r.halt(t)
		var got []string
		for _, p := range r.platform.posts {
			batch := ""
			for _, e := range p.events(t) {
				batch += e.ID()
			}
			got = append(got, batch)
		}
		require.Equal(t, []string{"abc", "de", "f"}, got[:3])
	})
}

func TestAgent_SensorInTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		n := 0
		r.config.Sensor = sensor(func(rd Reading) error {
			rd.Set("cpu/utilization", math.NaN())
			rd.Set("memory/used_bytes", 7)
			if n++; n >= 3 && n < 6 {
				return errors.New("no thermometer")
			}
			return nil
		})
		r.start(t)
		rest(41 * time.Second)
		r.halt(t)
		require.Len(t, ids(r.platform.accepted), 9)
		for _, e := range r.platform.accepted {
			requireFigure(t, &e, "memory/used_bytes", 7)
			_, ok := figure(t, &e, "cpu/utilization")
			require.False(t, ok, "JSON has no NaN")
		}
		requireFigure(t, &r.platform.accepted[8], "agent/partial_readings", 3)
		require.Equal(t, 1, strings.Count(r.log.String(), `"readings are in trouble" with=sensor`), r.log.String())
		require.Equal(t, 1, strings.Count(r.log.String(), `"readings are fine again" with=sensor`))
	})
}

func TestAgent_LastFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.platform.script = func(*post) *http.Response {
			return answer(http.StatusServiceUnavailable, "", "Retry-After", "3600")
		}
		r.start(t)
		rest(10*time.Minute + time.Second)
		r.platform.set(up)
		stopped := time.Now()
		r.halt(t)
		require.Zero(t, time.Since(stopped))
		require.Equal(t, upTo(0, 121), r.platform.numbers())
	})
}

func TestNew_OneAgentPerFolder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	_, err := New(r.config)
	require.Equal(t, fault.Conflict, fault.KindOf(err))
	_, err = Inspect(r.config.Dir, 0)
	require.Equal(t, fault.Conflict, fault.KindOf(err))
	r.halt(t)
}
