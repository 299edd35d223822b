package vm_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/vm"
)

// children are what this binary does instead of testing when it is started by
// one of its own tests, by the value of childVar.
var children = map[string]func(dir string) error{
	"write": childWrite, "open": childOpen, "full": childFull, "idle": childIdle,
}

// childVar and dirVar tell a child what to do and where.
const childVar, dirVar = "SELVEDGE_TEST_CHILD", "SELVEDGE_TEST_DIR"

func TestMain(m *testing.M) {
	child, ok := children[os.Getenv(childVar)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := child(os.Getenv(dirVar)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// command is this binary as a child.
func command(tb testing.TB, child, dir string) *exec.Cmd {
	tb.Helper()
	self, err := os.Executable()
	require.NoError(tb, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVar+"="+child, dirVar+"="+dir)
	return cmd
}

// The child of TestKilled appends batch after batch, each with two new series
// and a point of every series of a steady set, syncs after every third one,
// and prints how many batches are durable then. Beside it, noise keeps the
// engine's flushes and merges busy. Batches are a function of their number, so
// the parent knows what must be there.
const (
	steady      = 20
	killedRound = 1_000_000 // batches of different rounds have different numbers
)

// killedBatch is the batch of a number.
func killedBatch(n int) []tsdb.Sample {
	var batch []tsdb.Sample
	at := killedBase + tsdb.Millis(n%killedRound)*10 + tsdb.Millis(n/killedRound)*3_600_000
	for i := range steady {
		batch = append(batch, tsdb.Sample{Series: killedSeries("steady", i), Time: at, Value: float64(n)})
	}
	for i := range 2 {
		batch = append(batch, tsdb.Sample{Series: killedSeries("new", 2*n+i), Time: at, Value: float64(n)})
	}
	return batch
}

// killedBase is an instant whose following hours cross the end of a month.
var killedBase = tsdb.Millis(time.Date(2026, time.August, 31, 20, 0, 0, 0, time.UTC).UnixMilli())

// killedSeries is a series of project "p".
func killedSeries(metric string, device int) *tsdb.Series {
	return &tsdb.Series{
		Project: "p", Metric: metric, Resource: "device",
		ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprint(device)}},
	}
}

// childWrite is that child. The round is the first line of its input.
func childWrite(dir string) error {
	var round int
	if _, err := fmt.Scanln(&round); err != nil {
		return err
	}
	s, err := vm.Open(dir, vm.Options{Retention: decades})
	if err != nil {
		return err
	}
	ctx := context.Background()
	failed := make(chan error, 1)
	go func() { failed <- noise(ctx, s) }()
	for n := 0; ; n++ {
		if err := s.Append(ctx, killedBatch(round*killedRound+n)); err != nil {
			return err
		}
		if n%3 == 2 {
			if err := s.Sync(ctx); err != nil {
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

// noise appends to a project of its own, and selects to make it visible.
func noise(ctx context.Context, s *vm.Store) error {
	for n := 0; ; n++ {
		var batch []tsdb.Sample
		for i := range 200 {
			other := killedSeries("noise", n%7*1000+i)
			other.Project = "noise"
			batch = append(batch, tsdb.Sample{Series: other, Time: killedBase + tsdb.Millis(n), Value: 1})
		}
		if err := s.Append(ctx, batch); err != nil {
			return err
		}
		sel := tsdb.Selection{Project: "noise", Interval: tsdb.Interval{Start: killedBase, End: killedBase}}
		if err := s.Select(ctx, sel, func(*tsdb.Series, tsdb.Points) error { return nil }); err != nil {
			return err
		}
	}
}

// A process that is killed loses nothing that was synced, and what comes again
// counts once.
func TestKilled(t *testing.T) {
	t.Parallel()
	const rounds = 10
	dir := t.TempDir()
	durable := make([]int, rounds)
	for round := range rounds {
		durable[round] = runKilled(t, dir, round)
		require.Positive(t, durable[round])

		s := open(t, dir)
		checkKilled(t, s, durable[:round+1])
		// The journal brings the last batches again, and one that may have
		// been lost.
		for n := max(0, durable[round]-5); n <= durable[round]; n++ {
			require.NoError(t, s.Append(t.Context(), killedBatch(round*killedRound+n)))
		}
		durable[round]++
		checkKilled(t, s, durable[:round+1])
		require.NoError(t, s.Close())
	}
}

// runKilled lets a child write, kills it at once after a Sync, and returns how
// many batches it said were durable.
func runKilled(t *testing.T, dir string, round int) (durable int) {
	t.Helper()
	cmd := command(t, "write", dir)
	cmd.Stdin = strings.NewReader(fmt.Sprintln(round))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for syncs := 1; lines.Scan(); syncs++ {
		_, err := fmt.Sscan(lines.Text(), &durable)
		require.NoError(t, err)
		if syncs == 1+round { // and then read what it wrote until it died
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.NoError(t, lines.Err())
	require.Error(t, cmd.Wait())
	require.Empty(t, stderr.String())
	return durable
}

// checkKilled checks that the durable batches of every round are there, once.
func checkKilled(t *testing.T, s tsdb.Store, durable []int) {
	t.Helper()
	got := map[string]map[tsdb.Millis]float64{}
	sel := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: 0, End: math.MaxInt64}}
	require.NoError(t, s.Select(t.Context(), sel, func(series *tsdb.Series, p tsdb.Points) error {
		require.NotContains(t, got, series.Key())
		points := map[tsdb.Millis]float64{}
		for i, at := range p.Times {
			points[at] = p.Values[i]
		}
		require.Len(t, points, p.Len(), "a time counts once")
		got[series.Key()] = points
		return nil
	}))
	for round, n := range durable {
		for i := range n {
			for _, sample := range killedBatch(round*killedRound + i) {
				v, ok := got[sample.Series.Key()][sample.Time]
				require.True(t, ok, "round %d of %d, batch %d of %d: %v", round, len(durable), i, n, sample.Series)
				require.Equal(t, sample.Value, v)
			}
		}
	}
}

// childOpen tries to open the store, prints the kind of the error, and holds
// the store until its input ends.
func childOpen(dir string) error {
	s, err := vm.Open(dir, vm.Options{})
	if err != nil {
		fmt.Println(fault.KindOf(err))
		return nil
	}
	fmt.Println("open")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return s.Close()
}

// A directory that another process has open is refused, by an error and
// nothing else; when that process is gone it is not.
func TestOpen_OtherProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := command(t, "open", dir)
	in, err := first.StdinPipe()
	require.NoError(t, err)
	out, err := first.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, first.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open\n", line)

	_, err = vm.Open(dir, vm.Options{})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	second, err := command(t, "open", dir).CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "UNAVAILABLE\n", string(second))

	require.NoError(t, in.Close())
	require.NoError(t, first.Wait())
	s, err := vm.Open(dir, vm.Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// childFull opens a store on a disk that is too full for it, and prints why it
// takes no point.
func childFull(dir string) error {
	s, err := vm.Open(dir, vm.Options{MinFreeBytes: math.MaxInt64})
	if err != nil {
		return err
	}
	sample := tsdb.Sample{Series: killedSeries("m", 1), Time: tsdb.Millis(time.Now().UnixMilli())}
	err = s.Append(context.Background(), []tsdb.Sample{sample})
	fmt.Println(fault.KindOf(err), fault.ReasonOf(err))
	err = s.Select(context.Background(), tsdb.Selection{Project: "p", Interval: tsdb.Interval{End: math.MaxInt64}}, nil)
	fmt.Println(err)
	return s.Close()
}

func TestAppend_DiskFull(t *testing.T) {
	t.Parallel()
	out, err := command(t, "full", t.TempDir()).CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "RESOURCE_EXHAUSTED STORAGE_READ_ONLY\n<nil>\n", string(out))
}

// childIdle opens a store, appends a million points of ten thousand series,
// then ten points every five seconds for a minute, as the platform does when
// its own machine is the only device, and prints its resident memory in bytes
// after each.
func childIdle(dir string) error {
	s, err := vm.Open(dir, vm.Options{})
	if err != nil {
		return err
	}
	if err := printResident(); err != nil {
		return err
	}
	ctx := context.Background()
	start := tsdb.Millis(time.Now().Add(-time.Hour).UnixMilli())
	report := func(n, devices int) error {
		var batch []tsdb.Sample
		for i := range devices * 10 {
			batch = append(batch, tsdb.Sample{Series: device(i/10, i%10), Time: start + tsdb.Millis(n)*5000, Value: float64(n * i % 1000)})
		}
		return s.Append(ctx, batch)
	}
	for n := range 100 {
		if err := report(n, 1000); err != nil {
			return err
		}
	}
	if err := errors.Join(s.Sync(ctx), printResident()); err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for n := range 12 {
		<-tick.C
		if err := report(100+n, 1); err != nil {
			return err
		}
	}
	return errors.Join(printResident(), s.Close())
}

// printResident prints the resident memory of this process in bytes.
func printResident() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	var kilobytes int
	if _, err := fmt.Sscan(after, &kilobytes); err != nil {
		return err
	}
	fmt.Println(kilobytes << 10)
	return nil
}
