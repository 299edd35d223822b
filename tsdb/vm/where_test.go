package vm_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/vm"
)

// hostile are values that mean something to somebody.
var hostile = []string{"a", "b", "a|b", ".*", ".+", "a.b", "(", "[", "\\", "^a$", "\x00", "\x00a", "\x01", "\x02", "a\x01b", "\n", "é", "\xff", "a b", "{}", "$", "A"}

// A condition that Keep implies changes no answer, whatever the values.
func TestSelect_Where(t *testing.T) {
	t.Parallel()
	s, err := vm.Open(t.TempDir(), vm.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	at := tsdb.Millis(time.Now().Add(-time.Hour).UnixMilli())
	var batch []tsdb.Sample
	for _, metric := range hostile {
		for _, value := range hostile {
			one := &tsdb.Series{
				Project: "p", Metric: metric, Resource: "device",
				ResourceLabels: tsdb.Labels{{Name: "device_id", Value: value}}, MetricLabels: tsdb.Labels{{Name: "l.é", Value: metric}},
			}
			batch = append(batch, tsdb.Sample{Series: one, Time: at, Value: 1})
		}
	}
	require.NoError(t, s.Append(t.Context(), batch))
	rapid.Check(t, func(rt *rapid.T) {
		var where []tsdb.Condition
		for _, c := range []tsdb.Condition{
			{Field: tsdb.MetricType}, {Field: tsdb.MetricLabel, Label: "l.é"}, {Field: tsdb.ResourceLabel, Label: "device_id"},
		} {
			c.Values = rapid.SliceOfN(rapid.SampledFrom(append([]string{"none"}, hostile...)), 0, 5).Draw(rt, "values")
			if len(c.Values) > 0 {
				where = append(where, c)
			}
		}
		keep := func(s *tsdb.Series) bool {
			for _, c := range where {
				value := s.Metric
				switch c.Field {
				case tsdb.MetricLabel:
					value, _ = s.MetricLabels.Get(c.Label)
				case tsdb.ResourceLabel:
					value, _ = s.ResourceLabels.Get(c.Label)
				}
				if !slices.Contains(c.Values, value) {
					return false
				}
			}
			return true
		}
		read := func(where []tsdb.Condition) map[string]bool {
			got := map[string]bool{}
			sel := tsdb.Selection{Project: "p", Where: where, Keep: keep, Interval: tsdb.Interval{Start: 0, End: math.MaxInt64}}
			require.NoError(rt, s.Select(t.Context(), sel, func(s *tsdb.Series, _ tsdb.Points) error { got[s.Key()] = true; return nil }))
			return got
		}
		require.Equal(rt, read(nil), read(where))
	})
}
