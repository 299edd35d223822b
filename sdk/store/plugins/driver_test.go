package plugins_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlite"
)

// newDriver is an empty database.
func newDriver(t *testing.T) store.Driver {
	d, err := sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "x.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}
