package store_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store/sqlite"
)

// drivers runs a test on the model and on the embedded database.
func drivers(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		f(t, open(t))
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		d, err := sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "x.db"), sqlite.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.Close()) })
		f(t, openOn(t, d, nil))
	})
}
