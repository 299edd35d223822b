package collector_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/local/collector"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/vm"
)

// childEnv makes the test binary the process that is killed: the value is its
// folder, and the number of the first batch.
const childEnv = "SELVEDGE_COLLECTOR_TEST_CHILD"

// TestMain runs the tests, or the child.
func TestMain(m *testing.M) {
	if value := os.Getenv(childEnv); value != "" {
		dir, first, _ := strings.Cut(value, "|")
		n, err := strconv.Atoi(first)
		if err == nil {
			err = child(dir, n)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// killStart is the time of the first batch of the kill test.
const killStart = 1_780_315_200_000

// perBatch is how many points a batch of the kill test has.
const perBatch = 20

// killBatch is batch n: points of its own instants, and one line that is none.
func killBatch(n int) string {
	var b strings.Builder
	for i := range perBatch {
		k := n*perBatch + i
		fmt.Fprintf(&b, "m,device=d%d v=%d %d\n", k%7, k, killStart+k)
	}
	return b.String() + "bad\n"
}

// collectorOver opens a collector over a storage on disk.
func collectorOver(ctx context.Context, dir string) (*collector.Service, *vm.Store, *counter, error) {
	series, err := vm.Open(filepath.Join(dir, "series"), vm.Options{})
	if err != nil {
		return nil, nil, nil, err
	}
	losses := &counter{}
	s, err := collector.Open(ctx, collector.Options{
		Dir: filepath.Join(dir, "log"), Series: series, Descriptors: &memory.Descriptors{}, Ledger: losses,
		Authorize: iam.Authorize, SyncEvery: 20 * time.Millisecond,
	})
	return s, series, losses, err
}

// child takes batches, several at once, until it is killed, and prints the
// number of each that was acknowledged.
func child(dir string, first int) error {
	ctx := iam.WithPrincipal(context.Background(), iam.Principal{Kind: iam.Project, Name: "projects/p", Project: "p"})
	s, _, _, err := collectorOver(ctx, dir)
	if err != nil {
		return err
	}
	r := chi.NewRouter()
	s.Routes(r)
	numbers, failed := make(chan int), make(chan error)
	for range 4 {
		go func() {
			for n := range numbers {
				w := httptest.NewRecorder()
				r.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/influx/write?precision=ms", strings.NewReader(killBatch(n))))
				if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "partial write") {
					failed <- errors.New(w.Body.String())
					return
				}
				fmt.Println(n)
			}
		}()
	}
	for n := first; ; n++ {
		select {
		case numbers <- n:
		case err := <-failed:
			return err
		}
	}
}

// TestKill_LosesNothingAcknowledged kills the process again and again while it
// takes points and syncs. In the end every acknowledged point is there once.
func TestKill_LosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	const rounds = 6
	dir, acked, next := t.TempDir(), map[int]bool{}, 0
	for range rounds {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", childEnv, dir, next))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		var said strings.Builder
		cmd.Stderr = &said
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for more := 20 + rand.IntN(200); more > 0 && lines.Scan(); more-- {
			n, err := strconv.Atoi(lines.Text())
			require.NoError(t, err)
			acked[n], next = true, max(next, n+1)
		}
		require.NoError(t, cmd.Process.Kill())
		for lines.Scan() { // what it was told before it died
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				acked[n], next = true, max(next, n+1)
			}
		}
		require.NoError(t, lines.Err())
		require.Error(t, cmd.Wait())
		require.Empty(t, said.String())
		next += 4 // what had no answer may be there or not
	}
	s, series, _, err := collectorOver(t.Context(), dir)
	require.NoError(t, err)
	found := map[int]int{}
	require.NoError(t, series.Select(t.Context(), tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: 0, End: 1 << 50}},
		func(_ *tsdb.Series, p tsdb.Points) error {
			for i, v := range p.Values {
				found[int(v)]++
				if int(p.Times[i]) != killStart+int(v) {
					return fmt.Errorf("point %v at %d", v, p.Times[i])
				}
			}
			return nil
		}))
	for n := range acked {
		for i := range perBatch {
			require.Equal(t, 1, found[n*perBatch+i], "point %d of batch %d", i, n)
		}
	}
	t.Logf("%d batches acknowledged", len(acked))
	require.NoError(t, s.Close())
	require.NoError(t, series.Close())
}
