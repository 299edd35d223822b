package logging_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/logging"
	"selvedge.dev/logstore"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/logstore/memory"
	"selvedge.dev/sdk/iam"
)

// common is a store that several platforms are in front of.
type common struct {
	*memory.Store
	mu sync.Mutex
	// away says that it does not answer who asks for news, hidden are numbers that
	// are not seen yet.
	away   bool
	hidden map[uint64]bool
	// asked is how often it was asked for news.
	asked int
}

// entries are those of the project p.
func (c *common) entries(ctx context.Context) ([]logstore.Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return nil, errors.New("away")
	}
	all, err := c.List(ctx, logstore.Query{Selection: logstore.Selection{Project: "p"}, Limit: logstore.MaxLimit})
	return slices.DeleteFunc(all, func(e logstore.Entry) bool { return c.hidden[e.Seq] && e.Origin != "" }), err
}

// Marks implements logstore.Sharing.
func (c *common) Marks(ctx context.Context, _ string, from time.Time) (logstore.Marks, error) {
	all, err := c.entries(ctx)
	marks := logstore.Marks{}
	for _, e := range all {
		if !e.Time.Before(from) {
			marks[e.Origin] = max(marks[e.Origin], e.Seq)
		}
	}
	return marks, err
}

// News implements logstore.Sharing.
func (c *common) News(ctx context.Context, asked logstore.Asked) (logstore.News, error) {
	all, err := c.entries(ctx)
	if err != nil {
		return logstore.News{}, err
	}
	c.mu.Lock()
	c.asked++
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b logstore.Entry) int { return int(a.Seq) - int(b.Seq) })
	m, err := asked.Matcher()
	if err != nil {
		return logstore.News{}, err
	}
	news, of := logstore.News{Seen: logstore.Marks{}}, map[string]int{}
	for i := range all {
		e := &all[i]
		seq, known := asked.Beyond[e.Origin]
		if e.Origin == asked.Own || known && e.Seq <= seq || of[e.Origin] == asked.Limit {
			continue
		}
		of[e.Origin]++
		news.Looked, news.Size, news.More = news.Looked+1, news.Size+e.Size(), news.More || of[e.Origin] == asked.Limit
		news.Seen[e.Origin] = max(news.Seen[e.Origin], e.Seq)
		if m.Match(e) {
			news.Entries = append(news.Entries, *e)
		}
	}
	return news, nil
}

// platforms are worlds in front of one store.
func platforms(t *testing.T, store *common, n int) []*world {
	t.Helper()
	var all []*world
	for range n {
		w := newWorld(t)
		allow, err := iam.NewAuthorizer(w.engine)
		require.NoError(t, err)
		now := func() time.Time { return noon }
		w.intake, err = intake.Open(filepath.Join(t.TempDir(), "intake"), store, intake.Options{BatchDelay: time.Millisecond, Now: now})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, w.intake.Close()) })
		w.doors = logging.NewDoors(logging.Options{Registry: w.reg, Intake: w.intake, Reader: store, Ledger: w.losses, Allow: allow.Allow, Now: now})
		w.serve()
		all = append(all, w)
	}
	return all
}

// followed counts what a tail of the project p with a filter shows, by insert id.
func (w *world) followed(filter string) func() map[string]int {
	w.t.Helper()
	body := fmt.Sprintf(`[{"resourceNames": ["projects/p"], "filter": %q}]`, filter)
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+"/v2/entries:tail", strings.NewReader(body))
	require.NoError(w.t, err)
	req.Header.Set("Authorization", "Bearer "+project)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = resp.Body.Close() }) // it goes on
	w.await(1)
	var mu sync.Mutex
	shown := map[string]int{}
	go func() {
		in := json.NewDecoder(bufio.NewReader(resp.Body))
		if _, err := in.Token(); err != nil {
			return
		}
		for in.More() {
			var got struct{ Entries []struct{ InsertID string } }
			if in.Decode(&got) != nil {
				return
			}
			mu.Lock()
			for _, e := range got.Entries {
				shown[e.InsertID]++
			}
			mu.Unlock()
		}
	}()
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		out := map[string]int{}
		for id, n := range shown {
			out[id] = n
		}
		return out
	}
}

