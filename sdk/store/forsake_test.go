package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store"
)

// Of the readers of a prefix those are forgotten that have not handled what was
// there long ago: not who asks, who has handled all, or whose names are others. One
// that comes back sees everything that is kept.
func TestForsake_WhoIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		read := func(name string, result error) (seen int) {
			ctx, cancel := context.WithCancel(w.ctx)
			done := make(chan error)
			go func() {
				done <- w.Tail(ctx, name, func(_ context.Context, changes []store.Change) error {
					if result == nil {
						seen += len(changes)
					}
					return result
				})
			}()
			synctest.Wait()
			time.Sleep(time.Second)
			cancel()
			require.NoError(t, <-done)
			return seen
		}
		for _, name := range []string{"audit-own", "audit-well", "audit-gone", "other"} {
			read(name, nil)
		}
		w.save(machine(string(robot("r")), 1, "red"))
		read("audit-well", nil)
		read("audit-own", errors.New("not now"))
		forsake := func(before time.Time) []string {
			t.Helper()
			gone, err := w.Forsake(w.ctx, "audit-", "audit-own", before)
			require.NoError(t, err)
			return gone
		}
		require.Empty(t, forsake(time.Now().Add(-time.Hour)), "not long enough")
		require.Equal(t, []string{"audit-gone"}, forsake(time.Now().Add(time.Hour)))
		require.Empty(t, forsake(time.Now().Add(time.Hour)))
		require.Zero(t, read("audit-well", nil))
		require.Equal(t, 1, read("audit-own", nil))
		require.Equal(t, 1, read("audit-gone", nil), "begins with what is kept")
	})
}
