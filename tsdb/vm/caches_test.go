package vm

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
)

// Small caches are forgotten when a store is opened, large ones are not, and what
// was in them is found all the same: by its name, so that no series begins anew, and
// by what is asked.
func TestOpen_ForgetsSmallCaches(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(s *Store, age time.Duration) {
		t.Helper()
		batch := make([]tsdb.Sample, 300)
		for i := range batch {
			batch[i] = tsdb.Sample{Series: series("m", strconv.Itoa(i)), Time: ago(age), Value: float64(i)}
		}
		require.NoError(t, s.Append(t.Context(), batch))
	}
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	write(s, time.Minute)
	n, points := count(t, s, "p")
	require.Equal(t, []int{300, 300}, []int{n, points})
	require.NoError(t, s.Close())
	mark := func(cache string, size int64) string {
		t.Helper()
		file := filepath.Join(dir, "cache", cache, "mark")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		require.NoError(t, os.Truncate(file, size))
		return file
	}
	small, large := mark("metricID_tsid", 1), mark("metricID_metricName", smallCache)

	s, err = Open(dir, Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoFileExists(t, small)
	require.FileExists(t, large)
	write(s, time.Second)
	n, points = count(t, s, "p")
	require.Equal(t, []int{300, 600}, []int{n, points})
}

// TestZSTD_TwoLibraries holds that what the engine packs by C's library, where the
// program was built with a C compiler, is read by Go's, which it has where not, and
// the other way round: a folder may go from one build to the other.
func TestZSTD_TwoLibraries(t *testing.T) {
	t.Parallel()
	packer, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	unpacker, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer unpacker.Close()
	for _, n := range []int{0, 1, 100, 8192, 1 << 20} {
		plain := make([]byte, n)
		for i := range plain {
			plain[i] = byte(i * i >> 7)
		}
		for level := 1; level <= 5; level++ {
			got, err := unpacker.DecodeAll(encoding.CompressZSTDLevel(nil, plain, level), nil)
			require.NoError(t, err)
			require.Equal(t, string(plain), string(got))
		}
		got, err := encoding.DecompressZSTD(nil, packer.EncodeAll(plain, nil))
		require.NoError(t, err)
		require.Equal(t, string(plain), string(got))
	}
}