// A tail shows what every platform in front of the store takes in, once, whichever
// of them it is of and whichever of two an entry came to: nothing of before, nothing
// that the filter leaves out, and after the store was away what came meanwhile.
func TestTail_OfSeveralPlatforms(t *testing.T) {
	t.Parallel()
	store := &common{Store: memory.New(), hidden: map[uint64]bool{}}
	w := platforms(t, store, 3)
	w[1].post(project, "/v2/entries:write", write("a", "before"))
	require.NoError(t, w[1].intake.Flush(t.Context()))
	shown := []func() map[string]int{w[0].followed(`log_id("a")`), w[1].followed(`log_id("a")`)}
	want := map[string]int{}
	put := func(id string, to ...int) {
		t.Helper()
		for _, i := range to {
			w[i].post(project, "/v2/entries:write", write("a", id))
			w[i].post(project, "/v2/entries:write", write("b", "not-"+id))
		}
		want[id] = 1
	}
	wait := func() {
		t.Helper()
		for i := range shown {
			require.Eventually(t, func() bool { return len(shown[i]()) == len(want) }, 20*time.Second, 10*time.Millisecond, "platform %d", i)
			require.Equal(t, want, shown[i](), "platform %d", i)
		}
	}
	put("1", 0)
	put("2", 1)
	put("3", 2)
	put("twice", 0, 1)
	wait()
	store.mu.Lock()
	store.away = true
	store.mu.Unlock()
	put("4", 1)
	put("5", 2)
	store.mu.Lock()
	store.away = false
	store.mu.Unlock()
	wait()
	// It was looked at again since, and none was shown once more.
	store.mu.Lock()
	asked := store.asked
	store.mu.Unlock()
	require.Eventually(t, func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return store.asked >= asked+4
	}, 20*time.Second, 10*time.Millisecond)
	wait()
}

// What one append brought may come to be seen in parts, a later one first: none is
// missed.
func TestTail_PartsOfAnAppend(t *testing.T) {
	t.Parallel()
	store := &common{Store: memory.New(), hidden: map[uint64]bool{}}
	w := platforms(t, store, 2)
	w[1].post(project, "/v2/entries:write", write("a", "first"))
	require.NoError(t, w[1].intake.Flush(t.Context()))
	all, err := store.entries(t.Context())
	require.NoError(t, err)
	next := all[0].Seq + 1
	store.hidden[next] = true
	shown := w[0].followed("")
	for _, id := range []string{"early", "late"} {
		w[1].post(project, "/v2/entries:write", write("a", id))
	}
	require.Eventually(t, func() bool { return shown()["late"] == 1 }, 20*time.Second, 10*time.Millisecond)
	store.mu.Lock()
	delete(store.hidden, next)
	store.mu.Unlock()
	require.Eventually(t, func() bool { return shown()["early"] == 1 }, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, map[string]int{"early": 1, "late": 1}, shown())
}

// More than is looked at at once comes all the same, each once.
func TestTail_ManyOfAnother(t *testing.T) {
	t.Parallel()
	const n = 3500
	store := &common{Store: memory.New(), hidden: map[uint64]bool{}}
	w := platforms(t, store, 2)
	shown := w[0].followed("")
	var entries []string
	for i := range n {
		entries = append(entries, fmt.Sprintf(`{"insertId":"%d","timestamp":"2026-06-01T12:00:00Z","textPayload":"x"}`, i))
	}
	for part := range slices.Chunk(entries, 500) {
		w[1].post(project, "/v2/entries:write", `{"logName":"projects/p/logs/a","entries":[`+strings.Join(part, ",")+`]}`)
	}
	require.Eventually(t, func() bool { return len(shown()) == n }, 30*time.Second, 10*time.Millisecond)
	for id, times := range shown() {
		require.Equal(t, 1, times, id)
	}
}
