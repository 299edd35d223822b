package rollup_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/rollup"
	"selvedge.dev/tsdb/vm"
)

// dirVar has this binary, when one of its tests starts it, write into that
// folder until it is killed, instead of testing; beginVar is the number of the
// first batch.
const dirVar, beginVar = "SELVEDGE_TEST_DIR", "SELVEDGE_TEST_BEGIN"

func TestMain(m *testing.M) {
	dir := os.Getenv(dirVar)
	if dir == "" {
		os.Exit(m.Run())
	}
	begin, err := strconv.Atoi(os.Getenv(beginVar))
	if err == nil {
		err = write(dir, begin)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// syncEvery is after how many batches the child syncs.
const syncEvery = 4

// killed is a Keeper over a storage on disk.
type killed struct {
	store  *vm.Store
	db     *sql.DB
	keeper *rollup.Keeper
}

// openKilled opens what is in a folder. ahead is by how much the Keeper's clock
// is ahead of time, so that nobody waits for leases.
func openKilled(dir string, ahead time.Duration) (*killed, error) {
	ctx := context.Background()
	numbers := tsdb.Descriptor{Project: "p", Type: "m", Kind: tsdb.Gauge, ValueType: tsdb.Double, Details: &tsdb.Details{Rollups: []tsdb.Rollup{
		{Period: time.Minute, Aligners: []string{"ALIGN_SUM", "ALIGN_COUNT"}}, {Period: time.Hour, Aligners: []string{"ALIGN_SUM", "ALIGN_COUNT"}},
	}}}
	distributions := tsdb.Descriptor{Project: "p", Type: "d", Kind: tsdb.Gauge, ValueType: tsdb.Distributed, Details: &tsdb.Details{Rollups: []tsdb.Rollup{
		{Period: time.Minute, Aligners: []string{"ALIGN_SUM"}}, {Period: time.Hour, Aligners: []string{"ALIGN_SUM"}},
	}}}
	var k killed
	var err error
	if k.store, err = vm.Open(filepath.Join(dir, "series"), vm.Options{}); err != nil {
		return nil, err
	}
	if k.db, err = sqlite.Open(ctx, filepath.Join(dir, "rollups.db"), rollup.Schema); err != nil {
		return nil, err
	}
	k.keeper, err = rollup.New(ctx, k.store, k.db, rollup.Options{
		Rolled: func() []tsdb.Descriptor { return []tsdb.Descriptor{distributions, numbers} }, Grace: time.Second, Every: 50 * time.Millisecond,
		Retention: 6 * time.Hour, Now: func() time.Time { return time.Now().Add(ahead) },
	})
	return &k, err
}

// killedBatch is the batch of a number: points of every age.
func killedBatch(start time.Time, n int) []tsdb.Sample {
	var batch []tsdb.Sample
	for i := range 20 {
		age := time.Duration((n*7919+i*104729)%(4*3600*1000)) * time.Millisecond
		batch = append(batch, tsdb.Sample{Series: device(i), Time: millis(start.Add(-age)), Value: float64(n + i)})
		if i < 5 {
			batch = append(batch, tsdb.Sample{Series: distributed(i), Time: millis(start.Add(-age)), Distribution: linear(float64(n%50), float64(2*i))})
		}
	}
	return batch
}

// write appends batch after batch while rollups are computed, and tells which
// are durable.
func write(dir string, begin int) error {
	k, err := openKilled(dir, 0)
	if err != nil {
		return err
	}
	ctx := context.Background()
	failed := make(chan error, 1)
	go func() {
		for {
			if _, err := k.keeper.Step(ctx); err != nil {
				failed <- err
				return
			}
		}
	}()
	start := time.UnixMilli(killedStart(dir))
	for n := begin; ; n++ {
		if err := k.keeper.Append(ctx, killedBatch(start, n)); err != nil {
			return err
		}
		if n%syncEvery == syncEvery-1 {
			if err := k.keeper.Sync(ctx); err != nil {
				return err
			}
			fmt.Println(n + 1)
		}
		select {
		case err := <-failed:
			return err
		default:
		}
	}
}

// killedStart is the instant that the batches are around, from the name of the
// folder.
func killedStart(dir string) int64 {
	n, err := strconv.ParseInt(filepath.Base(dir), 10, 64)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return n
}

// A process is killed while it writes late points and computes: after what was
// not synced came again, the rollups tell what the points do, at once and when
// everything was computed. SPEC A6
func TestKilled(t *testing.T) {
	t.Parallel()
	start := time.Now().Truncate(time.Hour)
	dir := filepath.Join(t.TempDir(), strconv.FormatInt(start.UnixMilli(), 10))
	require.NoError(t, os.MkdirAll(dir, 0o755))
	next := 0
	for round := range 5 {
		durable := runKilled(t, dir, next)
		k, err := openKilled(dir, time.Duration(round+1)*time.Minute)
		require.NoError(t, err)
		// The journal's part: all that was not told to be durable comes again,
		// and of what the child had begun some more that nobody had seen.
		next = durable + 2*syncEvery
		for n := durable; n < next; n++ {
			require.NoError(t, k.keeper.Append(t.Context(), killedBatch(start, n)))
		}
		sameAnswers(t, k, start)
		settle(t, k.keeper)
		for {
			left := 0
			for _, metric := range []string{"m", "d"} {
				st, err := k.keeper.Statuses(t.Context(), "p", metric)
				require.NoError(t, err)
				for _, one := range st {
					if one.Marked > 0 || one.Until < millis(start) {
						left++
					}
				}
			}
			if left == 0 {
				break
			}
			settle(t, k.keeper)
		}
		require.Positive(t, sameAnswers(t, k, start), "nothing was answered from a rollup")
		require.NoError(t, k.keeper.Close())
		require.NoError(t, k.store.Close())
		require.NoError(t, k.db.Close())
	}
}

// runKilled runs the child from a batch on until it has told some batches to be
// durable, kills it, and returns how many are.
func runKilled(t *testing.T, dir string, begin int) (durable int) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	child := exec.Command(self)
	child.Env = append(os.Environ(), dirVar+"="+dir, beginVar+"="+strconv.Itoa(begin))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	lines := bufio.NewScanner(out)
	for told := 0; lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		require.NoError(t, err)
		durable = n
		if told++; told == 15 {
			require.NoError(t, child.Process.Kill())
		}
	}
	require.NoError(t, lines.Err())
	require.Error(t, child.Wait())
	require.Positive(t, durable)
	return durable
}

