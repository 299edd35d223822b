package backends

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/vm"
)

// A store that only reads finds what another one wrote, on a server and by
// vmselect's paths alone, and changes nothing.
func TestReader(t *testing.T) {
	t.Parallel()
	server := startVictoria(t, t.TempDir())
	t.Cleanup(func() { require.NoError(t, server.Kill()) })
	front := startProxy(t, server.URL, server.URL, server.URL)
	t.Cleanup(func() { require.NoError(t, front.kill()) })
	writer, err := vm.Connect(server.URL, vm.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, writer.Close()) })
	now := tsdb.Millis(time.Now().UnixMilli())
	sample := tsdb.Sample{Series: victoriaSeries("p", "d"), Time: now, Value: 7}
	require.NoError(t, writer.Append(t.Context(), []tsdb.Sample{sample}))
	sel := tsdb.Selection{Project: "p", Metric: "m", Interval: tsdb.Interval{Start: now - 1000, End: now}}
	// The writer's own selection has the server show what it has.
	require.NoError(t, writer.Select(t.Context(), sel, func(*tsdb.Series, tsdb.Points) error { return nil }))
	for _, address := range []string{server.URL, front.cluster().Read} {
		store, err := vm.ConnectReader(address, vm.Options{})
		require.NoError(t, err)
		var values []float64
		require.NoError(t, store.Select(t.Context(), sel, func(_ *tsdb.Series, points tsdb.Points) error {
			values = append(values, points.Values...)
			return nil
		}))
		require.Equal(t, []float64{7}, values, address)
		require.NoError(t, store.Survey(t.Context(), sel, func(*tsdb.Series) error { return nil }))
		_, err = store.Push(t.Context(), sel, tsdb.Alignment{Aligner: "ALIGN_MAX", End: now, Period: 60_000, Windows: 5}, func(*tsdb.Series, tsdb.Points) error { return nil })
		require.NoError(t, err)

		readOnly := func(err error) {
			t.Helper()
			require.Equal(t, fault.Unsupported, fault.KindOf(err), "%v", err)
		}
		readOnly(store.Append(t.Context(), []tsdb.Sample{sample}))
		_, err = store.Delete(t.Context(), sel)
		readOnly(err)
		_, err = store.Expire(t.Context(), sel, now)
		readOnly(err)
		_, err = store.ServerSnapshot(t.Context())
		readOnly(err)
		require.NoError(t, store.Sync(t.Context()), "there is nothing to sync")
		require.NoError(t, store.Close())
	}
	for _, wrong := range []string{"", "ftp://h", "http://h/select/x/prometheus", "http://h:8481/select/0/graphite", "http://h:8480/insert/0/prometheus"} {
		_, err := vm.ConnectReader(wrong, vm.Options{})
		require.Equal(t, fault.Invalid, fault.KindOf(err), wrong)
	}
}
