package tsdbtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// Operable is a store that can be surveyed and deleted from.
type Operable interface {
	tsdb.Store
	tsdb.Surveyor
	tsdb.Deleter
	tsdb.Expirer
}

// RunOperations checks that what open returns keeps the contracts of
// tsdb.Surveyor and tsdb.Deleter.
func RunOperations(t *testing.T, open func(t *testing.T, dir string) tsdb.Store) {
	t.Helper()
	tests := []struct {
		name string
		run  func(*testing.T, *operated)
	}{
		{"Survey", testSurvey},
		{"DeleteMetric", testDeleteMetric},
		{"DeleteKept", testDeleteKept},
		{"DeleteHostile", testDeleteHostile},
		{"DeleteProject", testDeleteProject},
		{"DeleteBound", testDeleteBound},
		{"DeleteDistributions", testDeleteDistributions},
		{"Expire", testExpire},
		{"DeletedComesAgain", testDeletedComesAgain},
		{"DeletedComesAgainInAnotherMonth", testDeletedOtherMonth},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store := open(t, t.TempDir())
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			o, ok := store.(Operable)
			require.True(t, ok, "the store can be surveyed and deleted from")
			test.run(t, &operated{storeUnderTest{store}, o})
		})
	}
}

// RunDeletedDurable checks that a deletion survives, for a store that keeps what
// it has in its folder.
func RunDeletedDurable(t *testing.T, open func(t *testing.T, dir string) tsdb.Store) {
	t.Helper()
	dir := t.TempDir()
	a, b := gauge("m", "a"), gauge("m", "b")
	var want []float64
	for round := range 3 {
		store := open(t, dir)
		s := &operated{storeUnderTest{store}, store.(Operable)}
		require.Equal(t, want, s.read(t, all())[a.Key()].values)
		s.add(t, at(a, tsdb.Millis(round), float64(round)), at(b, tsdb.Millis(round), 1))
		require.Equal(t, 1, s.remove(t, tsdb.Selection{Project: "p", Keep: func(x *tsdb.Series) bool { return x.Key() == a.Key() }}))
		s.add(t, at(a, 100+tsdb.Millis(round), 10))
		want = []float64{10}
		require.Len(t, s.read(t, all())[b.Key()].values, round+1)
		require.NoError(t, store.Close())
	}
}

// operated adds to a store what the tests say often.
type operated struct {
	storeUnderTest

	ops Operable
}

// names are the keys of the series that there are in project "p".
func (s *operated) names(t *testing.T) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(s.read(t, all())))
}

// remove deletes and returns how many series that were.
func (s *operated) remove(t *testing.T, sel tsdb.Selection) int {
	t.Helper()
	n, err := s.ops.Delete(t.Context(), sel)
	require.NoError(t, err)
	return n
}

// keysOf are the keys of series, sorted.
func keysOf(series ...*tsdb.Series) []string {
	var keys []string
	for _, s := range series {
		keys = append(keys, s.Key())
	}
	slices.Sort(keys)
	return keys
}

func testSurvey(t *testing.T, s *operated) {
	a, b, c := gauge("m", "a"), gauge("m", "b"), gauge("n", "a")
	other := gauge("m", "a")
	other.Project = "q"
	const days = 5 * 24 * 3_600_000
	s.add(t, at(a, 0, 1), at(a, 1000, 2), at(b, -days, 1), at(c, 0, 1), at(other, 0, 1))
	survey := func(sel tsdb.Selection) []string {
		t.Helper()
		var got []*tsdb.Series
		require.NoError(t, s.ops.Survey(t.Context(), sel, func(x *tsdb.Series) error { got = append(got, x); return nil }))
		return keysOf(got...)
	}
	require.Equal(t, keysOf(a, b, c), survey(all()))
	within := tsdb.Interval{Start: base - 1000, End: base + 2000}
	require.Equal(t, keysOf(a, c), survey(tsdb.Selection{Project: "p", Interval: within}))
	require.Equal(t, keysOf(a), survey(tsdb.Selection{Project: "p", Metric: "m", Interval: within}))
	require.Equal(t, keysOf(other), survey(tsdb.Selection{Project: "q", Interval: within}))
	onlyA := all()
	onlyA.Keep = func(x *tsdb.Series) bool { v, _ := x.ResourceLabels.Get("device_id"); return v == "a" }
	require.Equal(t, keysOf(a, c), survey(onlyA))

	bounded := all()
	bounded.MaxSeries = 2
	visit := func(*tsdb.Series) error { return nil }
	require.Equal(t, fault.Exhausted, fault.KindOf(s.ops.Survey(t.Context(), bounded, visit)))
	bounded.MaxSeries = 3
	require.NoError(t, s.ops.Survey(t.Context(), bounded, visit))
	stop := fmt.Errorf("enough")
	require.Same(t, stop, s.ops.Survey(t.Context(), all(), func(*tsdb.Series) error { return stop }))
	require.Equal(t, fault.Invalid, fault.KindOf(s.ops.Survey(t.Context(), tsdb.Selection{Interval: within}, visit)))
}

