package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/store/storetest/memory"
)

// BenchmarkGetShared is the hot path: an object that is in the cache.
func BenchmarkGetShared(b *testing.B) {
	w := open(b)
	w.save(machine(string(robot("a")), 1, "red"))
	b.ReportAllocs()
	for b.Loop() {
		err := w.Run(w.ctx, store.ReadOnly, func(ctx context.Context) error {
			_, err := w.GetShared(ctx, w.robots, robot("a"))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet is a clone of an object that is in the cache.
func BenchmarkGet(b *testing.B) {
	w := open(b)
	w.save(machine(string(robot("a")), 1, "red"))
	b.ReportAllocs()
	for b.Loop() {
		err := w.Run(w.ctx, store.ReadOnly, func(ctx context.Context) error {
			_, err := w.Get(ctx, w.robots, robot("a"))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSaveSQLite is transactions on a disk, by 64 at a time, each of an
// object of its own.
func BenchmarkSaveSQLite(b *testing.B) {
	d, err := sqlite.OpenDriver(b.Context(), filepath.Join(b.TempDir(), "x.db"), sqlite.Options{})
	require.NoError(b, err)
	w := openOn(b, d, nil)
	var n atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for i := n.Add(1) << 32; pb.Next(); i++ {
			if err := w.do(func(ctx context.Context) error {
				return w.Save(ctx, machine(string(robot(fmt.Sprint("r", i))), 1, "red"), store.SaveOptions{Create: true})
			}); err != nil {
				b.Error(err)
			}
		}
	})
	require.NoError(b, d.Close())
}

// BenchmarkSave is what the store and the standard plugins add to a commit: the
// driver keeps the batch nowhere.
func BenchmarkSave(b *testing.B) {
	d := memory.New()
	w := openOn(b, d, d)
	w.save(machine(string(robot("a")), 1, "red"))
	d.Fail = func(*store.Batch) error { return errDiscarded }
	power := 2.0
	b.ReportAllocs()
	for b.Loop() {
		power++
		err := w.do(func(ctx context.Context) error {
			return w.Save(ctx, machine(string(robot("a")), power, "red"), store.SaveOptions{})
		})
		require.ErrorIs(b, err, errDiscarded)
	}
}

// errDiscarded is what a commit says that was not done.
var errDiscarded = errors.New("discarded")
