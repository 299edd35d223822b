package sqlstore_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/eventstore"
	"selvedge.dev/logstore/eventstore/eventstoretest"
	"selvedge.dev/logstore/eventstore/sqlstore"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/store/sqlite"
)

func TestStore_Conforms(t *testing.T) {
	t.Parallel()
	eventstoretest.Run(t, func(t *testing.T, maxEvents int) eventstore.Store {
		return open(t, t.TempDir(), maxEvents)
	})
}

// open opens the store in dir.
func open(t testing.TB, dir string, maxEvents int) *sqlstore.Store {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "records.db"), sqlstore.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return sqlstore.New(db, sqlstore.Options{MaxEvents: maxEvents})
}

// alert is the i-th event.
func alert(i int) eventstore.Record {
	e := event.New()
	e.SetID(fmt.Sprint(i))
	e.SetSource("//selvedge.dev/functions/threshold")
	e.SetType(event.TypeAlert)
	e.SetSubject(fmt.Sprintf("projects/p/devices/d%d", i%10))
	e.SetTime(time.Date(2026, 6, 1, 12, 0, i, 0, time.UTC))
	return eventstore.Record{Project: "p", Event: e}
}

func TestStore_KeepsItsBoundOverARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	done, err := open(t, dir, 2).Append(t.Context(), []eventstore.Record{alert(1), alert(2)})
	require.NoError(t, err)
	require.Equal(t, eventstore.Appended{Stored: 2}, done)
	store := open(t, dir, 2)
	done, err = store.Append(t.Context(), []eventstore.Record{alert(2), alert(3)})
	require.NoError(t, err)
	require.Equal(t, eventstore.Appended{Stored: 1, Duplicates: 1, Evicted: 1}, done)
	page, err := store.List(t.Context(), eventstore.Query{Project: "p"})
	require.NoError(t, err)
	require.Len(t, page.Events, 2)
	require.Equal(t, "3", page.Events[0].ID())
	// A smaller bound holds from the next append on.
	done, err = open(t, dir, 1).Append(t.Context(), []eventstore.Record{alert(4)})
	require.NoError(t, err)
	require.Equal(t, 2, done.Evicted)
}

func TestStore_ReadsByIndex(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "records.db"), sqlstore.Schema)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	// The statements of List and of the eviction, as far as the planner sees
	// them, must neither scan nor sort.
	for _, text := range []string{
		`SELECT seq, time, body FROM logstore_events WHERE project = 'p' AND (time, seq) < (1, 1) ORDER BY time DESC, seq DESC LIMIT 10`,
		`SELECT seq, time, body FROM logstore_events WHERE project = 'p' AND (time, seq) < (1, 1) AND type = 't' ORDER BY time DESC, seq DESC LIMIT 10`,
		`SELECT seq FROM logstore_events WHERE project = 'p' ORDER BY time, seq LIMIT 10`,
	} {
		rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text)
		require.NoError(t, err)
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var detail string
			require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
			plan = append(plan, detail)
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
		require.Len(t, plan, 1, "%s: %q", text, plan)
		require.True(t, strings.HasPrefix(plan[0], "SEARCH logstore_events USING"), "%s: %q", text, plan)
	}
}

// BenchmarkAppend measures the durable append of one event.
func BenchmarkAppend(b *testing.B) {
	store := open(b, b.TempDir(), 0)
	i := 0
	for b.Loop() {
		i++
		if _, err := store.Append(b.Context(), []eventstore.Record{alert(i)}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList measures a page of a hundred events among ten thousand.
func BenchmarkList(b *testing.B) {
	store := open(b, b.TempDir(), 0)
	var records []eventstore.Record
	for i := range 10_000 {
		records = append(records, alert(i))
	}
	_, err := store.Append(b.Context(), records)
	require.NoError(b, err)
	for b.Loop() {
		if page, err := store.List(b.Context(), eventstore.Query{Project: "p", Type: event.TypeAlert}); err != nil || len(page.Events) != 100 {
			b.Fatal(err)
		}
	}
}
