package query_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
)

// many is a store that makes up so many series of so many points, a second
// apart and up to the year 2001.
type many struct {
	*memory.Store

	series, points int
	// mu guards peak, the most memory that there was while it told of them.
	mu   sync.Mutex
	peak uint64
	// hold, if not nil, has the last series wait until it is closed or the query
	// ends.
	hold chan struct{}
}

// Select implements tsdb.Store.
func (m *many) Select(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	end := tsdb.Millis(time.Date(2001, time.January, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	points := tsdb.Points{Times: make([]tsdb.Millis, m.points), Values: make([]float64, m.points)}
	for i := range m.points {
		points.Times[i] = end - tsdb.Millis(m.points-1-i)*1000
	}
	for i := range m.series {
		s := &tsdb.Series{
			Project: "p", Metric: "m", Resource: "device", Kind: tsdb.Gauge, ValueType: tsdb.Double,
			ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprint(i)}},
		}
		if m.hold != nil && i == m.series-1 {
			select {
			case <-m.hold:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := visit(s, points); err != nil {
			return err
		}
		if i%500 == 0 {
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			m.mu.Lock()
			m.peak = max(m.peak, stats.HeapAlloc)
			m.mu.Unlock()
		}
	}
	return ctx.Err()
}

// ofMany is a request for all of them, with an aligner and a reducer, "" for
// none.
func ofMany(points int, aligner, reducer string) query.Request {
	end := time.Date(2001, time.January, 1, 0, 0, 0, 0, time.UTC)
	return query.Request{
		Project: "p", Filter: `metric.type = "m"`, Start: end.Add(-time.Duration(points) * time.Second), End: end,
		Aggregation: query.Aggregation{PerSeriesAligner: aligner, CrossSeriesReducer: reducer, AlignmentPeriod: time.Second},
	}
}

// SPEC A6: a query over its bound ends with an error that says so, whatever
// stage it is that holds the points, and before the memory is used.
func TestBudget_QueryTooLarge(t *testing.T) {
	const series, points, most = 20_000, 2000, 64 << 20 // 640 MB of points
	for _, reducer := range []string{"REDUCE_MEAN", "REDUCE_PERCENTILE_99"} {
		m := &many{series: series, points: points}
		e := query.New(m, query.Options{MaxBytes: most})
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := e.List(t.Context(), ofMany(points, "ALIGN_MEAN", reducer))
		require.Equal(t, fault.Exhausted, fault.KindOf(err))
		require.Equal(t, query.QueryTooLarge, fault.ReasonOf(err), err)
		require.Contains(t, err.Error(), fmt.Sprint(most))
		require.Less(t, int64(m.peak)-int64(before.HeapAlloc), int64(4*most), "garbage is not counted, and is no more than that")
	}
	// What is within it is answered by the same engine after that; so is a query
	// that reads as much but holds little of it.
	e := query.New(&many{series: 1000, points: points}, query.Options{MaxBytes: most})
	page, err := e.List(t.Context(), ofMany(points, "ALIGN_MEAN", "REDUCE_MEAN"))
	require.NoError(t, err)
	require.Len(t, page.Results, 1)
	e = query.New(&many{series: series, points: points}, query.Options{MaxBytes: most})
	page, err = e.List(t.Context(), ofMany(points, "ALIGN_MEAN", ""))
	require.NoError(t, err, "a page holds a hundred thousand points, and what is behind it is let go")
	require.NotEmpty(t, page.Next)
}

// SPEC A6: queries that together want more than there is wait for each other,
// and what waits too long is told to come again.
func TestBudget_Together(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		budget := query.NewBudget(16<<20, 10*time.Second) // room for two
		hold := make(chan struct{})
		slow := query.New(&many{series: 2, points: 10, hold: hold}, query.Options{Budget: budget})
		fast := query.New(&many{series: 2, points: 10}, query.Options{Budget: budget})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := slow.List(t.Context(), ofMany(10, "", ""))
				require.NoError(t, err)
			})
		}
		synctest.Wait()
		begin := time.Now()
		_, err := fast.List(t.Context(), ofMany(10, "", ""))
		require.Equal(t, query.QueriesBusy, fault.ReasonOf(err), err)
		require.Equal(t, 429, fault.KindOf(err).HTTPStatus())
		require.Equal(t, 2, fault.RetryAfterSeconds(err))
		require.Equal(t, 10*time.Second, time.Since(begin))

		// Who goes away does not wait, and whose turn comes is answered.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = fast.List(ctx, ofMany(10, "", ""))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		wg.Go(func() {
			_, err := fast.List(t.Context(), ofMany(10, "", ""))
			require.NoError(t, err)
		})
		synctest.Wait()
		close(hold)
		wg.Wait()
	})
}

// A query that grows into what others have is ended, and gives back what it
// had; it does not wait with it.
func TestBudget_Grows(t *testing.T) {
	t.Parallel()
	budget := query.NewBudget(32<<20, time.Millisecond)
	e := query.New(&many{series: 500, points: 2000}, query.Options{Budget: budget}) // 16 MB
	_, end, err := budget.Begin(t.Context(), 0)
	require.NoError(t, err)
	other, endOther, err := budget.Begin(t.Context(), 0)
	require.NoError(t, err)
	require.NoError(t, other(16<<20))
	for range 3 {
		_, err := e.List(t.Context(), ofMany(2000, "ALIGN_MEAN", "REDUCE_MAX"))
		require.Equal(t, query.QueriesBusy, fault.ReasonOf(err), err)
	}
	end()
	endOther()
	for range 3 {
		_, err := e.List(t.Context(), ofMany(2000, "ALIGN_MEAN", "REDUCE_MAX"))
		require.NoError(t, err)
	}
	e = query.New(&many{series: 2000, points: 2000}, query.Options{Budget: budget})
	_, err = e.List(t.Context(), ofMany(2000, "ALIGN_MEAN", "REDUCE_MAX"))
	require.Equal(t, query.QueryTooLarge, fault.ReasonOf(err), "more than there is at all")
}

// Another engine has its memory from the same budget.
func TestBudget_Begin(t *testing.T) {
	t.Parallel()
	budget := query.NewBudget(24<<20, time.Millisecond)
	reach, end, err := budget.Begin(t.Context(), 20<<20)
	require.NoError(t, err)
	for _, bytes := range []int64{1, 10 << 20, 5, 16 << 20, 15 << 20} {
		require.NoError(t, reach(bytes))
	}
	e := query.New(&many{series: 2, points: 10}, query.Options{Budget: budget})
	_, err = e.List(t.Context(), ofMany(10, "", ""))
	require.NoError(t, err)
	require.NoError(t, reach(17<<20))
	_, err = e.List(t.Context(), ofMany(10, "", ""))
	require.Equal(t, query.QueriesBusy, fault.ReasonOf(err), err)
	require.Equal(t, query.QueryTooLarge, fault.ReasonOf(reach(21<<20)))
	end()
	_, err = e.List(t.Context(), ofMany(10, "", ""))
	require.NoError(t, err)
}
