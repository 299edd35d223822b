package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/store"
)

func TestTail_AtLeastOnceInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		for i := range 3 {
			w.save(machine(string(robot(fmt.Sprint("r", i))), 1, "red"))
		}
		var got []store.Seq
		tail := func(f func([]store.Change) error) (stop func()) {
			ctx, cancel := context.WithCancel(w.ctx)
			done := make(chan error)
			go func() {
				done <- w.Tail(ctx, "test", func(_ context.Context, changes []store.Change) error {
					if err := f(changes); err != nil {
						return err
					}
					for _, c := range changes {
						got = append(got, c.Seq)
					}
					return nil
				})
			}()
			return func() {
				<-time.After(time.Second) // of the bubble's time: what comes within it is handled
				cancel()
				require.NoError(t, <-done)
			}
		}
		fine := func([]store.Change) error { return nil }

		stop := tail(fine)
		synctest.Wait()
		require.Equal(t, []store.Seq{1, 2, 3}, got)
		w.save(machine(string(robot("r3")), 1, "red"))
		stop()
		require.Len(t, got, 4)

		// What failed comes again, after a restart too; what did not does not.
		w.save(machine(string(robot("r4")), 1, "red"))
		tail(func([]store.Change) error { return errors.New("not now") })()
		require.Len(t, got, 4)
		var failures atomic.Int64
		stop = tail(func([]store.Change) error {
			if failures.Add(1) <= 2 {
				return errors.New("not now")
			}
			return nil
		})
		synctest.Wait()
		w.save(machine(string(robot("r5")), 1, "red"))
		for failures.Load() <= 2 {
			<-time.After(time.Second) // of the bubble's time
		}
		stop()
		require.Len(t, got, 6)
		require.IsIncreasing(t, got)

		// What a reader has not seen is not trimmed.
		w.save(machine(string(robot("r6")), 1, "red"))
		through, err := w.Trim(w.ctx, 1<<40)
		require.NoError(t, err)
		require.Equal(t, got[5], through)
		tail(fine)()
		require.Len(t, got, 7)

		// A new one begins with what is left.
		w.save(machine(string(robot("r7")), 1, "red"))
		got = nil
		ctx, cancel := context.WithCancel(w.ctx)
		go func() {
			synctest.Wait()
			cancel()
		}()
		require.NoError(t, w.Tail(ctx, "other", func(_ context.Context, changes []store.Change) error {
			for _, c := range changes {
				got = append(got, c.Seq)
			}
			return nil
		}))
		require.Len(t, got, 2)
	})
}

// How far a reader is, is kept while it runs, but not with every change.
func TestTail_KeepsItsPositionNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		kept := 0
		w.driver.Fail = func(b *store.Batch) error {
			if b.Writes[0].Type == "records.selvedge.dev/Cursor" {
				kept++
			}
			return nil
		}
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan error)
		var last store.Seq
		go func() {
			done <- w.Tail(ctx, "test", func(_ context.Context, changes []store.Change) error {
				last = changes[len(changes)-1].Seq
				return nil
			})
		}()
		for i := range 50 {
			w.save(machine(string(robot(fmt.Sprint("r", i))), 1, "red"))
			<-time.After(50 * time.Millisecond) // of the bubble's time
		}
		<-time.After(time.Second)
		through, err := w.Trim(w.ctx, 1<<40)
		require.NoError(t, err)
		require.Equal(t, last, through)
		require.Equal(t, 4, kept, "when it began, and each second")
		cancel()
		require.NoError(t, <-done)
		require.Equal(t, 4, kept, "nothing is new")
	})
}

// What a new reader has not seen is kept for it from its beginning on, also as
// long as it can handle nothing.
func TestTail_NothingIsTrimmedBeforeItsFirstChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan error)
		go func() {
			done <- w.Tail(ctx, "test", func(context.Context, []store.Change) error { return errors.New("not now") })
		}()
		synctest.Wait()
		w.save(machine(string(robot("r")), 1, "red"))
		synctest.Wait()
		through, err := w.Trim(w.ctx, 1<<40)
		require.NoError(t, err)
		changes, err := w.Driver().Changes(w.ctx, through, 10)
		require.NoError(t, err)
		require.Len(t, changes, 1)
		cancel()
		require.NoError(t, <-done)
	})
}

// A reader that changes were taken from goes on with those that are left.
func TestTail_AfterChangesWereLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		for i := range 10 {
			w.save(machine(string(robot(fmt.Sprint("r", i))), 1, "red"))
		}
		require.NoError(t, w.Driver().Trim(w.ctx, 7))
		ctx, cancel := context.WithCancel(w.ctx)
		go func() {
			synctest.Wait()
			cancel()
		}()
		var got []store.Seq
		require.NoError(t, w.Tail(ctx, "late", func(_ context.Context, changes []store.Change) error {
			for _, c := range changes {
				got = append(got, c.Seq)
			}
			return nil
		}))
		require.Equal(t, []store.Seq{8, 9, 10}, got)
	})
}

// A cache that follows the changes forgets what another process wrote.
func TestFollow_OtherProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := open(t)
		b := openOn(t, a.driver, a.driver)
		ctx, cancel := context.WithCancel(a.ctx)
		done := make(chan error)
		go func() { done <- b.Follow(ctx) }()
		synctest.Wait()
		for i := range 5 {
			a.save(&samplev1.Robot{Name: string(robot("a")), DisplayName: fmt.Sprint(i)})
			synctest.Wait()
			require.Equal(t, fmt.Sprint(i), b.get(robot("a")).GetDisplayName())
			require.NoError(t, a.Driver().Trim(ctx, store.Seq(i))) // also when it is behind
		}
		cancel()
		require.NoError(t, <-done)
	})
}

func TestTail_WholeTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		for _, n := range []int{300, 300, 1700} { // changes are read 500 at once
			require.NoError(t, w.Run(w.ctx, store.Transaction, func(ctx context.Context) error {
				for i := range n {
					if err := w.Save(ctx, machine(string(robot(fmt.Sprint("r", n, "-", w.Now().UnixNano(), "-", i))), 1, "red"), store.SaveOptions{}); err != nil {
						return err
					}
				}
				return nil
			}))
			<-time.After(time.Second) // of the bubble's time, so that the names differ
		}
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan error)
		var calls []int
		go func() {
			done <- w.Tail(ctx, "whole", func(_ context.Context, changes []store.Change) error {
				if !changes[len(changes)-1].Last {
					return errors.New("a part of a transaction")
				}
				calls = append(calls, len(changes))
				return nil
			})
		}()
		<-time.After(10 * time.Second) // of the bubble's time
		cancel()
		require.NoError(t, <-done)
		require.Equal(t, []int{300, 300, 1700}, calls)
	})
}
