package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/embedded"
	"selvedge.dev/sdk/fault"
)

// children are what this binary does instead of testing when it is started by
// one of its own tests, by the value of childVar.
var children = map[string]func(dir string) error{"write": childWrite, "open": childOpen, "idle": childIdle}

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
func command(t *testing.T, child, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVar+"="+child, dirVar+"="+dir)
	return cmd
}

// killedBatch is a batch of the child of TestKilled: a function of its number.
// Its entries are of three days and of two projects, one of them new with every
// seventh batch.
func killedBatch(n int) []logstore.Entry {
	var batch []logstore.Entry
	for i := range 30 {
		at := time.Date(2026, 11, 18+i%3, 12, 0, 0, n*1000+i, time.UTC)
		project := "p"
		if i%5 == 0 {
			project = fmt.Sprint("p", n/7)
		}
		batch = append(batch, logstore.Entry{
			Project: project, Bucket: "b", Log: "l", InsertID: fmt.Sprintf("%d-%d", n, i), Time: at, Received: at,
			Labels: map[string]string{"n": fmt.Sprint(n)}, Origin: "o", Seq: uint64(n*30 + i),
			Payload: logstore.Payload{Kind: logstore.JSON, Data: fmt.Appendf(nil, `{"n":%d,"text":"entry %d of batch %d"}`, n, i, n)},
		})
	}
	return batch
}

// childWrite appends batch after batch from the number on that it reads, syncs
// after every third, and prints how many are durable then.
func childWrite(dir string) error {
	var n int
	if _, err := fmt.Scanln(&n); err != nil {
		return err
	}
	s, err := embedded.Open(dir, embedded.Options{MinFreeBytes: 1, Once: true})
	if err != nil {
		return err
	}
	for ; ; n++ {
		if err := s.Append(context.Background(), killedBatch(n)); err != nil {
			return err
		}
		if n%3 == 2 {
			if err := s.Sync(context.Background()); err != nil {
				return err
			}
			fmt.Println(n + 1)
		}
	}
}

// A process that is killed loses nothing that was synced, and what Since does
// not know of is not there in part either.
func TestKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	dir := t.TempDir()
	next := 0
	for round := range 4 {
		cmd := command(t, "write", dir)
		cmd.Stdin = strings.NewReader(fmt.Sprintln(next))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		durable := 0
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			_, err := fmt.Sscan(lines.Text(), &durable)
			require.NoError(t, err)
			if n == 5+3*round {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.NoError(t, lines.Err())
		require.Error(t, cmd.Wait(), "it was killed")

		s := open(t, dir)
		numbers, err := s.Since(t.Context(), "o", 0)
		require.NoError(t, err)
		there := make(map[uint64]bool)
		for _, n := range numbers {
			there[n] = true
		}
		for n := range durable * 30 {
			require.True(t, there[uint64(n)], "entry %d of %d that were synced", n, durable*30)
		}
		found := 0
		for n := range durable {
			for _, e := range killedBatch(n) {
				if e.Project != "p" && e.InsertID == fmt.Sprint(n, "-0") {
					page, err := s.List(t.Context(), logstore.Query{Selection: logstore.Selection{Project: e.Project, From: e.Time, To: e.Time.Add(1)}, Limit: 10})
					require.NoError(t, err)
					require.Equal(t, []logstore.Entry{e}, page)
					found++
				}
			}
		}
		require.Equal(t, durable, found)
		// What was not synced comes again, as intake has it.
		for next = durable; len(there) > 0; next++ {
			var missing []logstore.Entry
			for _, e := range killedBatch(next) {
				if !there[e.Seq] {
					missing = append(missing, e)
				}
			}
			if len(missing) == 30 {
				break
			}
			require.NoError(t, s.Append(t.Context(), missing))
		}
		require.NoError(t, s.Sync(t.Context()))
		groups, err := s.Count(t.Context(), logstore.Counting{Selection: logstore.Selection{Project: "p"}})
		require.NoError(t, err)
		require.Equal(t, int64(next*24), groups[0].Entries)
		require.NoError(t, s.Close())
	}
}

// childOpen opens the store.
func childOpen(dir string) error {
	_, err := embedded.Open(dir, embedded.Options{})
	return err
}

func TestOpen_OneAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	_, err := embedded.Open(dir, embedded.Options{})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	out, err := command(t, "open", dir).CombinedOutput()
	require.Error(t, err, "in another process")
	require.Contains(t, string(out), "another process has this store open")
	require.NotContains(t, string(out), "panic")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	s = open(t, dir)
	require.NoError(t, s.Close())
	require.Equal(t, fault.Unavailable, fault.KindOf(s.Append(t.Context(), nil)))
	_, err = embedded.Open("/proc/nothing/here", embedded.Options{})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

// childIdle opens a store, writes a little into three days, and prints its
// goroutines and memory once it is idle.
func childIdle(dir string) error {
	before := runtime.NumGoroutine()
	s, err := embedded.Open(dir, embedded.Options{MinFreeBytes: 1, Once: true})
	if err != nil {
		return err
	}
	for n := range 50 {
		if err := s.Append(context.Background(), killedBatch(n)); err != nil {
			return err
		}
	}
	if err := s.Sync(context.Background()); err != nil {
		return err
	}
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	var rss int
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &rss); err == nil {
			break
		}
	}
	fmt.Println(runtime.NumGoroutine()-before, rss)
	return s.Close()
}

func TestIdle_TakesLittle(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("needs /proc")
	}
	out, err := command(t, "idle", t.TempDir()).Output()
	require.NoError(t, err)
	var goroutines, rss int
	_, err = fmt.Sscan(string(out), &goroutines, &rss)
	require.NoError(t, err)
	t.Logf("%d goroutines, %d kB", goroutines, rss)
	require.Less(t, goroutines, 60)
	require.Less(t, rss, 100<<10)
}
