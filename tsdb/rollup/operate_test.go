package rollup_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/rollup"
)

// hiddenSeries counts what is in the storage beside the points.
func hiddenSeries(tb testing.TB, b *bed) (n int) {
	tb.Helper()
	sel := tsdb.Selection{Project: "rollups/p", Interval: tsdb.Interval{Start: 0, End: millis(noon.Add(24 * time.Hour))}}
	require.NoError(tb, b.store.Select(tb.Context(), sel, func(*tsdb.Series, tsdb.Points) error {
		n++
		return nil
	}))
	return n
}

// Of a series that was deleted nothing is told, and what is left is kept anew.
func TestKeeper_Delete(t *testing.T) {
	t.Parallel()
	r := hourly("ALIGN_SUM")
	groups := hourly("ALIGN_SUM")
	groups.GroupBy = []string{"resource.type"}
	b := newBed(t, tsdb.Gauge, r, groups)
	k := b.keeper(t, false)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour, 1), at(2, 3*time.Hour, 2)}))
	settle(t, k)
	require.Equal(t, 3, hiddenSeries(t, b))
	n, err := k.Delete(t.Context(), tsdb.Selection{Project: "p", Metric: "m", Keep: func(s *tsdb.Series) bool { return s.Key() == device(1).Key() }})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Zero(t, hiddenSeries(t, b))
	settle(t, k)
	require.Equal(t, 2, hiddenSeries(t, b))
	require.Equal(t, []float64{0, 0, 2}, sums(t, k, 3*time.Hour, 3))
	rule := k.Rules("p", "m")[1]
	all, _, err := k.Read(t.Context(), rollup.Read{Rule: rule, Fields: rollup.Sum, Until: millis(noon)})
	require.NoError(t, err)
	require.Len(t, all, 1)
	for _, kept := range all {
		_, p, ok := kept.Next()
		require.True(t, ok)
		require.Equal(t, 2., p.Sum)
	}
	_, err = k.Delete(t.Context(), tsdb.Selection{Project: "rollups/p"})
	require.Error(t, err)
}

// What is kept goes with the points that it was made of.
func TestKeeper_Expire(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_SUM"))
	k := b.keeper(t, false)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(1, 30*time.Hour, 1), at(2, 3*time.Hour, 2)}))
	settle(t, k)
	require.Equal(t, 2, hiddenSeries(t, b))
	n, err := k.Expire(t.Context(), tsdb.Selection{Project: "p", Metric: "m"}, millis(noon.Add(-24*time.Hour)))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 1, hiddenSeries(t, b))
}

// A copy of the storage and one of the database belong together: nothing is
// computed in between, and marks are in the database.
func TestKeeper_Copy(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_SUM"))
	k := b.keeper(t, false)
	settle(t, k)
	stepped := make(chan error, 1)
	require.NoError(t, k.Copy(t.Context(), func() error {
		go func() {
			_, err := k.Step(t.Context())
			stepped <- err
		}()
		return k.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour, 1)})
	}, func() error {
		var marks int
		require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM rollup_marks`).Scan(&marks))
		require.Equal(t, 1, marks)
		require.Zero(t, hiddenSeries(t, b))
		return nil
	}))
	require.NoError(t, <-stepped)
	settle(t, k)
	require.Equal(t, []float64{0, 1}, sums(t, k, 3*time.Hour, 2))
	broken := errors.New("no")
	require.ErrorIs(t, k.Copy(t.Context(), func() error { return broken }, nil), broken)
}

// gate admits nobody, and keeps the points of one metric for an hour.
type gate struct{}

// Admit implements tsdb.Gate.
func (gate) Admit(*tsdb.Series) (time.Duration, string) { return 0, "NO" }

// Retention implements tsdb.Gate.
func (gate) Retention(project, metric string) time.Duration {
	if project == "p" && metric == "m/a" {
		return time.Hour
	}
	return 0
}

// What is kept here passes every gate, for as long as its points.
func TestGate(t *testing.T) {
	t.Parallel()
	g := rollup.Gate{Gate: gate{}}
	kept, refused := g.Admit(&tsdb.Series{Project: "p", Metric: "m/a"})
	require.Equal(t, "NO", refused)
	require.Zero(t, kept)
	kept, refused = g.Admit(&tsdb.Series{Project: "rollups/p", Metric: "ID/sum/m/a"})
	require.Empty(t, refused)
	require.Equal(t, time.Hour, kept)
	require.Equal(t, time.Hour, g.Retention("rollups/p", "ID/sum/m/a"))
	require.Equal(t, time.Hour, g.Retention("p", "m/a"))
	require.Zero(t, g.Retention("rollups/p", ""))
}
