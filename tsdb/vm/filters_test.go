package vm

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
)

// Selections have the same key if what filters are made of is the same, and only
// then.
func TestAppendSelection_NoTwoAlike(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.SampledFrom([]string{"", "a", "b", "ab", "\x01", "\x01a", "\x00"})
		condition := rapid.Custom(func(rt *rapid.T) tsdb.Condition {
			return tsdb.Condition{
				Field: tsdb.ConditionField(rapid.IntRange(0, 2).Draw(rt, "field")), Label: text.Draw(rt, "label"),
				Values: rapid.SliceOfN(text, 1, 3).Draw(rt, "values"),
			}
		})
		selection := rapid.Custom(func(rt *rapid.T) tsdb.Selection {
			return tsdb.Selection{Project: text.Draw(rt, "project"), Metric: text.Draw(rt, "metric"), Where: rapid.SliceOfN(condition, 0, 2).Draw(rt, "where")}
		})
		a, b := selection.Draw(rt, "a"), selection.Draw(rt, "b")
		same := fmt.Sprintf("%q %q %q", a.Project, a.Metric, a.Where) == fmt.Sprintf("%q %q %q", b.Project, b.Metric, b.Where)
		require.Equal(rt, same, string(appendSelection(nil, a)) == string(appendSelection(nil, b)))
	})
}

// A series that is new is found by who asks again, and what is remembered is
// bounded.
func TestFiltersOf_New(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	at := tsdb.Millis(time.Now().UnixMilli())
	find := func(metric string) (n int) {
		sel := tsdb.Selection{Project: "p", Metric: metric, Interval: tsdb.Interval{Start: at, End: at}}
		require.NoError(t, s.Select(t.Context(), sel, func(*tsdb.Series, tsdb.Points) error { n++; return nil }))
		return n
	}
	for i := range 5 {
		one := &tsdb.Series{Project: "p", Metric: "m", Resource: "device", ResourceLabels: tsdb.LabelsOf(map[string]string{"device_id": fmt.Sprint(i)})}
		require.NoError(t, s.Append(t.Context(), []tsdb.Sample{{Series: one, Time: at, Value: 1}}))
		require.Equal(t, i+1, find("m"))
	}
	for i := range maxFilters + 10 {
		require.Zero(t, find(fmt.Sprint("none", i)))
		require.LessOrEqual(t, len(s.filters.byKey), maxFilters)
	}
}
