package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// The load of the crash tests: senders that post batches as fast as they are
// answered. Of each batch the first events are of a registered device, the
// rest of one that nobody registered.
const (
	senders   = 4
	known     = 20
	unknown   = 3
	crashRuns = 6
)

// sender posts batches and counts them: sent is how many were begun,
// answered how many got their 2xx. A batch without an answer may have been
// taken or not.
type sender struct {
	name           string
	sent, answered atomic.Int64
	// open are the numbers of the batches without an answer.
	open []int64
}

// batch is the events of batch n: at distinct instants, so that each is a
// point of its own.
func (s *sender) batch(n int64) []map[string]any {
	var events []map[string]any
	for i := range known {
		k := n*known + int64(i)
		events = append(events, reading(s.name, fmt.Sprintf("k%d", k), base.Add(time.Duration(k)*time.Millisecond), map[string]any{"n": k}))
	}
	for i := range unknown {
		events = append(events, reading("nobody-"+s.name, fmt.Sprintf("u%d-%d", n, i), base, map[string]any{"n": 1}))
	}
	return events
}

// send posts batches until there is no answer, then returns. A batch that got
// no answer is posted again first, as a device does.
func (s *sender) send(ctx context.Context, p *process.Platform) {
	retry := s.open
	s.open = nil
	for ctx.Err() == nil {
		var n int64
		if len(retry) > 0 {
			n, retry = retry[0], retry[1:]
		} else {
			n = s.sent.Add(1) - 1
		}
		status, body := postBatch(ctx, p, process.AdminKey, s.batch(n))
		switch status {
		case 202:
			s.answered.Add(1)
		case 0, 503: // gone, or going
			s.open = append(append(s.open, n), retry...)
			return
		default:
			panic(fmt.Sprintf("status %d: %s", status, body))
		}
	}
}

// TestCrash_AcknowledgedEventsAreThereExactlyOnce kills the platform under load
// again and again. In the end every acknowledged reading is one point, and the
// loss ledger has counted every acknowledged event of the unknown device once.
func TestCrash_AcknowledgedEventsAreThereExactlyOnce(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	all := make([]*sender, senders)
	for i := range all {
		all[i] = &sender{name: fmt.Sprint("d", i)}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for run := range crashRuns {
		p := start(t, data)
		if run == 0 {
			for _, s := range all {
				register(t, p, s.name)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		target := random.Int64N(120) + 10
		begin := answered(all)
		for _, s := range all {
			wg.Go(func() { s.send(ctx, p) })
		}
		// The moment of the kill is a random number of answers, not a time.
		require.Eventually(t, func() bool { return answered(all)-begin >= target }, 60*time.Second, time.Millisecond)
		require.NoError(t, p.Kill())
		cancel()
		wg.Wait()
	}

	p := start(t, data)
	for _, s := range all { // what was never answered is posted a last time
		for _, n := range s.open {
			status, body := postBatch(t.Context(), p, process.AdminKey, s.batch(n))
			require.Equal(t, 202, status, "%s", body)
			s.answered.Add(1)
		}
	}
	drained(t, p)
	batches := int64(0)
	for _, s := range all {
		require.Equal(t, s.sent.Load(), s.answered.Load())
		batches += s.sent.Load()
		require.Equal(t, s.sent.Load()*known, countPoints(t, p, s.name), "points of %s", s.name)
	}
	require.Eventually(t, func() bool { return losses(t, p)["processor UNKNOWN_DEVICE"] == batches*unknown }, startTimeout, 10*time.Millisecond,
		"%d unknown events, the ledger says %v", batches*unknown, losses(t, p))
	stop(t, p)
}

// answered is how many batches of all senders were answered.
func answered(all []*sender) int64 {
	n := int64(0)
	for _, s := range all {
		n += s.answered.Load()
	}
	return n
}

// countPoints counts the points of a device's metric n, by asking for them,
// and checks that each has the value that was sent at its time.
func countPoints(t *testing.T, p *process.Platform, device string) int64 {
	t.Helper()
	series := querySeries(t, p, url.Values{
		"filter":             {fmt.Sprintf(`metric.type = "com.example.climate/n" AND resource.labels.device_id = %q`, device)},
		"interval.startTime": {base.Add(-time.Second).Format(time.RFC3339Nano)}, "interval.endTime": {base.Add(time.Hour).Format(time.RFC3339Nano)},
	})["com.example.climate/n "+device]
	for i, pt := range series {
		require.Equal(t, base.Add(time.Duration(i)*time.Millisecond), pt.at, "point %d", i)
		require.Equal(t, fmt.Sprint(i), pt.value, "point %d", i)
	}
	return int64(len(series))
}

// TestStop_DrainsUnderLoad stops the platform as Ctrl-C does while events come
// in: what was acknowledged is there after the next start.
func TestStop_DrainsUnderLoad(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	s := &sender{name: "d"}
	register(t, p, s.name)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.send(ctx, p) })
	require.Eventually(t, func() bool { return s.answered.Load() >= 50 }, 60*time.Second, time.Millisecond)
	stop(t, p)
	cancel()
	wg.Wait()

	p = start(t, data)
	drained(t, p)
	got := countPoints(t, p, s.name)
	require.GreaterOrEqual(t, got, s.answered.Load()*known)
	require.LessOrEqual(t, got, s.sent.Load()*known)
	stop(t, p)
}