// sameAnswers compares the answers of rollups with those of the points, and
// returns how many windows of rollups were read.
func sameAnswers(t *testing.T, k *killed, start time.Time) (windows int) {
	t.Helper()
	for _, of := range [][2]string{{"m", "ALIGN_SUM"}, {"m", "ALIGN_COUNT"}, {"d", "ALIGN_PERCENTILE_99"}, {"d", "ALIGN_SUM"}} {
		for _, period := range []time.Duration{time.Minute, time.Hour} {
			req := query.Request{
				Project: "p", Filter: fmt.Sprintf("metric.type = %q", of[0]), Start: start.Add(-5 * time.Hour), End: start, Explain: true,
				Aggregation: query.Aggregation{PerSeriesAligner: of[1], AlignmentPeriod: period},
			}
			want, err := query.New(k.store, query.Options{}).List(t.Context(), req)
			require.NoError(t, err)
			got, err := query.New(k.store, query.Options{Rollups: k.keeper, Block: 1}).List(t.Context(), req)
			require.NoError(t, err)
			require.Equal(t, roughened(want.Results), roughened(got.Results))
			windows += got.Trace.Windows
		}
	}
	return windows
}

// roughened are results with the sums of distributions to nine digits, which the
// order of adding up does not change.
func roughened(all []query.Result) []query.Result {
	for i := range all {
		for j, d := range all[i].Points.Distributions {
			one := *d
			for _, v := range []*float64{&one.Mean, &one.SumOfSquaredDeviation} {
				*v, _ = strconv.ParseFloat(strconv.FormatFloat(*v, 'e', 8, 64), 64)
			}
			all[i].Points.Distributions[j] = &one
		}
	}
	return all
}
