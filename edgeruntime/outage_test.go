package edgeruntime

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/journal"
)

// A week without the platform and with room for a few hours: what comes out at
// the end is the newest part of what went in, in order, and what is missing is
// what was counted.
func TestAgent_OutageOfAWeek(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const interval, week = time.Minute, 7 * 24 * time.Hour
		r := newRig(t)
		r.config.fs, r.config.Interval, r.config.MaxBytes = newMemory(), interval, minMaxBytes
		r.platform.down = true
		r.start(t)
		rest(week + time.Second)
		s := r.agent.Status()
		require.Equal(t, StateRetrying, s.State)
		require.Contains(t, s.Problem, errLink.Error())
		require.Positive(t, s.Lost[journal.LostEvicted])
		require.InDelta(t, s.Queue.OldestAge, float64(s.Queue.Pending)*interval.Seconds(), 2*interval.Seconds())
		require.LessOrEqual(t, s.Queue.Bytes, s.Queue.MaxBytes)
		require.Less(t, len(r.platform.posts), int(week/(20*time.Second)), "attempts are spread to one in half a minute")

		r.platform.set(up)
		rest(2 * time.Minute)
		r.halt(t)
		s = r.agent.Status()
		require.Zero(t, s.Queue.Pending)
		produced, lost := int(r.agent.sampler.n), int(s.LostTotal())
		require.Equal(t, int((week+2*time.Minute)/interval)+1, produced)
		require.Equal(t, s.Lost[journal.LostEvicted], s.LostTotal(), "no other losses")
		require.Equal(t, upTo(lost, produced), r.platform.numbers())
		last := r.platform.accepted[len(r.platform.accepted)-1]
		for _, path := range []string{"queue/lost_total", "queue/lost/evicted"} {
			requireFigure(t, &last, path, float64(lost))
		}

		// The counts are still there after a restart.
		r.start(t)
		require.EqualValues(t, lost, r.agent.Status().Lost[journal.LostEvicted])
		r.halt(t)
	})
}

// Answers that say nothing of the events: whatever they are, everything stays.
// The platform's own word that a batch can never succeed costs only the event
// that it is about.
// What is settled before the first event without a final verdict moves on; the
// rest is sent again, in order.
// The wall clock steps back a year, to 1970, and forward again: the pace, the
// order and the ids do not care, and no age is negative.
func TestAgent_ClockSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		began := time.Now()
		r.config.Now = func() time.Time {
			now := time.Now()
			switch d := now.Sub(began); {
			case d < 20*time.Second:
				return now
			case d < 40*time.Second:
				return now.AddDate(-1, 0, 0)
			case d < time.Minute:
				return time.Unix(3, 0)
			default:
				return now.AddDate(1, 0, 0)
			}
		}
		r.platform.down = true
		r.start(t)
		for range 20 {
			rest(5 * time.Second)
			require.GreaterOrEqual(t, r.agent.Status().Queue.OldestAge, 0.0)
		}
		r.platform.set(up)
		rest(2 * time.Minute)
		r.halt(t)
		require.Equal(t, upTo(0, int(r.agent.sampler.n)), r.platform.numbers())
		require.Greater(t, len(r.platform.accepted), 40)
		require.EqualValues(t, 3, r.platform.accepted[9].Time().Unix())
	})
}

// A full disk takes no readings; with room again it does, without a restart.
func TestAgent_FullDisk(t *testing.T) {
	t.Parallel()
	for name, breakDisk := range map[string]func(*memory){
		"Full":   func(m *memory) { m.limit(0) },
		"Broken": func(m *memory) { m.fail(errors.New("input/output error")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				disk := newMemory()
				r.config.fs, r.config.MaxBytes = disk, 4<<20 // segments of 512 KiB
				r.platform.down = true
				r.start(t)
				rest(time.Minute)
				breakDisk(disk)
				rest(6 * time.Hour)
				s := r.agent.Status()
				require.Positive(t, s.Lost[lostUnwritten])
				require.Equal(t, 1, strings.Count(r.log.String(), `"readings are in trouble" with=queue`), r.log.String())

				disk.fail(nil)
				disk.unlimit()
				r.platform.set(up)
				rest(10 * time.Minute)
				ledger, err := os.ReadFile(filepath.Join(r.config.Dir, ledgerFile))
				require.NoError(t, err, "the ledger is written as soon as there is room, not at the end")
				require.Contains(t, string(ledger), lostUnwritten)
				r.halt(t)
				s = r.agent.Status()
				require.Zero(t, s.Queue.Pending)
				got := r.platform.numbers()
				require.IsIncreasing(t, got)
				require.Equal(t, int(r.agent.sampler.n), len(got)+int(s.LostTotal()))
				require.Contains(t, r.log.String(), `"readings are fine again" with=queue`)

				r.start(t)
				require.Equal(t, s.Lost, r.agent.Status().Lost, "what the disk did not take is known to it now")
				r.halt(t)
			})
		})
	}
}

// hung is a transport that answers nothing until its request is given up.
type hung struct{ posts chan time.Time }

// RoundTrip implements http.RoundTripper.
func (h hung) RoundTrip(r *http.Request) (*http.Response, error) {
	h.posts <- time.Now()
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

// A platform that hangs holds up neither a stop, for longer than grace, nor the
// next attempt, for longer than a post may take.
func TestAgent_HungPlatform(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		posts := make(chan time.Time, 100)
		r.config.Transport = hung{posts}
		r.start(t)
		rest(100 * time.Second)
		require.GreaterOrEqual(t, len(posts), 2)
		stopped := time.Now()
		r.halt(t)
		require.LessOrEqual(t, time.Since(stopped), grace)

		r.config.Transport = r.platform
		before := r.agent.sampler.n
		r.start(t)
		synctest.Wait()
		r.halt(t)
		require.Len(t, ids(r.platform.accepted), int(before)+1, "the next start sends what was left")
	})
}

// A stop during a long wait makes one more attempt, with everything there is.
