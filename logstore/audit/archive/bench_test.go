package archive_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit/archive"
)

// BenchmarkArchive exports a chain of 20,000 records and verifies the files.
func BenchmarkArchive(b *testing.B) {
	trail := open(b)
	const n = 20_000
	for i := 0; i < n; i += 1000 {
		add(b, trail, "p", i, i+1000)
	}
	require.NoError(b, trail.Sign(b.Context()))
	target := archive.Folder(b.TempDir())
	_, err := archive.Export(b.Context(), trail, target, "p", archive.Options{Keys: trail.Keys()})
	require.NoError(b, err)
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			p, err := archive.Export(b.Context(), trail, archive.Folder(b.TempDir()), "p", archive.Options{Keys: trail.Keys()})
			require.NoError(b, err)
			b.ReportMetric(float64(p.Bytes)/n, "B/record")
		}
		b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			r, err := verify(b, target, "p", trail.Keys())
			require.NoError(b, err)
			require.Equal(b, uint64(n), r.Records)
		}
		b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
}
