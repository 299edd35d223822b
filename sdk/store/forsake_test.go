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

// Who was given up and comes back goes on where it was, as long as that is kept, and
// is told what is not, until it has taken note.
func TestForsake_ToldWhatWasMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		type span struct{ after, through store.Seq }
		var told []span
		refusals := 0
		read := func() (seen []store.Seq) {
			ctx, cancel := context.WithCancel(w.ctx)
			done := make(chan error)
			go func() {
				done <- w.TailOr(ctx, "audit-one", func(_ context.Context, changes []store.Change) error {
					for _, c := range changes {
						seen = append(seen, c.Seq)
					}
					return nil
				}, func(_ context.Context, after, through store.Seq) error {
					if refusals > 0 {
						refusals--
						return errors.New("not now")
					}
					told = append(told, span{after, through})
					return nil
				})
			}()
			time.Sleep(time.Minute)
			cancel()
			require.NoError(t, <-done)
			return seen
		}
		change := func(n int) {
			for range n {
				w.save(machine(string(robot("r")), 1, time.Now().String()))
				time.Sleep(time.Second)
			}
		}
		forsake := func(want ...string) {
			t.Helper()
			gone, err := w.Forsake(w.ctx, "audit-", "audit-own", time.Now())
			require.NoError(t, err)
			require.Equal(t, want, gone)
		}
		trim := func() store.Seq {
			t.Helper()
			through, err := w.Trim(w.ctx, 1<<40)
			require.NoError(t, err)
			return through
		}
		change(2)
		last := read()[1]

		change(3)
		require.Equal(t, last, trim(), "kept for it")
		forsake("audit-one")
		forsake()
		seen := read()
		require.Len(t, seen, 3, "all was there still")
		require.Empty(t, told)
		last = seen[2]

		change(3)
		forsake("audit-one")
		through := trim()
		require.Greater(t, through, last)
		change(1)
		refusals = 2
		seen = read()
		require.Len(t, seen, 1)
		require.Equal(t, []span{{last, told[0].through}}, told)
		require.LessOrEqual(t, through, told[0].through)
		require.Less(t, told[0].through, seen[0])
		change(1)
		require.Equal(t, seen[0], trim(), "it counts again")
		require.Len(t, read(), 1)
		require.Len(t, told, 1)
	})
}
