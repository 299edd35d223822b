package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/logstore"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/sdk/fault"
)

// printed is an intake of a test, and what it was given and what was lost.
type printed struct {
	mu sync.Mutex
	// answer says what becomes of entries; nil takes them.
	answer func(context.Context, []logstore.Entry) ([]intake.Outcome, error)
	kept   []string
	lost   map[string]int
}

// lines are lines that are written to it.
func (p *printed) lines() *lines {
	p.lost = map[string]int{}
	return newLines(p.write, func(project, door, reason string, n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lost[project+" "+door+" "+reason] += n
	}, slog.New(slog.DiscardHandler))
}

// write is the intake's.
func (p *printed) write(ctx context.Context, entries []logstore.Entry) ([]intake.Outcome, error) {
	if p.answer != nil {
		return p.answer(ctx, entries)
	}
	for _, e := range entries {
		p.kept = append(p.kept, e.Project+" "+e.Log+" "+string(e.Payload.Data))
	}
	return make([]intake.Outcome, len(entries)), nil
}

// print has functions of a project print n lines.
func (l *lines) print(project string, n int) {
	for i := range n {
		l.keep(podlog.Line{Pod: podlog.Pod{Namespace: project}, Stream: "stdout", Time: time.Now(), Text: fmt.Sprint(i)})
	}
}

// Lines are kept within moments; what waits at the stop is kept, too.
func TestLines_AreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p printed
		l := p.lines()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.run(ctx) }()
		l.print("p", 2)
		time.Sleep(2 * lineDelay)
		synctest.Wait()
		require.Equal(t, []string{"p stdout 0", "p stdout 1"}, p.kept)
		cancel()
		<-done

		p.kept = nil
		l.print("q", lineBatch+1)
		l.run(ctx)
		require.Len(t, p.kept, lineBatch+1)
		require.Empty(t, p.lost)
	})
}

// A line that finds no room is counted, by its project, and so is one that the
// intake refuses or has no room for.
func TestLines_LossesAreCounted(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	var full printed
	l := full.lines()
	l.print("p", maxLines)
	l.print("p", 2)
	l.print("q", 1)
	l.run(ended)
	require.Equal(t, map[string]int{"p logging-functions PRINTED_TOO_FAST": 2, "q logging-functions PRINTED_TOO_FAST": 1}, full.lost)
	require.Len(t, full.kept, maxLines)

	away := printed{answer: func(context.Context, []logstore.Entry) ([]intake.Outcome, error) {
		return nil, &fault.Error{Kind: fault.Exhausted, Reason: "JOURNAL_FULL", Err: errors.New("full")}
	}}
	l = away.lines()
	l.print("p", lineBatch)
	l.print("q", 3)
	l.run(ended)
	require.Equal(t, map[string]int{"p logging-functions JOURNAL_FULL": lineBatch, "q logging-functions JOURNAL_FULL": 3}, away.lost)

	strict := printed{answer: func(_ context.Context, entries []logstore.Entry) ([]intake.Outcome, error) {
		out := make([]intake.Outcome, len(entries))
		for i := range out {
			if i%2 == 1 {
				out[i].Err = &fault.Error{Kind: fault.TooLarge, Reason: "ENTRY_TOO_LARGE", Err: errors.New("large")}
			}
		}
		return out, nil
	}}
	l = strict.lines()
	l.print("p", 5)
	l.run(ended)
	require.Equal(t, map[string]int{"p logging-functions ENTRY_TOO_LARGE": 2}, strict.lost)
}

// A stop does not wait for an intake that does not answer: what is not kept by
// then is counted.
func TestLines_StopIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck := printed{answer: func(ctx context.Context, _ []logstore.Entry) ([]intake.Outcome, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		l := stuck.lines()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.run(ctx) }()
		l.print("p", 3*lineBatch)
		synctest.Wait()
		began := time.Now()
		cancel()
		<-done
		require.Equal(t, drainLines, time.Since(began))
		require.Equal(t, map[string]int{"p logging-functions STOPPED": 3 * lineBatch}, stuck.lost)
	})
}

// What a line says becomes a valid entry, whatever it is.
func TestLines_AreValidEntries(t *testing.T) {
	t.Parallel()
	f := func(text string, kind logstore.Kind, want string) {
		t.Helper()
		e := entryOf(podlog.Line{Pod: podlog.Pod{Namespace: "p", Name: "f-1"}, Stream: "stderr", Time: time.Now(), Text: text})
		e.InsertID = "-"
		require.NoError(t, e.Check())
		require.Equal(t, kind, e.Payload.Kind)
		require.Equal(t, want, string(e.Payload.Data))
	}
	f("plain", logstore.Text, "plain")
	f("half\xc3", logstore.Text, "half\uFFFD")
	f(`{"a": 1}`, logstore.JSON, `{"a":1}`)
	f(`{"a": `, logstore.Text, `{"a": `)
	f("{\"a\": \"\xc3\"}", logstore.JSON, "{\"a\":\"\uFFFD\"}")
	f("", logstore.Text, "")
}
