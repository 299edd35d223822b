package journal_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/journal"
)

// BenchmarkAppend_Parallel is 128 producers that each wait for one record of
// 200 bytes to be durable.
func BenchmarkAppend_Parallel(b *testing.B) {
	benchmarkAppend(b, 128, 1, 200)
}

// BenchmarkAppend_Single is one producer that waits for each record of 200
// bytes.
func BenchmarkAppend_Single(b *testing.B) {
	benchmarkAppend(b, 1, 1, 200)
}

// BenchmarkAppend_Batch is one producer of batches of 500 records of 400 bytes.
func BenchmarkAppend_Batch(b *testing.B) {
	benchmarkAppend(b, 1, 500, 400)
}

// BenchmarkAppend_BatchParallel is four producers of batches of 500 records of
// 400 bytes.
func BenchmarkAppend_BatchParallel(b *testing.B) {
	benchmarkAppend(b, 4, 500, 400)
}

// benchmarkAppend measures records per second made durable.
func benchmarkAppend(b *testing.B, producers, batch, size int) {
	j, err := journal.Open(b.TempDir(), journal.Options{OnFull: journal.DropOldest})
	require.NoError(b, err)
	records := make([][]byte, batch)
	for i := range records {
		records[i] = make([]byte, size)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := j.Append(context.Background(), records...); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "records/s")
	require.NoError(b, j.Close())
}

// BenchmarkRead reads records of 200 bytes in sequence, 256 KiB at a time.
func BenchmarkRead(b *testing.B) {
	const records = 200_000
	j, err := journal.Open(b.TempDir(), journal.Options{})
	require.NoError(b, err)
	batch := make([][]byte, 1000)
	for i := range batch {
		batch[i] = make([]byte, 200)
	}
	for range records / len(batch) {
		_, err := j.Append(context.Background(), batch...)
		require.NoError(b, err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var buf journal.Batch
	total := 0
	for range b.N {
		if err := j.Read(buf.Next(), &buf, 256<<10); err != nil {
			b.Fatal(err)
		}
		if total += buf.Len(); buf.Next() == j.End() {
			buf = journal.Batch{}
		}
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "records/s")
	require.NoError(b, j.Close())
}

// BenchmarkOpen opens a journal of 200 MB that a crash left unsealed only at
// its end.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	j, err := journal.Open(dir, journal.Options{})
	require.NoError(b, err)
	batch := make([][]byte, 1000)
	for i := range batch {
		batch[i] = make([]byte, 200)
	}
	for range 1000 {
		_, err := j.Append(context.Background(), batch...)
		require.NoError(b, err)
	}
	require.NoError(b, j.Close())
	for b.Loop() {
		j, err := journal.Open(dir, journal.Options{})
		require.NoError(b, err)
		require.NoError(b, j.Close())
	}
}
