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
	// sync is called when commits are to be durable; nil does nothing.
	sync func() error
	head Head
}

// Intern implements [Backend].
func (f *fake) Intern(_ context.Context, missing []Symbol) (map[Symbol]int64, error) {
	all := map[Symbol]int64{}
	for i, s := range missing {
		all[s] = int64(i + 1)
	}
	return all, nil
}

// Sync implements [Backend].
func (f *fake) Sync() error {
	if f.sync == nil {
		return nil
	}
	return f.sync()
}

// Begin implements [Backend].
func (f *fake) Begin(context.Context, *Keys) (Tx, Found, error) {
	return fakeTx{f: f}, Found{Head: f.head, Objects: map[Key]*Object{}, Claims: map[string]resource.Name{}, Counters: map[string]int64{}}, nil
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
func (t fakeTx) Commit(_ context.Context, r *Rows, h Head, _ string) error {
	var names []string
	for _, o := range r.Objects {
		names = append(names, string(o.Name))
	}
	err := t.f.commit(names)
	if err == nil {
		t.f.head = h
	}
	return err
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

// A commit is answered when it is on the disk, and the next one is done
// meanwhile. What was committed when the disk is asked needs no other asking.
func TestCommitter_AnswersWhenDurable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk, syncs := make(chan struct{}), 0
		var done []string
		c := committer(t, &fake{
			commit: func(names []string) error {
				done = append(done, names...)
				return nil
			},
			sync: func() error {
				syncs++
				<-disk
				return nil
			},
		})
		var mu sync.Mutex
		var answered []string
		var all sync.WaitGroup
		for _, name := range []string{"a", "b", "c"} {
			all.Go(func() {
				require.NoError(t, create(t.Context(), c, name))
				mu.Lock()
				defer mu.Unlock()
				answered = append(answered, name)
			})
			synctest.Wait()
		}
		require.Equal(t, []string{"a", "b", "c"}, done)
		require.Empty(t, answered)
		require.Empty(t, c.Changes(t.Context(), 0, 10), "nobody is told of what a power cut takes back")
		read := make(chan error)
		go func() { read <- c.Durable(t.Context(), 1) }()
		synctest.Wait()
		disk <- struct{}{}
		require.NoError(t, <-read)
		synctest.Wait()
		require.Equal(t, []string{"a"}, answered)
		require.Len(t, c.Changes(t.Context(), 0, 10), 1)
		disk <- struct{}{}
		all.Wait()
		require.Equal(t, 2, syncs, "one for a, one for b and c")
		require.Len(t, c.Changes(t.Context(), 1, 10), 2)
		require.NoError(t, c.Durable(t.Context(), 3))
		require.Equal(t, 2, syncs)
	})
}

// Once the disk failed nobody knows what is on it: nothing is acknowledged and
// nothing is read any more.
func TestCommitter_DiskFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		syncs, commits := 0, 0
		c := committer(t, &fake{
			commit: func([]string) error {
				commits++
				return nil
			},
			sync: func() error {
				if syncs++; syncs == 2 {
					return errors.New("input/output error")
				}
				return nil
			},
		})
		require.NoError(t, create(t.Context(), c, "a"))
		for range 2 {
			err := create(t.Context(), c, "b")
			require.Equal(t, "OUTCOME_UNKNOWN", fault.ReasonOf(err))
			require.ErrorContains(t, err, "input/output error")
		}
		require.Equal(t, fault.Unavailable, fault.KindOf(c.Durable(t.Context(), 2)))
		require.Equal(t, []int{2, 2}, []int{syncs, commits}, "it is not tried again")
		require.Empty(t, c.Changes(t.Context(), 1, 10))
	})
}

// What is on its way to the disk when the committer is closed is answered, and
// nobody waits for one that ended.
func TestCommitter_CloseWhileSyncing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := make(chan struct{})
		c := committer(t, &fake{
			commit: func([]string) error { return nil },
			sync: func() error {
				<-disk
				return nil
			},
		})
		made := make(chan error)
		go func() { made <- create(t.Context(), c, "a") }()
		synctest.Wait()
		go c.Close()
		synctest.Wait()
		close(disk)
		require.NoError(t, <-made)
		synctest.Wait()
		require.Equal(t, fault.Unavailable, fault.KindOf(c.Durable(t.Context(), 1)))
		require.Equal(t, fault.Unavailable, fault.KindOf(c.disk.await(t.Context(), 2)))
	})
}
