package store_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store"
)

// A store is itself, whoever asks and whenever, and knows whom it met first.
func TestIdentity(t *testing.T) {
	t.Parallel()
	w := open(t)
	me, err := w.Identity(w.ctx)
	require.NoError(t, err)
	require.NotEmpty(t, me)
	again, err := store.New(w.driver, w.Types(), store.Options{}).Identity(w.ctx)
	require.NoError(t, err)
	require.Equal(t, me, again)
	other, err := open(t).Identity(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, me, other)

	f := func(region, identity, want string) {
		t.Helper()
		got, err := w.Met(w.ctx, region, identity)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("us", "a", "a")
	f("us", "b", "a")
	f("eu", "b", "b")
	require.NoError(t, w.Forget(w.ctx, "us"))
	require.NoError(t, w.Forget(w.ctx, "us"))
	f("us", "b", "b")

	// It is asked for in the middle of transactions too, after they wrote.
	require.NoError(t, w.do(func(ctx context.Context) error {
		if err := w.Save(ctx, machine("projects/p/robots/r", 1, "red"), store.SaveOptions{}); err != nil {
			return err
		}
		_, err := w.Met(ctx, "mars", "x")
		return err
	}))
	f("mars", "y", "x")
}
