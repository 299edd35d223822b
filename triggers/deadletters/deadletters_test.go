package deadletters_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/deadletters"
)

// noon is when the letters begin.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// open is a store on a real database at path.
func open(t *testing.T, path string, o deadletters.Options) *deadletters.SQL {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, deadletters.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return deadletters.New(db, o)
}

// letter is the n-th letter of a project, a minute after the one before, with
// that many bytes of data.
func letter(project string, n, size int) deadletters.Letter {
	e := event.New()
	e.SetID(fmt.Sprint("e", n))
	e.SetSource("//selvedge.dev/projects/" + project + "/devices/d")
	e.SetType("t")
	e.SetDataContentType("text/plain")
	e.DataEncoded, e.DataBase64 = make([]byte, size), true
	at := noon.Add(time.Duration(n) * time.Minute)
	return deadletters.Letter{
		Project: project, Broker: "default", Trigger: project + "/a", Offset: uint64(n), Event: e, Reason: "RETRIES_EXHAUSTED", Detail: "no",
		Status: 500, Body: []byte("boom"), Attempts: 3, First: at, Last: at,
	}
}

// clock is a time that a test moves.
type clock struct{ now time.Time }

// ids are the ids of the events that a query selects.
func ids(t *testing.T, s deadletters.Store, q deadletters.Query) []string {
	t.Helper()
	letters, err := s.List(t.Context(), q)
	require.NoError(t, err)
	var ids []string
	for _, l := range letters {
		ids = append(ids, l.Event.ID())
	}
	return ids
}

func TestKeep_OnceAndForItsProject(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	at := &clock{noon.Add(time.Hour)}
	o := deadletters.Options{Now: func() time.Time { return at.now }}
	s := open(t, path, o)
	letters := []deadletters.Letter{letter("p", 1, 10), letter("p", 2, 10), letter("q", 3, 10)}
	require.NoError(t, s.Keep(t.Context(), letters))
	require.NoError(t, open(t, path, o).Keep(t.Context(), letters), "a replay after a restart")
	require.NoError(t, s.Keep(t.Context(), nil))
	require.Equal(t, []string{"e2", "e1"}, ids(t, s, deadletters.Query{Project: "p"}))
	require.Equal(t, []string{"e1"}, ids(t, s, deadletters.Query{Project: "p", EventID: "e1", Source: "//selvedge.dev/projects/p/devices/d"}))
	require.Empty(t, ids(t, s, deadletters.Query{Project: "p", Trigger: "q/a"}))
	require.Equal(t, []string{"e2"}, ids(t, s, deadletters.Query{Project: "p", Since: noon.Add(2 * time.Minute)}))
	require.Equal(t, []string{"e2"}, ids(t, s, deadletters.Query{Project: "p", Limit: 1}))

	all, err := s.List(t.Context(), deadletters.Query{Project: "p"})
	require.NoError(t, err)
	require.Equal(t, []string{"e1"}, ids(t, s, deadletters.Query{Project: "p", Before: all[0].ID}))
	want := letters[0]
	want.ID = all[1].ID
	got, err := s.Get(t.Context(), "p", want.ID)
	require.NoError(t, err)
	require.Equal(t, want.Event.Data(), got.Event.Data())
	got.Event, want.Event = event.Event{}, event.Event{}
	require.Equal(t, want, got)

	_, err = s.Get(t.Context(), "q", want.ID)
	require.Equal(t, fault.NotFound, fault.KindOf(err), "of another project")
	require.NoError(t, s.Remove(t.Context(), "q", []int64{want.ID}))
	require.NoError(t, s.Remove(t.Context(), "p", []int64{all[0].ID}))
	require.Equal(t, []string{"e1"}, ids(t, s, deadletters.Query{Project: "p"}))
	u, err := s.Usage(t.Context(), "p")
	require.NoError(t, err)
	require.EqualValues(t, 1, u.Letters)
	require.Zero(t, u.Evicted)
}

func TestKeep_BoundsOfOneProject(t *testing.T) {
	t.Parallel()
	at := &clock{noon.Add(time.Hour)}
	const size = 10_000
	s := open(t, filepath.Join(t.TempDir(), "db"), deadletters.Options{
		MaxBytes: 4 * (size + 500), MaxAge: 24 * time.Hour, Now: func() time.Time { return at.now },
	})
	require.NoError(t, s.Keep(t.Context(), []deadletters.Letter{letter("q", 0, size)}))
	var all []deadletters.Letter
	for n := range 10 {
		all = append(all, letter("p", n, size))
	}
	require.NoError(t, s.Keep(t.Context(), all))
	require.Equal(t, []string{"e9", "e8", "e7", "e6"}, ids(t, s, deadletters.Query{Project: "p"}), "the oldest go first")
	require.Equal(t, []string{"e0"}, ids(t, s, deadletters.Query{Project: "q"}), "and only the project's own")
	u, err := s.Usage(t.Context(), "p")
	require.NoError(t, err)
	require.EqualValues(t, 4, u.Letters)
	require.EqualValues(t, 6, u.Evicted)

	at.now = noon.Add(24*time.Hour + 8*time.Minute)
	require.Equal(t, []string{"e9", "e8"}, ids(t, s, deadletters.Query{Project: "p"}), "too old to be shown")
	require.NoError(t, s.Keep(t.Context(), []deadletters.Letter{letter("q", 30, 1)}))
	u, err = s.Usage(t.Context(), "p")
	require.NoError(t, err)
	require.EqualValues(t, 2, u.Letters)
	require.EqualValues(t, 8, u.Evicted, "and then gone")
	u, err = s.Usage(t.Context(), "nobody")
	require.NoError(t, err)
	require.Zero(t, u)
}

// A trigger that gives up everything does not push out the letters of others.
func TestKeep_TheTriggerWithMostGoesFirst(t *testing.T) {
	t.Parallel()
	at := &clock{noon.Add(time.Hour)}
	const size = 10_000
	s := open(t, filepath.Join(t.TempDir(), "db"), deadletters.Options{MaxBytes: 6 * (size + 500), Now: func() time.Time { return at.now }})
	rare := []deadletters.Letter{letter("p", 0, size), letter("p", 1, size)}
	for i := range rare {
		rare[i].Trigger = "p/rare"
	}
	require.NoError(t, s.Keep(t.Context(), rare))
	for n := 2; n < 30; n++ {
		require.NoError(t, s.Keep(t.Context(), []deadletters.Letter{letter("p", n, size)}))
	}
	require.Equal(t, []string{"e1", "e0"}, ids(t, s, deadletters.Query{Project: "p", Trigger: "p/rare"}))
	require.Equal(t, []string{"e29", "e28", "e27", "e26"}, ids(t, s, deadletters.Query{Project: "p", Trigger: "p/a"}))
	u, err := s.Usage(t.Context(), "p")
	require.NoError(t, err)
	require.EqualValues(t, 6, u.Letters)
	require.EqualValues(t, 24, u.Evicted)
}
