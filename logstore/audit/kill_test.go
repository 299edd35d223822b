package audit_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit"
)

// childEnv makes the test binary the process that is killed: the value is the
// directory of its trail.
const childEnv = "SELVEDGE_AUDIT_TEST_CHILD"

// TestMain runs the tests, or the child.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child appends from several goroutines until it is killed, and prints every
// record that it was told is durable. It signs and erases beside that.
func child(dir string) error {
	trail, err := audit.Open(dir, audit.Options{Signer: signer(), SegmentBytes: 16 << 10, CheckpointRecords: 50, Now: clock})
	if err != nil {
		return err
	}
	var out sync.Mutex
	errs := make(chan error)
	for w := range 4 {
		go func() {
			for {
				n := rand.IntN(1 << 30)
				project := fmt.Sprintf("p%d", w%3)
				places, err := trail.Append(context.Background(), records(project, n, n+1+n%5))
				if err != nil {
					errs <- err
					return
				}
				out.Lock()
				for i, p := range places {
					fmt.Printf("%s %d %d\n", project, n+i, p.Seq)
				}
				out.Unlock()
			}
		}()
	}
	go func() {
		for {
			if err := trail.Sign(context.Background()); err != nil {
				errs <- err
				return
			}
			if _, err := trail.Retain(context.Background(), "p1", []audit.Policy{{Category: "Read"}}); err != nil {
				errs <- err
				return
			}
		}
	}()
	return <-errs
}

// TestKill_LosesNothingAcknowledged kills the child over and over.
func TestKill_LosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acked := map[string]map[int]uint64{}
	for range 8 {
		kill(t, dir, 50+rand.IntN(400), acked)
		trail := open(t, dir)
		for project, all := range acked {
			verified(t, trail, project)
			ids := map[string]uint64{}
			for _, l := range links(t, trail, project, 1) {
				ids[l.ID] = l.Seq
			}
			for n, seq := range all {
				require.Equal(t, seq, ids[record(project, n).ID])
			}
		}
		require.Zero(t, trail.Stats().Damaged)
		require.NoError(t, trail.Close())
	}
}

// kill runs the child until it has acknowledged n records, and kills it.
func kill(t *testing.T, dir string, n int, acked map[string]map[int]uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // the rest of a line was cut off by the kill
		}
		var project string
		var id int
		var seq uint64
		_, err = fmt.Sscan(line, &project, &id, &seq)
		require.NoError(t, err)
		if acked[project] == nil {
			acked[project] = map[int]uint64{}
		}
		acked[project][id] = seq
		if n--; n == 0 {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait(), "killed")
	require.LessOrEqual(t, n, 0, "the child ended by itself")
}
