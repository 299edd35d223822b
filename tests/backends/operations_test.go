package backends

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/tsdbtest"
)

// SPEC A6: series are deleted, and counted, on a server as in the process.
func TestVictoria_Operations(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, dir string) tsdb.Store { return openVictoria(t, dir, nil) }
	tsdbtest.RunOperations(t, open)
	tsdbtest.RunDeletedDurable(t, open)
}

// SPEC A6: the server makes a snapshot of what was appended, in its folder.
func TestVictoria_ServerSnapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, ok := openVictoria(t, dir, nil).(*onVictoria)
	require.True(t, ok)
	now := tsdb.Millis(time.Now().UnixMilli())
	require.NoError(t, store.Append(t.Context(), []tsdb.Sample{{Series: victoriaSeries("p", "d"), Time: now, Value: 1}}))
	name, err := store.ServerSnapshot(t.Context())
	require.NoError(t, err)
	require.DirExists(t, filepath.Join(dir, "snapshots", name, "data"))
}
