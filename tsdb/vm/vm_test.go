package vm

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"
	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// openTemp opens a store with the defaults in a fresh directory.
func openTemp(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// series is a series of a device of project "p".
func series(metric, device string) *tsdb.Series {
	return &tsdb.Series{
		Project: "p", Metric: metric, Resource: "device",
		ResourceLabels: tsdb.Labels{{Name: "device_id", Value: device}},
	}
}

// ago is an instant before now.
func ago(d time.Duration) tsdb.Millis { return tsdb.Millis(time.Now().Add(-d).UnixMilli()) }

// count selects all of a project and counts series and points.
func count(t *testing.T, s *Store, project string) (nSeries, nPoints int) {
	t.Helper()
	sel := tsdb.Selection{Project: project, Interval: tsdb.Interval{Start: 0, End: math.MaxInt64}}
	require.NoError(t, s.Select(t.Context(), sel, func(_ *tsdb.Series, p tsdb.Points) error {
		nSeries++
		nPoints += p.Len()
		return nil
	}))
	return nSeries, nPoints
}

func TestAppend_Refused(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	good := tsdb.Sample{Series: series("m", "a"), Time: ago(time.Minute), Value: 1}
	f := func(check, reason string, change func(*tsdb.Sample)) {
		t.Helper()
		bad := good
		change(&bad)
		require.Equal(t, check, s.Check(bad))
		err := s.Append(t.Context(), []tsdb.Sample{good, bad, good})
		if reason == "" {
			require.NoError(t, err)
			return
		}
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, reason, fault.ReasonOf(err))
	}
	f(NotFinite, NotFinite, func(x *tsdb.Sample) { x.Value = math.NaN() })
	f(NotFinite, NotFinite, func(x *tsdb.Sample) { x.Value = math.Inf(1) })
	f(NotFinite, NotFinite, func(x *tsdb.Sample) { x.Value = math.Inf(-1) })
	f(InvalidSeries, InvalidSeries, func(x *tsdb.Sample) { x.Series = &tsdb.Series{Metric: "m"} })
	f(TooOld, TooOld, func(x *tsdb.Sample) { x.Time = ago(DefaultRetention + 2*appendSlack) })
	f(TooOld, TooOld, func(x *tsdb.Sample) { x.Time = -1 })
	f(TooOld, TooOld, func(x *tsdb.Sample) { x.Time = math.MinInt64 })
	f(TooFarInFuture, TooFarInFuture, func(x *tsdb.Sample) { x.Time = ago(-DefaultFuture - 2*appendSlack) })
	f(TooFarInFuture, TooFarInFuture, func(x *tsdb.Sample) { x.Time = math.MaxInt64 })
	nSeries, _ := count(t, s, "p")
	require.Zero(t, nSeries, "a refused batch leaves nothing")

	// The hour of grace, and no sample that Check lets pass is dropped.
	f(TooOld, "", func(x *tsdb.Sample) { x.Time = ago(DefaultRetention + appendSlack/2) })
	f(TooFarInFuture, "", func(x *tsdb.Sample) { x.Time = ago(-DefaultFuture - appendSlack/2) })
	f("", "", func(x *tsdb.Sample) { x.Time = ago(DefaultRetention - time.Minute) })
	f("", "", func(x *tsdb.Sample) { x.Time = ago(-DefaultFuture + time.Minute) })
	f("", "", func(x *tsdb.Sample) { x.Value = math.MaxFloat64 })
	f("", "", func(x *tsdb.Sample) { x.Value = -math.MaxFloat64 })
	var m storage.Metrics
	s.engine.UpdateMetrics(&m)
	require.Zero(t, m.TooSmallTimestampRows+m.TooBigTimestampRows+m.InvalidRawMetricNames)
	require.Equal(t, m.RowsReceivedTotal, m.RowsAddedTotal)
}

// A point that was kept is not served when it has become older than the
// retention.
func TestSelect_Retention(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	a := series("m", "a")
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{
		{Series: a, Time: ago(DefaultRetention + appendSlack/2), Value: 1},
		{Series: a, Time: ago(DefaultRetention - appendSlack/2), Value: 2},
	}))
	_, points := count(t, s, "p")
	require.Equal(t, 1, points)
}

