package clickhouse_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/clickhouse"
	"selvedge.dev/logstore/clickhouse/chtest"
	"selvedge.dev/logstore/logstoretest"
)

// TestConformance_Native runs the suite over the native protocol.
func TestConformance_Native(t *testing.T) {
	t.Parallel()
	logstoretest.Run(t, func(t *testing.T) logstore.Store {
		return open(t, clickhouse.Options{DSN: chtest.New(t).Native})
	})
}

// TestConformance_HTTP runs it over HTTP, as a store is used: entries come once.
func TestConformance_HTTP(t *testing.T) {
	t.Parallel()
	logstoretest.Run(t, func(t *testing.T) logstore.Store {
		d := chtest.New(t)
		if d.HTTP == "" {
			t.Skip("SELVEDGE_TEST_CLICKHOUSE says no address of HTTP")
		}
		return &once{Store: open(t, clickhouse.Options{DSN: d.HTTP, Once: true}), seen: map[place]bool{}}
	})
}

// TestConformance_OldServer runs it on a table as servers get it that have no
// text indexes.
func TestConformance_OldServer(t *testing.T) {
	t.Parallel()
	statement, err := clickhouse.Schema(false)
	require.NoError(t, err)
	require.NotContains(t, statement, "TYPE text")
	logstoretest.Run(t, func(t *testing.T) logstore.Store {
		d := chtest.New(t)
		conn := connect(t, d, true)
		for _, statement := range []string{
			statement, "CREATE TABLE migrations (Version UInt32, Name String, At DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY Version",
			"INSERT INTO migrations (Version, Name) SELECT 1, '0001_entries.sql'",
		} {
			require.NoError(t, conn.Exec(t.Context(), statement))
		}
		return open(t, clickhouse.Options{DSN: d.Native})
	})
}

// once is a store that is given no entry twice, as intake does not.
type once struct {
	logstore.Store
	mu   sync.Mutex
	seen map[place]bool
}

// place is what makes an entry one.
type place struct {
	project string
	logstore.Position
}

// Append implements logstore.Writer.
func (o *once) Append(ctx context.Context, entries []logstore.Entry) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var left []logstore.Entry
	for _, e := range entries {
		if at := (place{e.Project, e.Position()}); !o.seen[at] {
			o.seen[at] = true
			left = append(left, e)
		}
	}
	return o.Store.Append(ctx, left)
}
