package storetest

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// childEnv is set in the child processes of RunKilled, to what they open.
const childEnv = "SELVEDGE_STORETEST_CHILD"

// The size of RunKilled.
const (
	killRounds  = 5
	killWriters = 8
)

// RunKilled kills processes while they commit, again and again on the same
// database: what was acknowledged is there, wholly, and nothing is there in
// parts. It must be all that the test which calls it does: the child processes
// run the same test. Make says where
// a new database is, open opens it.
func RunKilled(t *testing.T, make func(t testing.TB) (where string), open func(t testing.TB, where string) store.Driver) {
	if child := os.Getenv(childEnv); child != "" {
		commitForever(t, newKit(t, open(t, child)))
		return
	}
	where := make(t)
	acknowledged := map[string]bool{}
	for range killRounds {
		for _, id := range killed(t, where) {
			acknowledged[id] = true
		}
		t.Run("Reopened", func(t *testing.T) {
			wholeBatches(t, newKit(t, open(t, where)), acknowledged)
		})
	}
}

// commitForever commits, and prints the ID of what was acknowledged.
func commitForever(t *testing.T, k *kit) {
	var all sync.WaitGroup
	var mu sync.Mutex
	for range killWriters {
		all.Go(func() {
			for {
				id := newID()
				if _, err := k.Commit(k.ctx, tripleBatch(id)); err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				mu.Lock()
				_, err := fmt.Printf("\nack %s\n", id)
				mu.Unlock()
				if err != nil {
					return // the parent is gone
				}
			}
		})
	}
	all.Wait()
}

// tripleBatch is a batch that leaves traces everywhere.
func tripleBatch(id string) *store.Batch {
	b := &store.Batch{ID: id, Time: now}
	for _, part := range []string{"a", "b", "c"} {
		w := put(nil, resource.Name(id+"/"+part), id, entry("batch", "", id))
		w.Claim = []store.Claim{{Index: "claimed", Value: []byte(id + part)}}
		b.Writes = append(b.Writes, w)
	}
	b.Counts = []store.Count{{Key: "batches", Delta: 1, Max: -1}}
	return b
}

// killed starts a process that commits, kills it, and returns what it said.
func killed(t *testing.T, where string) []string {
	top, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.Command(os.Args[0], "-test.run", "^"+top+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+where)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	var ids, other []string
	end := 20 + rand.IntN(300)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		id, ok := strings.CutPrefix(lines.Text(), "ack ")
		if !ok {
			other = append(other, lines.Text())
			continue
		}
		if ids = append(ids, id); len(ids) == end {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.NoError(t, lines.Err())
	require.Error(t, cmd.Wait())
	require.GreaterOrEqual(t, len(ids), end, "the child ended by itself: %s", strings.Join(other, "\n"))
	return ids
}

// wholeBatches checks that all acknowledged batches are there, and all that are
// there are whole.
func wholeBatches(t *testing.T, k *kit, acknowledged map[string]bool) {
	found := map[string]int{}
	k.view(func(s store.Snapshot, _ store.Seq) {
		for _, rec := range k.scan(s, store.Scan{Type: thing}) {
			found[string(rec.Body)]++
		}
		for id, n := range found {
			require.Equal(t, 3, n, "half of a batch")
			require.Len(t, k.scan(s, store.Scan{Type: thing, Where: []filter.Condition{in("batch", "", id)}}), 3)
		}
		c, err := s.Counters(k.ctx, "")
		require.NoError(t, err)
		require.Equal(t, int64(len(found)), c["batches"])
	})
	for id := range acknowledged {
		require.Contains(t, found, id, "an acknowledged batch is lost")
	}
	changes := k.changes(0)
	require.Len(t, changes, 3*len(found))
	for i, c := range changes {
		require.Equal(t, store.Seq(i+1), c.Seq)
		require.Equal(t, i%3 == 2, c.Last)
		require.Equal(t, string(changes[i/3*3].After), string(c.After))
	}
	for id := range found {
		b := batch(put(nil, "thief", ""))
		b.Writes[0].Claim = []store.Claim{{Index: "claimed", Value: []byte(id + "b")}}
		k.refused(b, fault.Exists, "ALREADY_TAKEN", id+"/b")
		break
	}
}