// One project never sees another's series, whatever the projects are called.
func TestSelect_Projects(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	projects := []string{"p", "P", "pp", "p\x00", "\x00p", "\x00", "p\x01", "p|pp", ".*", ".+", "project", `p",x="y`, "é"}
	for i, project := range projects {
		batch := make([]tsdb.Sample, i+1)
		for j := range batch {
			other := series("m", "a")
			other.Project = project
			batch[j] = tsdb.Sample{Series: other, Time: ago(time.Duration(j+1) * time.Minute)}
		}
		require.NoError(t, s.Append(t.Context(), batch))
	}
	for i, project := range projects {
		for _, metric := range []string{"", "m"} {
			sel := tsdb.Selection{Project: project, Metric: metric, Interval: tsdb.Interval{Start: 0, End: math.MaxInt64}}
			visits := 0
			require.NoError(t, s.Select(t.Context(), sel, func(got *tsdb.Series, p tsdb.Points) error {
				visits++
				require.Equal(t, project, got.Project)
				require.Equal(t, i+1, p.Len())
				return nil
			}))
			require.Equal(t, 1, visits)
		}
	}
	err := s.Select(t.Context(), tsdb.Selection{}, nil)
	require.Equal(t, fault.Invalid, fault.KindOf(err), "no project is not every project")
}

// A series that the engine's timer made visible must not be hidden by what
// the engine remembers of an earlier search.
func TestSelect_NewSeriesAfterTimer(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{{Series: series("m", "a"), Time: ago(time.Minute)}}))
	for range 3 { // the engine remembers what is asked for often
		n, _ := count(t, s, "p")
		require.Equal(t, 1, n)
	}
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{{Series: series("m", "b"), Time: ago(time.Minute)}}))
	s.settle()
	require.Eventually(t, func() bool {
		var m storage.Metrics
		s.engine.UpdateMetrics(&m)
		return m.TableMetrics.PendingRows == 0 && m.TableMetrics.IndexDBMetrics.PendingItems == 0
	}, time.Minute, 10*time.Millisecond)
	n, _ := count(t, s, "p")
	require.Equal(t, 2, n)
}

// Two numbers of the engine for one series, as a crash can leave them, are one
// series with each point once.
func TestSelect_TwoNumbers(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	a, b := series("m", "a"), series("m", "b")
	at := ago(time.Hour)
	batch := func(series *tsdb.Series, from, to int) (out []tsdb.Sample) {
		for i := from; i < to; i++ {
			out = append(out, tsdb.Sample{Series: series, Time: at + tsdb.Millis(i), Value: float64(i)})
		}
		return out
	}
	require.NoError(t, s.Append(t.Context(), append(batch(a, 0, 100), batch(b, 0, 10)...)))
	var search storage.Search
	filters := storage.NewTagFilters()
	require.NoError(t, filters.Add([]byte(projectLabel), []byte("p"), false, false))
	whole := storage.TimeRange{MinTimestamp: int64(at), MaxTimestamp: int64(at) + 1000}
	s.flush()
	search.Init(nil, s.engine, []*storage.TagFilters{filters}, whole, 10, math.MaxUint64)
	defer search.MustClose()

	// The blocks of a, then b, then a again.
	q := &query{store: s, sel: tsdb.Selection{Project: "p", MaxSeries: 2, MaxPoints: 110}, within: whole}
	require.NoError(t, q.find(t.Context(), &search))
	require.Len(t, q.series, 2)
	twice := append(append([]blockOf(nil), q.blocks...), q.blocks...)
	q.visit = func(got *tsdb.Series, p tsdb.Points) error {
		require.Equal(t, map[string]int{"a": 100, "b": 10}[got.ResourceLabels[0].Value], p.Len())
		return nil
	}
	q.blocks = twice
	q.sortBlocks()
	require.NoError(t, q.readInTurn(t.Context()))
	require.Equal(t, 2, q.visited)
	require.Equal(t, 110, q.points)
}

