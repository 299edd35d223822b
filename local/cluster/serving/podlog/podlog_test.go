package podlog_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/sdk/fault"
)

// pod is the instance of these tests.
var pod = podlog.Pod{Namespace: "p", Name: "a", Service: "s", Revision: "s-00001"}

// say has a run of an instance print a text.
func say(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

// all reads everything at once.
func all(t testing.TB, l *podlog.Log, o podlog.ReadOptions) string {
	t.Helper()
	r := l.Read(t.Context(), o)
	defer func() { require.NoError(t, r.Close()) }()
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(text)
}

func TestLog_LinesAndTails(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var lines []podlog.Line
	s := podlog.New(podlog.Options{Now: func() time.Time { return now }, Line: func(l podlog.Line) { lines = append(lines, l) }})
	l := s.Open(pod)
	out, errs := l.Start()
	say(out, "one\r\ntw")
	now = now.Add(time.Second)
	say(errs, "bad\n")
	say(out, "o\nthree")
	every := podlog.ReadOptions{Tail: -1}
	require.Equal(t, "one\nbad\ntwo\n", all(t, l, every))
	l.Exit()
	require.Equal(t, "one\nbad\ntwo\nthree\n", all(t, l, every), "a last line without its end")
	require.Equal(t, "two\nthree\n", all(t, l, podlog.ReadOptions{Tail: 2}))
	require.Empty(t, all(t, l, podlog.ReadOptions{Tail: 0}))
	require.Equal(t, "bad\ntwo\nthree\n", all(t, l, podlog.ReadOptions{Tail: -1, Since: now}))
	require.Equal(t, "one\nba", all(t, l, podlog.ReadOptions{Tail: -1, Limit: 6}))
	require.Equal(t, "1970-01-01T00:16:40Z one\n", all(t, l, podlog.ReadOptions{Tail: -1, Limit: 25, Timestamps: true}))
	require.Equal(t, []string{"two", "three"}, l.Tail(2))
	require.Equal(t, podlog.Line{Pod: pod, Stream: "stderr", Time: now, Text: "bad"}, lines[1])

	out, _ = l.Start()
	say(out, "again\n")
	require.Equal(t, "again\n", all(t, l, every), "the run that goes on")
	require.Equal(t, "one\nbad\ntwo\nthree\n", all(t, l, podlog.ReadOptions{Tail: -1, Previous: true}))
	require.Equal(t, []string{"again"}, l.Tail(5))
}

func TestLog_IsBounded(t *testing.T) {
	t.Parallel()
	l := podlog.New(podlog.Options{Bytes: 100}).Open(pod)
	out, _ := l.Start()
	for i := range 50 {
		say(out, fmt.Sprintf("line %04d\n", i))
	}
	text := all(t, l, podlog.ReadOptions{Tail: -1})
	require.Len(t, strings.Fields(text), 22)
	require.True(t, strings.HasSuffix(text, "line 0049\n"))
	require.EqualValues(t, 39, l.Lost())
	say(out, strings.Repeat("x", 100_000))
	for _, line := range l.Tail(10) {
		require.LessOrEqual(t, len(line), 16<<10)
	}
}

func TestLog_Follows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := podlog.New(podlog.Options{})
		l := s.Open(pod)
		out, _ := l.Start()
		say(out, "old\n")
		got := make(chan string, 1)
		r := l.Read(t.Context(), podlog.ReadOptions{Follow: true, Tail: -1})
		go func() {
			text, _ := io.ReadAll(r)
			got <- string(text)
		}()
		synctest.Wait()
		say(out, "new\n")
		synctest.Wait()
		say(out, "last")
		l.Exit()
		require.Equal(t, "old\nnew\nlast\n", <-got, "it ends with the run")

		ctx, cancel := context.WithCancel(t.Context())
		_, _ = l.Start()
		r = l.Read(ctx, podlog.ReadOptions{Follow: true, Tail: -1})
		go func() {
			text, _ := io.ReadAll(r)
			got <- string(text)
		}()
		synctest.Wait()
		cancel()
		require.Empty(t, <-got, "or with its reader")
	})
}

func TestStore_KeepsWhatHasGoneForAWhile(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	s := podlog.New(podlog.Options{Gone: 2, For: time.Hour, Now: func() time.Time { return now }})
	end := func(namespace, name string) {
		l := s.Open(podlog.Pod{Namespace: namespace, Name: name})
		out, _ := l.Start()
		say(out, name+"\n")
		s.End(l)
	}
	for _, name := range []string{"a", "b", "c"} {
		end("p", name)
	}
	end("q", "a")
	_, err := s.Get("p", "a")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.ErrorContains(t, err, `pods "a" not found`)
	l, err := s.Get("p", "b")
	require.NoError(t, err)
	require.Equal(t, "b\n", all(t, l, podlog.ReadOptions{Tail: -1, Follow: true}), "a reader that follows comes to the end")
	now = now.Add(2 * time.Hour)
	end("q", "b")
	for _, name := range []string{"b", "c"} {
		_, err = s.Get("p", name)
		require.Error(t, err)
	}
	_, err = s.Get("q", "a")
	require.Error(t, err)
}

// TestLog_Laws has what was printed in any pieces be read in any pieces.
func TestLog_Laws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([a-z]{0,8}\n){0,20}`).Draw(t, "text")
		l := podlog.New(podlog.Options{}).Open(pod)
		out, _ := l.Start()
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			say(out, rest[:n])
			rest = rest[n:]
		}
		r := l.Read(context.Background(), podlog.ReadOptions{Tail: -1})
		var got strings.Builder
		buf := make([]byte, rapid.IntRange(1, 16).Draw(t, "buffer"))
		for {
			n, err := r.Read(buf)
			got.Write(buf[:n])
			if err != nil {
				break
			}
		}
		require.Equal(t, text, got.String())
	})
}
