package vm_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/vm"
)

// sums makes of points their sum in each window of w that has some.
func sums(w tsdb.Windows) func(*tsdb.Series, tsdb.Points) tsdb.Points {
	return func(_ *tsdb.Series, p tsdb.Points) tsdb.Points {
		var out tsdb.Points
		for i, t := range p.Times {
			end := w.End - (w.End-t)/w.Period*w.Period
			if n := out.Len(); n == 0 || out.Times[n-1] != end {
				out.Times, out.Values = append(out.Times, end), append(out.Values, 0)
			}
			out.Values[out.Len()-1] += p.Values[i]
		}
		return out
	}
}

// atOnce are the windows of the one series that is selected, all of it read at once,
// and how many points that were.
func atOnce(t *testing.T, s *vm.Store, sel tsdb.Selection, w tsdb.Windows) (made tsdb.Points, read int) {
	t.Helper()
	require.NoError(t, s.Scan(t.Context(), sel, func(series *tsdb.Series, p tsdb.Points) (any, error) {
		read = p.Len()
		return w.Of(series, p), nil
	}, func(_ *tsdb.Series, m any) (bool, error) {
		made = m.(tsdb.Points)
		return true, nil
	}))
	return made, read
}

// windowed are the same by ScanWindows.
func windowed(t *testing.T, s *vm.Store, sel tsdb.Selection, w tsdb.Windows) (made tsdb.Points, read int) {
	t.Helper()
	require.NoError(t, s.ScanWindows(t.Context(), sel, w, func(_ *tsdb.Series, p tsdb.Points, n int) (any, error) {
		read = n
		return p, nil
	}, func(_ *tsdb.Series, m any) (bool, error) {
		made = m.(tsdb.Points)
		return true, nil
	}))
	return made, read
}

