package journal_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/journal"
)

// childEnv makes the test binary the process that is killed: the value is the
// directory of its journal.
const childEnv = "SELVEDGE_JOURNAL_TEST_CHILD"

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

// child appends from several goroutines until it is killed, and prints the
// offset and the contents of every record that it was told is durable. One
// more goroutine reads, commits a cursor and prints that.
func child(dir string) error {
	j, err := journal.Open(dir, journal.Options{SegmentBytes: 64 << 10, OnFull: journal.DropOldest, MaxBytes: 64 << 20})
	if err != nil {
		return err
	}
	c, err := j.Cursor("c", journal.Oldest)
	if err != nil {
		return err
	}
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf(format, args...)
	}
	errs := make(chan error)
	for range 8 {
		go func() {
			for {
				batch := make([][]byte, 1+rand.IntN(4))
				for i := range batch {
					batch[i] = binary.LittleEndian.AppendUint64(make([]byte, 0, 600), rand.Uint64())
					batch[i] = batch[i][:8+rand.IntN(600-8)]
				}
				first, err := j.Append(context.Background(), batch...)
				if err != nil {
					errs <- err
					return
				}
				for i, r := range batch {
					say("record %d %x\n", int(first)+i, r[:8])
				}
			}
		}()
	}
	go func() {
		var b journal.Batch
		for {
			err := j.Wait(context.Background(), c.Position())
			if err == nil {
				err = j.Read(c.Position(), &b, 100_000)
			}
			if err == nil {
				err = c.Commit(b.Next() - journal.Offset(b.Len()/2)) // half of it
			}
			if err != nil {
				errs <- err
				return
			}
			say("cursor %d\n", c.Position())
		}
	}()
	return <-errs
}

func TestKill_LosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	const rounds = 20
	dir := t.TempDir()
	acked := map[journal.Offset]string{}
	var position journal.Offset
	for range rounds {
		more := 50 + rand.IntN(1000)
		position = max(position, runChild(t, dir, more, acked))
		j := open(t, dir, journal.Options{MaxBytes: 64 << 20})
		c := cursor(t, j, "c")
		require.GreaterOrEqual(t, c.Position(), position)
		require.GreaterOrEqual(t, c.Position(), j.First())
		got := readAll(t, j, 0)
		for offset, data := range acked {
			if offset < j.First() {
				continue // passed
			}
			require.Contains(t, got, offset)
			require.Equal(t, data, fmt.Sprintf("%x", got[offset][:8]), "offset %d", offset)
		}
		require.Len(t, got, int(j.End()-j.First()), "no gaps")
		require.Equal(t, map[string]uint64{journal.LostEvicted: 0, journal.LostCorrupt: 0}, j.Stats().Lost)
		require.NoError(t, j.Close())
	}
	require.NotZero(t, position)
	require.NotEmpty(t, acked)
}

// runChild runs the child until it has acknowledged about n records, kills it,
// adds what it acknowledged to acked and returns where its cursor was.
func runChild(t *testing.T, dir string, n int, acked map[journal.Offset]string) (position journal.Offset) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] == "record" && len(words[len(words)-1]) != 16 {
			break // cut off by the kill
		}
		number, err := strconv.ParseUint(words[1], 10, 64)
		require.NoError(t, err)
		if words[0] == "cursor" {
			position = journal.Offset(number)
			continue
		}
		acked[journal.Offset(number)] = words[2]
		if n--; n == 0 {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.NoError(t, lines.Err())
	require.Error(t, cmd.Wait(), "killed")
	require.LessOrEqual(t, n, 0, "the child ended by itself")
	return position
}
