package edgeruntime

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
)

// A rejection is counted before the cursor moves. A disk that does not let the
// cursor move, or a stop at that moment, must not count it twice.
func TestUplink_RejectionIsCountedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.silent()
		disk := newMemory()
		r.config.fs = disk
		r.fill(t, some(5)...)
		r.platform.reject = func(e *event.Event) *fault.Status { return &fault.Status{Code: http.StatusBadRequest} }
		r.platform.script = func(*post) *http.Response {
			disk.fail(errors.New("input/output error")) // from now on, cursors included
			return nil
		}
		r.start(t)
		rest(10 * time.Minute)
		lost := r.agent.Status().Lost["REJECTED/INVALID_ARGUMENT"]
		require.GreaterOrEqual(t, lost, uint64(5))
		require.LessOrEqual(t, lost, uint64(6), "the reading may have come into the same batch")
		r.stop()
		<-r.done // with an error or without, for the disk is broken

		// The ledger, which has another disk here, is ahead of the cursor now.
		disk.fail(nil)
		r.platform.set(up)
		r.start(t)
		rest(time.Minute)
		r.halt(t)
		require.Equal(t, lost, r.agent.Status().Lost["REJECTED/INVALID_ARGUMENT"])
		require.NotContains(t, ids(r.platform.accepted), "e0", "what was counted as lost is not sent again")
		require.Zero(t, r.agent.Status().Queue.Pending)
	})
}

// A record that is no event cannot be delivered, and stops nobody.
func TestUplink_UnreadableRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.silent()
		r.queue(t, textEvent("a", ""), []byte(`{"no":"event"}`), textEvent("b", ""), []byte(`no JSON`), textEvent("c", ""))
		// The real platform has a verdict on the first and refuses a batch with
		// the second, as this one does.
		r.platform.lenient = true
		r.start(t)
		rest(time.Minute)
		r.halt(t)
		require.Equal(t, []string{"a", "b", "c"}, ids(r.platform.accepted)[:3])
		require.Equal(t, map[string]uint64{"REJECTED/UNREADABLE": 1, "REJECTED/INVALID_JSON": 1}, r.agent.Status().Lost)
	})
}

func TestUplink_Backoff(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := &uplink{failures: rapid.IntRange(0, 1000).Draw(t, "failures")}
		asked := time.Duration(rapid.Int64Range(0, int64(maxRetryAfter)).Draw(t, "asked"))
		bound := maxBackoff
		if u.failures < maxDoublings {
			bound = min(bound, minBackoff<<u.failures)
		}
		var err error = &fault.Error{Kind: fault.Unavailable}
		if asked > 0 {
			err = &refusal{fault: &fault.Error{}, after: asked}
		}
		if wait := u.backoff(err); wait < asked || wait > asked+bound || wait <= 0 {
			t.Fatalf("waits %s, asked for %s and up to %s", wait, asked, bound)
		}
	})
}

// Full jitter: the waits spread over the whole range, up to the bound.
func TestUplink_BackoffSpreads(t *testing.T) {
	t.Parallel()
	u := &uplink{failures: maxDoublings}
	var quarters [4]int
	for range 1000 {
		quarters[min(int(u.backoff(nil)/(maxBackoff/4)), 3)]++
	}
	for _, n := range quarters {
		require.Greater(t, n, 100, "%v", quarters)
	}
}

// FuzzUplink gives the uplink any answer there can be: it must not lose an
// event without a word of the platform on that very event, and must not stop.
func FuzzUplink(f *testing.F) {
	const source = `"source":"//selvedge.dev/projects/p/devices/d"`
	for status, body := range map[int]string{
		200: `[{"id":"e0",` + source + `,"status":"accepted"},{"id":"e1",` + source + `,"status":"duplicate"}]`,
		202: `[{"id":"e1",` + source + `,"status":"rejected","error":{"code":400,"details":[{"reason":"R"}]}}]`,
		207: `[{"id":"e0","source":1}]`,
		400: `{"error":{"code":400,"message":"m","details":[{"domain":"selvedge.dev","reason":"R"}]}}`,
		413: ``, 429: `[]`, 503: `<html>`, 302: `null`,
	} {
		f.Add(status, "5", []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, retryAfter string, body []byte) {
		if status < 200 || status > 599 {
			t.Skip("no final status of HTTP")
		}
		r := newRig(t)
		r.config.fs = newMemory()
		r.fill(t, "e0", "e1")
		c, err := r.config.complete()
		require.NoError(t, err)
		q, err := openQueue(c.Dir, c.MaxBytes, c.fs, c.Logger)
		require.NoError(t, err)
		r.platform.script = func(*post) *http.Response { return answer(status, string(body), "Retry-After", retryAfter) }
		u := newUplink(c, q, newLink(c.Now, c.Logger))
		wait := u.deliver(t.Context())

		require.LessOrEqual(t, wait, maxRetryAfter+2*maxBackoff)
		_, lost := q.state(time.Now())
		var n uint64
		for _, count := range lost {
			n += count
		}
		settled := uint64(q.position())
		require.Equal(t, settled, n+u.link.delivered)
		if settled > 0 {
			var verdicts []verdict
			named := 0
			if json.Unmarshal(body, &verdicts) == nil {
				for _, v := range verdicts {
					if v.ID == "e0" || v.ID == "e1" {
						named++
					}
				}
			}
			tooLarge := status == http.StatusRequestEntityTooLarge
			refused := fault.OfStatus(status) == fault.Invalid
			require.True(t, named > 0 || tooLarge || refused, "settled %d without a word on them", settled)
		}
		require.NoError(t, q.close())
	})
}

func TestLedger_Damaged(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"Empty": "", "Noise": "\x00\x01", "Cut": `{"through":3,"lo`, "List": "[]"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, ledgerFile)
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			l, err := openLedger(dir, 10, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			require.Empty(t, l.lost())
			require.FileExists(t, path+".damaged")
			require.NoError(t, l.settle(4, map[string]uint64{"X": 2}))
			l, err = openLedger(dir, 10, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			require.Equal(t, map[string]uint64{"X": 2}, l.lost())
			require.Equal(t, journal.Offset(4), l.through())
		})
	}
}

// A queue that was removed by hand begins at 0 again. The counts stay, but
// what they counted through is of another queue.
func TestLedger_QueueRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := openLedger(dir, 10, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.NoError(t, l.settle(10, map[string]uint64{"X": 2}))
	l, err = openLedger(dir, 0, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Zero(t, l.through())
	require.Equal(t, map[string]uint64{"X": 2}, l.lost())
}

func TestLedger_SettleFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "gone")
	l, err := openLedger(dir, 10, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Error(t, l.settle(4, map[string]uint64{"X": 2}))
	require.Empty(t, l.lost(), "nothing was counted")
	l.unwritten()
	require.Error(t, l.save())
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, l.save())
	l, err = openLedger(dir, 10, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Equal(t, map[string]uint64{lostUnwritten: 1}, l.lost())
}

func TestReading_Tree(t *testing.T) {
	t.Parallel()
	r := Reading{"a/b/c": 1, "a/b/d": 2.5, "a/e": -3, "f": 4}
	text, err := json.Marshal(r.tree())
	require.NoError(t, err)
	require.JSONEq(t, `{"a":{"b":{"c":1,"d":2.5},"e":-3},"f":4}`, string(text))
}