// What is remembered never changes an answer: whatever was asked before, and
// whatever came late, twice or was merged since then.
func TestScanWindows_LikeScan(t *testing.T) {
	t.Parallel()
	s, err := vm.Open(t.TempDir(), vm.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	millis := func(of ...int) tsdb.Millis { return tsdb.Millis(of[random.IntN(len(of))]) }
	one := device(1, 0)
	begin := tsdb.Millis(time.Now().Add(-time.Hour).UnixMilli())
	spared := 0
	for step := range 1500 {
		if step%25 == 0 { // each time that something is visible takes 50 ms
			at := begin + tsdb.Millis(random.IntN(1500))*1000
			var batch []tsdb.Sample
			for range 1 + random.IntN(60) {
				at += tsdb.Millis(1 + random.IntN(20_000))
				batch = append(batch, tsdb.Sample{Series: one, Time: at, Value: float64(random.IntN(10))})
			}
			require.NoError(t, s.Append(t.Context(), batch))
		}
		if step%400 == 399 {
			require.NoError(t, s.Sync(t.Context()))
		}
		w := tsdb.Windows{Name: "sum", Period: millis(1000, 60_000, 300_000)}
		w.End = begin + tsdb.Millis(random.IntN(40))*60_000 + millis(0, 0, 0, 7)
		w.Of = sums(w)
		from := w.End - w.Period*millis(1, 5, 40, 400)
		sel := tsdb.Selection{Project: "p", Metric: one.Metric, Interval: tsdb.Interval{Start: from + 1, End: w.End}}
		want, all := atOnce(t, s, sel, w)
		got, read := windowed(t, s, sel, w)
		require.Equal(t, want.Len(), got.Len(), "step %d", step)
		for i := range want.Times {
			require.Equal(t, want.Times[i], got.Times[i], "step %d", step)
			require.Equal(t, want.Values[i], got.Values[i], "step %d", step)
		}
		require.LessOrEqual(t, read, all)
		spared += all - read
	}
	require.Positive(t, spared, "nothing was remembered")
}

// A series of many blocks is aligned piece by piece, and comes to the same as in one
// go: whatever the windows are, how they lie to the blocks, and what was late.
func TestScanWindows_Pieces(t *testing.T) {
	t.Parallel()
	s, err := vm.Open(t.TempDir(), vm.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	one, begin := device(1, 0), tsdb.Millis(time.Now().Add(-48*time.Hour).UnixMilli())
	write := func(from, n int, step tsdb.Millis) {
		t.Helper()
		batch := make([]tsdb.Sample, n)
		for i := range batch {
			batch[i] = tsdb.Sample{Series: one, Time: begin + tsdb.Millis(from) + tsdb.Millis(i)*step, Value: float64(i * 7919 % 101)}
		}
		require.NoError(t, s.Append(t.Context(), batch))
		require.NoError(t, s.Sync(t.Context()))
	}
	write(0, 120_000, 1000)
	write(500, 9_000, 7000)        // late, between the others
	write(90_000_000, 30_000, 333) // late, partly the same times
	for _, period := range []tsdb.Millis{1000, 60_000, 3_600_000, 5 * 3_600_000, 100 * 3_600_000} {
		for _, phase := range []tsdb.Millis{0, 777} {
			w := tsdb.Windows{Name: "sum", Period: period, End: begin + 130_000_000 + phase}
			pieces := 0
			sum := sums(w)
			w.Of = func(series *tsdb.Series, p tsdb.Points) tsdb.Points {
				pieces++
				return sum(series, p)
			}
			sel := tsdb.Selection{Project: "p", Metric: one.Metric, Interval: tsdb.Interval{Start: w.End - w.Period*(130_000_000/w.Period+1) + 1, End: w.End}}
			want, all := atOnce(t, s, sel, w)
			pieces = 0
			got, read := windowed(t, s, sel, w)
			require.Equal(t, all, read)
			require.Equal(t, want, got)
			if period <= 5*3_600_000 {
				require.Greater(t, pieces, 2, "period %d", period)
			}
		}
	}
	sel := tsdb.Selection{Project: "p", Metric: one.Metric, Interval: tsdb.Interval{Start: begin, End: begin + 130_000_000}, MaxPoints: 100_000}
	w := tsdb.Windows{Name: "bounded", Period: 60_000, End: begin + 130_000_000}
	w.Of = sums(w)
	err = s.ScanWindows(t.Context(), sel, w, func(_ *tsdb.Series, p tsdb.Points, _ int) (any, error) { return p, nil }, func(*tsdb.Series, any) (bool, error) { return true, nil })
	require.Equal(t, fault.Exhausted, fault.KindOf(err), "the bound holds for all pieces together")
}

// BenchmarkScanWindows sums up by the hour a month of points every ten seconds of
// ten series, first and again.
func BenchmarkScanWindows(b *testing.B) {
	s := openBench(b)
	const series, points = 10, 30 * 8640
	start := tsdb.Millis(time.Now().Add(-31 * 24 * time.Hour).Truncate(time.Hour).UnixMilli())
	for id := range series {
		batch := make([]tsdb.Sample, points)
		one := device(id, 1)
		for i := range batch {
			batch[i] = tsdb.Sample{Series: one, Time: start + tsdb.Millis(i+1)*10_000, Value: float64(i * 7919 % 101)}
		}
		require.NoError(b, s.Append(b.Context(), batch))
	}
	require.NoError(b, s.Sync(b.Context()))
	w := tsdb.Windows{Name: "sum", Period: 3_600_000, End: start + points*10_000}
	sel := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: start + 1, End: w.End}}
	ask := func(b *testing.B) {
		b.Helper()
		w.Of = sums(w)
		got := 0
		require.NoError(b, s.ScanWindows(b.Context(), sel, w, func(_ *tsdb.Series, p tsdb.Points, _ int) (any, error) { return p.Len(), nil },
			func(_ *tsdb.Series, n any) (bool, error) {
				got += n.(int)
				return true, nil
			}))
		require.GreaterOrEqual(b, got, series*719)
	}
	b.Run("First", func(b *testing.B) {
		for b.Loop() {
			w.End -= 1009 // other windows each time
			sel.Interval = tsdb.Interval{Start: w.End - 719*w.Period + 1, End: w.End}
			ask(b)
		}
	})
	b.Run("Again", func(b *testing.B) {
		for b.Loop() {
			ask(b)
		}
	})
}