func TestSelect_CancelledInVisit(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{
		{Series: series("m", "a"), Time: ago(time.Minute)}, {Series: series("m", "b"), Time: ago(time.Minute)},
	}))
	ctx, cancel := context.WithCancel(t.Context())
	visits := 0
	err := s.Select(ctx, tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: 0, End: math.MaxInt64}},
		func(*tsdb.Series, tsdb.Points) error {
			visits++
			cancel()
			return nil
		})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, visits)
}

// A visit may use the store, and Close waits for it without locking up.
func TestClose_WaitsForVisit(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), Options{})
	require.NoError(t, err)
	a := series("m", "a")
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{{Series: a, Time: ago(time.Minute)}}))
	visiting, closing := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		<-visiting
		close(closing)
		require.NoError(t, s.Close())
	})
	sel := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: 0, End: math.MaxInt64}}
	late := errors.New("late")
	err = s.Select(t.Context(), sel, func(*tsdb.Series, tsdb.Points) error {
		require.NoError(t, s.Append(t.Context(), []tsdb.Sample{{Series: a, Time: ago(time.Hour)}}))
		_, points := count(t, s, "p")
		require.Equal(t, 2, points)
		close(visiting)
		<-closing
		return late
	})
	require.ErrorIs(t, err, late)
	wg.Wait()

	require.NoError(t, s.Close(), "again")
	for _, err := range []error{s.Append(t.Context(), nil), s.Sync(t.Context()), s.Select(t.Context(), sel, nil)} {
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
	}
}

// After a Sync nothing is in memory only, although the engine was just about
// to merge the parts in memory. (What is really on disk, TestKilled asks a new
// process.)
func TestSync_NothingInMemory(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	const mergedParts = 8 // so many parts of like size the engine merges
	var batch []tsdb.Sample
	for i := range 8000 {
		batch = append(batch, tsdb.Sample{Series: series("m", strconv.Itoa(i)), Time: ago(time.Hour)})
	}
	for round := range 6 {
		for part := range mergedParts + round%3 {
			for i := range batch {
				batch[i].Time++
			}
			batch[0].Series = series("m"+strconv.Itoa(round), strconv.Itoa(part)) // the index has work too
			require.NoError(t, s.Append(t.Context(), batch))
			s.reveal()
		}
		require.NoError(t, s.Sync(t.Context()))
		require.False(t, s.partsInMemory())
		require.Empty(t, s.engine.MustListSnapshots())
	}
}

// Syncs may run at once, and one with nothing new does nothing.
func TestSync_Coalesced(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{{Series: series("m", "a"), Time: ago(time.Minute)}}))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { require.NoError(t, s.Sync(t.Context())) })
	}
	wg.Wait()
	require.NoError(t, s.durable.reach(t.Context(), s.added.Load(), nil), "nothing is left to do")
}

func TestOpen_Refused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	f := func(dir string, o Options, want fault.Kind) {
		t.Helper()
		_, err := Open(dir, o)
		require.Error(t, err)
		require.Equal(t, want, fault.KindOf(err))
	}
	f(file, Options{}, fault.Unavailable)
	f(filepath.Join(file, "below"), Options{}, fault.Unavailable)
	f(t.TempDir(), Options{Future: 3 * 24 * time.Hour}, fault.Invalid)
	f(t.TempDir(), Options{Retention: -1}, fault.Invalid)
	f(t.TempDir(), Options{Future: -1}, fault.Invalid)

	s := openTemp(t)
	f(s.dir, Options{}, fault.Unavailable) // it is open
}

// Snapshots that a killed process left are removed: their links would keep
// the space of merged parts for ever.
func TestOpen_RemovesSnapshots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{{Series: series("m", "a"), Time: ago(time.Minute)}}))
	s.engine.MustCreateSnapshot()
	require.NoError(t, s.Close())

	s, err = Open(dir, Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.Empty(t, s.engine.MustListSnapshots())
	left, err := filepath.Glob(filepath.Join(dir, "data", "*", "snapshots", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}
