package monitoring

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
)

// counted counts the samples that are appended.
type counted struct {
	*memory.Store
	samples int
}

// Append implements Series.
func (c *counted) Append(ctx context.Context, samples []tsdb.Sample) error {
	c.samples += len(samples)
	return c.Store.Append(ctx, samples)
}

// WriteForTest writes a request into an empty store, past the transport: how
// many samples were written, and the summary of the error, if it has one.
func WriteForTest(ctx context.Context, req *monitoringpb.CreateTimeSeriesRequest) (int, *monitoringpb.CreateTimeSeriesSummary, error) {
	series := &counted{Store: memory.New(nil)}
	s := &Service{Descriptors: &memory.Descriptors{}, Series: series}
	_, err := s.createTimeSeries(ctx, target{project: "p"}, req)
	var more *detailed
	if !errors.As(err, &more) {
		return series.samples, nil, err
	}
	summary, _ := more.details[0].(*monitoringpb.CreateTimeSeriesSummary)
	return series.samples, summary, err
}

// slow is a storage whose syncs take as long as pause.
type slow struct {
	Series
	pause            func()
	appended, synced atomic.Int64
	syncs            atomic.Int64
}

// Sync implements Series: what was appended when it began is durable when it
// ends.
func (s *slow) Sync(context.Context) error {
	n := s.appended.Load()
	s.pause()
	s.synced.Store(max(n, s.synced.Load()))
	s.syncs.Add(1)
	return nil
}

// Nobody is told of a sync that began before his points, and many share one.
func TestSyncs_Shared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s syncs
		store := &slow{pause: func() { time.Sleep(time.Second) }}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 20 * time.Millisecond)
				mine := store.appended.Add(1)
				require.NoError(t, s.sync(t.Context(), store))
				require.GreaterOrEqual(t, store.synced.Load(), mine)
			})
		}
		wg.Wait()
		require.LessOrEqual(t, store.syncs.Load(), int64(4))
	})
}

// Who does not want to wait any more does not.
func TestSyncs_Cancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s syncs
		store := &slow{pause: func() { time.Sleep(time.Second) }}
		var wg sync.WaitGroup
		for range 2 { // one syncs, one leads the next round
			wg.Go(func() { require.NoError(t, s.sync(t.Context(), store)) })
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, s.sync(ctx, store), context.DeadlineExceeded)
		wg.Wait()
	})
}

func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"projects/p", "projects/p/metricDescriptors/a/b", "projects//metricDescriptors/x", "organizations/1", "projects/a/b/metricDescriptors/c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, collection := range []string{"", metricDescriptors, resourceDescriptors} {
			got, err := parseName(name, collection)
			if err != nil {
				continue
			}
			again := "projects/" + got.project
			if collection != "" {
				again += "/" + collection + "/" + got.id
			}
			require.Equal(t, name, again, "a name means one thing")
			require.NotEmpty(t, got.project)
			require.NotContains(t, got.project, "/")
		}
	})
}

// pieces is where an answer goes, in pieces or whole.
type pieces struct{ writes, wholes int }

// Write implements io.Writer.
func (p *pieces) Write(b []byte) (int, error) { p.writes++; return len(b), nil }

func (p *pieces) whole([]byte) error { p.wholes++; return nil }

// An answer that was begun to be written is not whole any more.
func TestEncoders_Whole(t *testing.T) {
	t.Parallel()
	var e encoders
	ask := func(points int) pieces {
		all := tsdb.Points{Times: make([]tsdb.Millis, points), Values: make([]float64, points)}
		var to pieces
		require.NoError(t, e.write(&to, query.Page{Results: []query.Result{{Series: &tsdb.Series{Metric: "m"}, Points: all}}}))
		return to
	}
	require.Equal(t, pieces{wholes: 1}, ask(10))
	long := ask(2000)
	require.Zero(t, long.wholes)
	require.Greater(t, long.writes, 1)
	require.Equal(t, pieces{wholes: 1}, ask(0))
}
