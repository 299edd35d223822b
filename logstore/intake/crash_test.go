package intake_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/embedded"
	"selvedge.dev/logstore/intake"
)

// childVar tells this binary, when one of its tests starts it, where to be the
// child of that test.
const childVar = "SELVEDGE_TEST_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(childVar)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := child(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child writes batches of entries until it is killed, and prints the number of
// each that was acknowledged. The first is a line of its input. Every batch
// repeats the one before.
func child(dir string) error {
	var first int
	if _, err := fmt.Scanln(&first); err != nil {
		return err
	}
	store, in, err := openBoth(dir)
	if err != nil {
		return err
	}
	defer store.Close()
	for n := first; ; n++ {
		outcomes, err := in.Write(context.Background(), append(batch(n-1), batch(n)...))
		if err != nil {
			return err
		}
		if slices.ContainsFunc(outcomes, func(o intake.Outcome) bool { return o.Err != nil || !o.Stored }) {
			return errors.New("an entry was refused")
		}
		fmt.Println(n)
	}
}

// openBoth opens the store and the intake of a child. Syncs are often, so that
// one may be under way when the child is killed.
func openBoth(dir string) (*embedded.Store, *intake.Intake, error) {
	store, err := embedded.Open(filepath.Join(dir, "store"), embedded.Options{MinFreeBytes: 1, Once: true})
	if err != nil {
		return nil, nil, err
	}
	in, err := intake.Open(filepath.Join(dir, "intake"), store, intake.Options{
		BatchDelay: 5 * time.Millisecond, SyncDelay: 50 * time.Millisecond, BatchEntries: 200, Window: 300,
	})
	return store, in, err
}

// batchSize is the number of entries of a batch.
const batchSize = 20

// batch is the batch of a number. Some entries are of the day before.
func batch(n int) []logstore.Entry {
	var entries []logstore.Entry
	noon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for i := range batchSize {
		e := entry(i)
		e.InsertID, e.Time = fmt.Sprintf("%d-%d", n, i), noon.Add(time.Duration(n)*time.Millisecond)
		if i == 0 {
			e.Time = e.Time.Add(-24 * time.Hour)
		}
		entries = append(entries, e)
	}
	return entries
}

// What was acknowledged by an intake that is killed, together with the store
// in its process, is in the store once when both are opened again.
func TestKilled_AcknowledgedIsStoredOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	next, acknowledged := 1, 0
	for round := range 6 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), childVar+"="+dir)
		cmd.Stdin = strings.NewReader(fmt.Sprintln(next))
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for last := next + 40 + 150*round; lines.Scan(); {
			_, err := fmt.Sscan(lines.Text(), &acknowledged)
			require.NoError(t, err)
			if acknowledged == last {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.NoError(t, lines.Err())
		require.Error(t, cmd.Wait(), "it was killed")
		require.Empty(t, stderr.String())
		next = acknowledged + 1
	}
	store, in, err := openBoth(dir)
	require.NoError(t, err)
	flush(t, in)
	found := make(map[string]int)
	for _, e := range all(t, store) {
		found[e.InsertID]++
	}
	groups, err := store.Count(t.Context(), logstore.Counting{Selection: logstore.Selection{Project: "p"}})
	require.NoError(t, err)
	require.Equal(t, int64(len(found)), groups[0].Entries, "some are stored twice")
	for n := range acknowledged + 1 {
		for i := range batchSize {
			require.Equal(t, 1, found[fmt.Sprintf("%d-%d", n, i)], "entry %d of batch %d, of %d that were acknowledged", i, n, acknowledged)
		}
	}
	require.LessOrEqual(t, len(found), (acknowledged+2)*batchSize, "those of the batch that was under way may be there")
	require.NoError(t, in.Close())
	require.NoError(t, store.Close())
}
