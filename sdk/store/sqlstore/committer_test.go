package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// fake is a backend that does what a test says.
type fake struct {
	// commit is called with the names of each group.
	commit func(names []string) error
	settle func() (bool, error)
}

// Intern implements [Backend].
func (f *fake) Intern(_ context.Context, missing []Symbol) (map[Symbol]int64, error) {
	all := map[Symbol]int64{}
	for i, s := range missing {
		all[s] = int64(i + 1)
	}
	return all, nil
}

// Begin implements [Backend].
func (f *fake) Begin(context.Context, *Keys) (Tx, Found, error) {
	return fakeTx{f: f}, Found{Objects: map[Key]*Object{}, Claims: map[string]resource.Name{}, Counters: map[string]int64{}}, nil
}

// Settle implements [Backend].
func (f *fake) Settle(context.Context, string) (bool, error) { return f.settle() }

// fakeTx is a transaction of a fake.
type fakeTx struct {
	Reader
	f *fake
}

// Write implements [Tx].
func (fakeTx) Write(context.Context, *Rows) error { return nil }

// Rollback implements [Tx].
func (fakeTx) Rollback() {}

// Commit implements [Tx].
func (t fakeTx) Commit(_ context.Context, r *Rows, _ Head, _ string) error {
	var names []string
	for _, o := range r.Objects {
		names = append(names, string(o.Name))
	}
	return t.f.commit(names)
}

// committer is a committer of a fake.
func committer(t *testing.T, f *fake) *Committer {
	c := NewCommitter(f, &Symbols{}, NewSignal(0), slog.New(slog.DiscardHandler))
	t.Cleanup(c.Close)
	return c
}

// create commits the creation of an object.
func create(ctx context.Context, c *Committer, name string) error {
	_, err := c.Commit(ctx, &store.Batch{ID: name, Writes: []store.Write{{Type: "T", Name: resource.Name(name), After: &store.Record{}}}})
	return err
}

// What waits while a group is committed is the next group.
func TestCommitter_Groups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		c := committer(t, &fake{commit: func(names []string) error {
			sizes = append(sizes, len(names))
			time.Sleep(time.Millisecond)
			return nil
		}})
		var all sync.WaitGroup
		for i := range maxGroup + 11 {
			if i == 1 {
				synctest.Wait()
			}
			all.Go(func() { require.NoError(t, create(t.Context(), c, fmt.Sprint(i))) })
		}
		all.Wait()
		require.Equal(t, []int{1, maxGroup, 10}, sizes)
	})
}

// A batch whose caller gives up before it is begun is not done. One that is
// begun is waited for, for a while.
func TestCommitter_CallerGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var done []string
		took := 3 * time.Second
		c := committer(t, &fake{commit: func(names []string) error {
			time.Sleep(took)
			done = append(done, names...)
			return nil
		}})
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() { require.NoError(t, create(short, c, "begun")) })
		synctest.Wait()
		all.Go(func() {
			err := create(short, c, "waiting")
			require.Equal(t, fault.Unavailable, fault.KindOf(err))
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
		all.Wait()
		require.NoError(t, create(t.Context(), c, "next"))
		require.Equal(t, []string{"begun", "next"}, done)

		took = time.Minute
		again, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := create(again, c, "slow")
		require.Equal(t, "OUTCOME_UNKNOWN", fault.ReasonOf(err))
		require.ErrorIs(t, err, ErrUnknown)
		time.Sleep(time.Minute)
	})
}

// What became of a commit is found out, however long that takes.
func TestCommitter_Settles(t *testing.T) {
	t.Parallel()
	f := func(name string, done bool, commits int) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, asked := 0, 0
				c := committer(t, &fake{
					commit: func([]string) error {
						if n++; n == 1 {
							return fmt.Errorf("%w: %w", ErrUnknown, errors.New("broken"))
						}
						return nil
					},
					settle: func() (bool, error) {
						if asked++; asked < 5 {
							return false, errors.New("not now")
						}
						return done, nil
					},
				})
				require.NoError(t, create(t.Context(), c, "a"))
				require.Equal(t, 5, asked)
				require.Equal(t, commits, n)
			})
		})
	}
	f("done", true, 1)
	f("not done", false, 2)
}

// Closing ends what cannot be settled.
func TestCommitter_CloseWhileUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := committer(t, &fake{
			commit: func([]string) error { return ErrUnknown },
			settle: func() (bool, error) { return false, errors.New("never") },
		})
		ended := make(chan error, 2)
		go func() { ended <- create(t.Context(), c, "a") }()
		synctest.Wait()
		go func() { ended <- create(t.Context(), c, "b") }()
		synctest.Wait()
		c.Close()
		reasons := []string{fault.ReasonOf(<-ended), fault.ReasonOf(<-ended)}
		require.ElementsMatch(t, []string{"OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"}, reasons)
		require.Equal(t, fault.Unavailable, fault.KindOf(create(t.Context(), c, "c")))
	})
}

// Of a group that fails, each batch is tried alone; not when the database is
// away.
func TestCommitter_OneByOne(t *testing.T) {
	t.Parallel()
	f := func(name string, failure error, tries int, kind fault.Kind) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				c := committer(t, &fake{commit: func(names []string) error {
					n++
					time.Sleep(time.Millisecond)
					if len(names) > 1 || names[0] == "poison" {
						return failure
					}
					return nil
				}})
				errs := map[string]error{}
				var mu sync.Mutex
				var all sync.WaitGroup
				for _, name := range []string{"first", "a", "poison", "b"} {
					all.Go(func() {
						err := create(t.Context(), c, name)
						mu.Lock()
						defer mu.Unlock()
						errs[name] = err
					})
					if name == "first" {
						synctest.Wait()
					}
				}
				all.Wait()
				require.NoError(t, errs["first"])
				require.Equal(t, kind, fault.KindOf(errs["poison"]))
				require.Equal(t, kind == fault.Unavailable, errs["a"] != nil)
				require.Equal(t, tries, n)
			})
		})
	}
	f("refused", errors.New("constraint"), 1+1+3, fault.Internal)
	f("away", Unavailable("x", errors.New("away")), 1+1, fault.Unavailable)
	f("again", fmt.Errorf("%w", ErrAgain), 1+maxTries+1+maxTries+1, fault.Internal)
}
