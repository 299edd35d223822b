package vm

import (
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
)

// canonical is the name of s as the engine keeps it in its index.
func canonical(t require.TestingT, s *tsdb.Series) []byte {
	var mn storage.MetricName
	require.NoError(t, mn.UnmarshalRaw(appendName(nil, s)))
	slices.SortFunc(mn.Tags, func(a, b storage.Tag) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return mn.Marshal(nil)
}

// anyText draws text that is likely to confuse: the empty one, separators and
// escapes of the engine, names that are taken, and anything else.
func anyText() *rapid.Generator[string] {
	special := []string{"", "\x00", "\x00\x00", "\x01", "\x02", "\x00a", "__name__", "project", "resource", "resource_", "metric_", "\xfe", "a"}
	return rapid.OneOf(rapid.SampledFrom(special), rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
}

// anySeries draws a series that is nameable.
func anySeries() *rapid.Generator[*tsdb.Series] {
	some := anyText().Filter(func(s string) bool { return s != "" })
	labels := rapid.Map(rapid.MapOfN(anyText(), anyText(), 0, 4), func(m map[string]string) tsdb.Labels {
		if len(m) == 0 {
			return nil
		}
		return tsdb.LabelsOf(m)
	})
	return rapid.Custom(func(t *rapid.T) *tsdb.Series {
		return &tsdb.Series{
			Project: some.Draw(t, "project"), Metric: some.Draw(t, "metric"), Resource: anyText().Draw(t, "resource"),
			MetricLabels: labels.Draw(t, "metric labels"), ResourceLabels: labels.Draw(t, "resource labels"),
		}
	})
}

func TestNames_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anySeries().Draw(t, "series")
		require.True(t, nameable(s))
		got, err := parseName(new(storage.MetricName), canonical(t, s))
		require.NoError(t, err)
		require.Equal(t, s, got)
	})
}

// Written out once, because a Prometheus API shows these names to users.
func TestNames_Prometheus(t *testing.T) {
	t.Parallel()
	var mn storage.MetricName
	require.NoError(t, mn.Unmarshal(canonical(t, &tsdb.Series{
		Project: "p", Metric: "com.example.climate/temperature", Resource: "device",
		ResourceLabels: tsdb.Labels{{Name: "device_id", Value: "d1"}},
		MetricLabels:   tsdb.Labels{{Name: "room", Value: "kitchen"}, {Name: "shelf", Value: ""}},
	})))
	require.Equal(t,
		`com.example.climate/temperature{metric_room="kitchen",metric_shelf="\x00",project="p",resource="device",resource_device_id="d1"}`,
		mn.String())
}

func TestNameable(t *testing.T) {
	t.Parallel()
	ok := tsdb.Series{Project: "p", Metric: "m", Resource: "r"}
	f := func(want bool, change func(s *tsdb.Series)) {
		t.Helper()
		s := ok
		change(&s)
		require.Equal(t, want, nameable(&s))
		if want {
			require.LessOrEqual(t, len(appendName(nil, &s)), maxNameBytes)
		}
	}
	f(true, func(*tsdb.Series) {})
	f(true, func(s *tsdb.Series) { s.Resource = "" })
	f(false, func(s *tsdb.Series) { s.Project = "" })
	f(false, func(s *tsdb.Series) { s.Metric = "" })
	f(false, func(s *tsdb.Series) { s.MetricLabels = tsdb.Labels{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}} })
	f(false, func(s *tsdb.Series) { s.ResourceLabels = tsdb.Labels{{Name: "b", Value: "1"}, {Name: "a", Value: "2"}} })
	f(true, func(s *tsdb.Series) { s.MetricLabels = tsdb.Labels{{Name: "a", Value: strings.Repeat("\x00", 16_000)}} })
	f(false, func(s *tsdb.Series) {
		s.MetricLabels = tsdb.Labels{{Name: "a", Value: strings.Repeat("x", maxNameBytes)}}
	})
	f(false, func(s *tsdb.Series) { s.Metric = strings.Repeat("x", 1<<17) })
}

func FuzzParseName(f *testing.F) {
	f.Add([]byte("m\x01project\x01p\x01"))
	f.Add([]byte("m\x01metric_a\x01\x000\x01project\x01p\x01resource\x01r\x01"))
	f.Add([]byte("m\x01other\x01p\x01"))
	f.Add([]byte("m"))
	f.Fuzz(func(t *testing.T, name []byte) {
		s, err := parseName(new(storage.MetricName), name)
		if err != nil || !nameable(s) {
			return
		}
		again, err := parseName(new(storage.MetricName), canonical(t, s))
		require.NoError(t, err)
		require.Equal(t, s, again)
	})
}
