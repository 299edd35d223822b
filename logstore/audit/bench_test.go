package audit_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
)

// usual is a record of usual size: 400 bytes of data.
func usual(project string, n int) audit.Record {
	return audit.Record{
		Project: project, ID: fmt.Sprintf("01J%09d", n), Time: noon.Add(time.Duration(n) * time.Millisecond), Category: "SpecUpdate",
		Type: "selvedge.dev/changes", Data: fmt.Appendf(nil, `{"n":%d,"request":%q}`, n, bytes.Repeat([]byte("x"), 370)),
	}
}

// BenchmarkAppend appends in batches, as a relay does.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			dir := b.TempDir()
			trail, err := audit.Open(dir, audit.Options{Signer: signer(), Now: clock})
			require.NoError(b, err)
			n := 0
			for b.Loop() {
				batch := make([]audit.Record, size)
				for i := range batch {
					batch[i] = usual("p", n)
					n++
				}
				_, err := trail.Append(b.Context(), batch)
				require.NoError(b, err)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
			require.NoError(b, trail.Close())
			bytes := int64(0)
			for _, name := range segments(b, dir) {
				info, err := os.Stat(name)
				require.NoError(b, err)
				bytes += info.Size()
			}
			b.ReportMetric(float64(bytes)/float64(n), "B/record")
		})
	}
}

// BenchmarkVerify verifies a chain of 100,000 records on disk.
func BenchmarkVerify(b *testing.B) {
	trail, err := audit.Open(b.TempDir(), audit.Options{Signer: signer(), Now: clock})
	require.NoError(b, err)
	const n = 100_000
	for i := 0; i < n; i += 1000 {
		batch := make([]audit.Record, 1000)
		for j := range batch {
			batch[j] = usual("p", i+j)
		}
		_, err := trail.Append(b.Context(), batch)
		require.NoError(b, err)
	}
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, err := trail.Verify(b.Context(), "p")
			require.NoError(b, err)
			require.Equal(b, uint64(n), r.Records)
		}
		b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("prove", func(b *testing.B) {
		for b.Loop() {
			_, err := trail.ProveInclusion(b.Context(), "p", 777, n)
			require.NoError(b, err)
		}
		b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("find", func(b *testing.B) {
		for b.Loop() {
			_, err := trail.Find(b.Context(), "p", usual("p", 777).ID)
			require.NoError(b, err)
		}
	})
	require.NoError(b, trail.Close())
}

// BenchmarkProjects appends one record to each of many projects: what each of
// them costs.
func BenchmarkProjects(b *testing.B) {
	trail, err := audit.Open(b.TempDir(), audit.Options{Signer: signer(), Now: clock})
	require.NoError(b, err)
	n := 0
	for b.Loop() {
		batch := make([]audit.Record, 100)
		for i := range batch {
			batch[i] = usual(fmt.Sprintf("p%d", n%5000), n)
			n++
		}
		_, err := trail.Append(b.Context(), batch)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	require.NoError(b, trail.Close())
}

// BenchmarkNext makes the links alone.
func BenchmarkNext(b *testing.B) {
	r := usual("p", 1)
	var prev chain.Hash
	for b.Loop() {
		l := chain.Next(r, chain.Salt{}, 1, prev)
		prev = l.Hash
	}
}
