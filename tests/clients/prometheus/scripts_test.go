package prometheus

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/teststorage"
	"github.com/stretchr/testify/require"
)

// TestScripts runs the scripts of Prometheus' own tests, and compares our
// answer to each query in them with that of Prometheus' engine as it runs when no
// flag is given.
func TestScripts(t *testing.T) {
	b := &beside{flagged: promqltest.NewTestEngine(t, false, 5*time.Minute, 1_000_000), oracle: newOracle(t)}
	promqltest.RunBuiltinTestsWithStorage(t, b, func(t testing.TB) storage.Storage {
		return teststorage.New(t, func(o *tsdb.Options) {
			o.EnableSTStorage, o.FloatChunkEncoding, o.EnableHistogramSTEncoding = true, chunkenc.EncXOR2, true
		})
	})
	for _, a := range b.apart {
		t.Error(a)
	}
	t.Logf("%d queries are answered alike, of which both refuse %d; %d read native histograms", b.equal, b.refused, b.histograms)
	require.Equal(t, alikeInScripts, b.equal)
	require.Equal(t, histogramsInScripts, b.histograms)
}

// How many queries there are in the scripts, with those that they make of each
// other: a query is asked at other times with an @ too, and as a range. What reads a
// native histogram is not compared, since there are none in our storage; nothing
// else is left out. What Prometheus has behind a flag both refuse.
const (
	alikeInScripts      = 13_016
	histogramsInScripts = 8_426
)