func testDeleteMetric(t *testing.T, s *operated) {
	a, b, c := gauge("m", "a"), gauge("m", "b"), gauge("mm", "a")
	foreign := gauge("m", "a")
	foreign.Project = "q"
	s.add(t, at(a, 0, 1), at(b, 7_200_000, 2), at(c, 0, 3), at(foreign, 0, 4))
	require.Equal(t, 2, s.remove(t, tsdb.Selection{Project: "p", Metric: "m"}), "the interval does not count")
	require.Equal(t, keysOf(c), s.names(t))
	require.Equal(t, 0, s.remove(t, tsdb.Selection{Project: "p", Metric: "m"}))
	q := all()
	q.Project = "q"
	require.Len(t, s.read(t, q), 1, "the project of others is theirs")
	_, err := s.ops.Delete(t.Context(), tsdb.Selection{Metric: "m"})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// A series whose labels are also those of another one goes alone.
func testDeleteKept(t *testing.T, s *operated) {
	plain, more, other, deep := gauge("m", "a"), gauge("m", "a"), gauge("n", "a"), gauge("m", "a")
	more.MetricLabels = tsdb.Labels{{Name: "state", Value: "on"}}
	deep.MetricLabels = tsdb.Labels{{Name: "deep", Value: ""}, {Name: "state", Value: "on"}}
	every := []*tsdb.Series{plain, more, other, deep}
	keep := func(wanted *tsdb.Series) tsdb.Selection {
		return tsdb.Selection{Project: "p", Keep: func(x *tsdb.Series) bool { return x.Key() == wanted.Key() }}
	}
	for i, victim := range every {
		for j, x := range every {
			s.add(t, at(x, tsdb.Millis(100*i+j), 1))
		}
		sel := keep(victim)
		sel.Metric = []string{"", victim.Metric}[i%2]
		require.Equal(t, 1, s.remove(t, sel))
		left := slices.DeleteFunc(slices.Clone(every), func(x *tsdb.Series) bool { return x == victim })
		require.Equal(t, keysOf(left...), s.names(t))
	}
}

func testDeleteHostile(t *testing.T, s *operated) {
	values := []string{`a"b\c`, "line\nbreak", "é世界", ".*", "a|b", "{}", "", "\x00", "a", `",x="`, strings.Repeat("long", 250)}
	labels := []string{"l", "with.dot", "with-dash", "with/slash", "é", "__name__", "project", "a b", `a"b`}
	var series []*tsdb.Series
	for _, v := range values {
		x := gauge("m", "a")
		x.MetricLabels = tsdb.Labels{{Name: "l", Value: v}}
		series = append(series, x)
	}
	for _, l := range labels[1:] {
		x := gauge("m", "a")
		x.MetricLabels = tsdb.Labels{{Name: l, Value: "v"}}
		series = append(series, x)
	}
	for i, x := range series {
		s.add(t, at(x, tsdb.Millis(i), 1))
	}
	require.Equal(t, keysOf(series...), s.names(t))
	for len(series) > 0 {
		victim := series[0]
		series = series[1:]
		require.Equal(t, 1, s.remove(t, tsdb.Selection{Project: "p", Keep: func(x *tsdb.Series) bool { return x.Key() == victim.Key() }}), "%q", victim.Key())
		require.Equal(t, keysOf(series...), s.names(t), "%q", victim.Key())
	}
}

func testDeleteProject(t *testing.T, s *operated) {
	a, b := gauge("m", "a"), gauge("n", "b")
	foreign := gauge("m", "a")
	foreign.Project = "pp"
	s.add(t, at(a, 0, 1), at(b, 0, 2), at(foreign, 0, 4))
	require.Equal(t, 2, s.remove(t, tsdb.Selection{Project: "p"}))
	require.Empty(t, s.names(t))
	q := all()
	q.Project = "pp"
	require.Len(t, s.read(t, q), 1)
}

func testDeleteBound(t *testing.T, s *operated) {
	a, b := gauge("m", "a"), gauge("m", "b")
	s.add(t, at(a, 0, 1), at(b, 0, 2))
	for _, keep := range []func(*tsdb.Series) bool{nil, func(*tsdb.Series) bool { return true }} {
		_, err := s.ops.Delete(t.Context(), tsdb.Selection{Project: "p", Keep: keep, MaxSeries: 1})
		require.Equal(t, fault.Exhausted, fault.KindOf(err))
		require.Equal(t, keysOf(a, b), s.names(t), "none is removed")
	}
}

func testExpire(t *testing.T, s *operated) {
	old, young, both, other := gauge("m", "old"), gauge("m", "young"), gauge("m", "both"), gauge("n", "old")
	const day = 24 * 3_600_000
	s.add(t, at(old, -5*day, 1), at(young, 0, 1), at(both, -5*day, 1), at(both, 0, 2), at(other, -5*day, 1))
	expire := func(metric string, since tsdb.Millis) int {
		t.Helper()
		n, err := s.ops.Expire(t.Context(), tsdb.Selection{Project: "p", Metric: metric}, since)
		require.NoError(t, err)
		return n
	}
	require.Equal(t, 0, expire("m", base-6*day))
	require.Equal(t, 1, expire("m", base-2*day))
	require.Equal(t, keysOf(young, both, other), s.names(t))
	require.Equal(t, []float64{1, 2}, s.read(t, all())[both.Key()].values, "a series goes whole or not at all")
	require.Equal(t, 1, expire("", base-2*day))
	require.Equal(t, keysOf(young, both), s.names(t))
	require.Equal(t, 2, expire("m", base+5*day))
	require.Empty(t, s.names(t))
}

// A series of the same name is a new one, with none of the old points.
func testDeletedComesAgain(t *testing.T, s *operated) {
	a := gauge("m", "a")
	for round := range 4 {
		s.add(t, at(a, tsdb.Millis(round), float64(round)), at(a, 10, float64(round)))
		got := s.read(t, all())[a.Key()]
		require.Equal(t, []tsdb.Millis{base + tsdb.Millis(round), base + 10}, got.times)
		require.Equal(t, []float64{float64(round), float64(round)}, got.values, "the greatest of old points does not count")
		if round%2 == 1 {
			require.NoError(t, s.Sync(t.Context()))
		}
		require.Equal(t, 1, s.remove(t, tsdb.Selection{Project: "p", Metric: "m"}))
		require.Empty(t, s.names(t))
	}
}

// Points of months in which the series was and was not deleted come in one
// batch.
func testDeletedOtherMonth(t *testing.T, s *operated) {
	a, b := gauge("m", "a"), gauge("m", "b")
	const next = 7_200_000 // an hour into the next month
	s.add(t, at(a, 0, 1), at(b, next, 1))
	require.Equal(t, 2, s.remove(t, tsdb.Selection{Project: "p", Metric: "m"}))
	s.add(t, at(a, next, 2), at(b, 0, 2))
	require.Equal(t, []float64{2}, s.read(t, all())[a.Key()].values)
	s.add(t, at(a, next+1, 3), at(a, 1, 4), at(b, 1, 3), at(b, next+1, 4), at(a, 2, 5), at(a, next+2, 6))
	got := s.read(t, all())
	require.Equal(t, []float64{4, 5, 2, 3, 6}, got[a.Key()].values)
	require.Equal(t, []float64{2, 3, 4}, got[b.Key()].values)
}
