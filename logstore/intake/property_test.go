package intake_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/logstore/memory"
	"selvedge.dev/sdk/fault"
)

// mortal is a store that crashes, and then has only what was synced; until
// it is started again it is away. The first Sync after a crash fails, as what
// was appended before it may be lost. It takes entries without looking for
// duplicates.
type mortal struct {
	mu sync.Mutex
	// entries are those appended, of which the first durable survive.
	entries []logstore.Entry
	durable int
	dead    bool
	// lost says that nobody was told of a crash.
	lost bool
	// torn makes the next Append take half of its entries and fail.
	torn bool
}

// crash loses what was not synced.
func (m *mortal) crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries, m.dead, m.lost = slices.Clone(m.entries[:m.durable]), true, true
}

// start brings it back.
func (m *mortal) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = false
}

// open gives the entries as a store that finds them.
func (m *mortal) open() (*memory.Store, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, errAway
	}
	s := memory.New()
	return s, s.Append(context.Background(), m.entries)
}

// List implements logstore.Reader.
func (m *mortal) List(ctx context.Context, q logstore.Query) ([]logstore.Entry, error) {
	s, err := m.open()
	if err != nil {
		return nil, err
	}
	return s.List(ctx, q)
}

// Count implements logstore.Reader.
func (m *mortal) Count(ctx context.Context, c logstore.Counting) ([]logstore.Group, error) {
	s, err := m.open()
	if err != nil {
		return nil, err
	}
	return s.Count(ctx, c)
}

// Append implements logstore.Writer.
func (m *mortal) Append(_ context.Context, entries []logstore.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.dead:
		return errAway
	case m.torn:
		m.torn = false
		m.entries = append(m.entries, entries[:len(entries)/2]...)
		return errAway
	}
	m.entries = append(m.entries, entries...)
	return nil
}

// Sync implements logstore.Writer.
func (m *mortal) Sync(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead || m.lost {
		m.lost = m.lost && m.dead
		return errAway
	}
	m.durable = len(m.entries)
	return nil
}

// Since implements logstore.Writer.
func (m *mortal) Since(_ context.Context, origin string, seq uint64) ([]uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, errAway
	}
	var numbers []uint64
	for i := range m.entries {
		if e := &m.entries[i]; e.Origin == origin && e.Seq >= seq {
			numbers = append(numbers, e.Seq)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// Usage implements logstore.Keeper.
func (m *mortal) Usage(context.Context, string) ([]logstore.Usage, error) { return nil, nil }

// Delete implements logstore.Keeper.
func (m *mortal) Delete(context.Context, logstore.Deletion) error { return nil }

// Close implements logstore.Store.
func (m *mortal) Close() error { return nil }

// Whatever crashes when, the store has what was acknowledged, each entry once,
// in the end.
func TestIntake_AnyOrderOfFailures(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "intake")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		store := &mortal{}
		o := intake.Options{
			BatchDelay: time.Microsecond, SyncDelay: time.Duration(rapid.SampledFrom([]int{1, 1000, 30_000}).Draw(t, "sync")) * time.Microsecond,
			BatchEntries: rapid.SampledFrom([]int{1, 7, 1000}).Draw(t, "batch"), Window: rapid.SampledFrom([]int{1, 10, 1000}).Draw(t, "window"),
			MaxBytes: 1 << 20, RetryDelay: time.Millisecond,
		}
		apart := rapid.SampledFrom([]time.Duration{0, time.Millisecond, 100 * time.Millisecond}).Draw(t, "apart")
		in, err := intake.Open(dir, store, o)
		require.NoError(t, err)
		acknowledged := make(map[string]bool)
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0:
				store.crash()
			case 1:
				store.mu.Lock()
				store.torn = true
				store.mu.Unlock()
			case 2:
				require.NoError(t, in.Close())
				in, err = intake.Open(dir, store, o)
				require.NoError(t, err)
			case 3:
				store.start()
			case 4:
				store.start()
				_ = in.Flush(context.Background()) // fails if something was torn
			default:
				from := rapid.IntRange(0, 100).Draw(t, "from")
				entries := numbered(from, from+rapid.IntRange(1, 30).Draw(t, "entries"))
				for i := range entries {
					entries[i].Time = logstore.Day(time.Now()).Add(time.Duration(from+i) * apart)
				}
				outcomes, err := in.Write(context.Background(), entries)
				require.NoError(t, err)
				for i := range outcomes {
					require.NoError(t, outcomes[i].Err)
					acknowledged[entries[i].InsertID] = true
				}
			}
		}
		store.start()
		require.Eventually(t, func() bool {
			return in.Flush(context.Background()) == nil && in.Stats().Unsynced == 0
		}, time.Minute, time.Millisecond)
		require.NoError(t, in.Close())
		found := make(map[string]int)
		for _, e := range store.entries {
			found[e.InsertID]++
			require.Equal(t, 1, found[e.InsertID], "%s is stored twice", e.InsertID)
		}
		require.Len(t, found, len(acknowledged))
	})
}

// A journal that was brought back from a backup gives numbers that the store
// has from before: it goes on under another origin.
func TestOpen_OlderJournal(t *testing.T) {
	t.Parallel()
	store, dir, backup := newChecked(t), t.TempDir(), t.TempDir()
	in := open(t, dir, store, quick)
	write(t, in, numbered(0, 10))
	flush(t, in)
	require.NoError(t, in.Close())
	require.NoError(t, os.CopyFS(backup+"/copy", os.DirFS(dir)))
	in = open(t, dir, store, quick)
	origin := in.Stats().Origin
	write(t, in, numbered(10, 20))
	flush(t, in)
	require.NoError(t, in.Close())

	store.mu.Lock()
	clear(store.has) // its numbers come again, of another origin
	store.mu.Unlock()
	in = open(t, backup+"/copy", store, quick)
	write(t, in, numbered(5, 30))
	flush(t, in)
	require.Len(t, all(t, store), 30)
	again := in.Stats().Origin
	require.NotEqual(t, origin, again)
	require.NoError(t, in.Close())
	in = open(t, backup+"/copy", store, quick)
	require.Equal(t, again, in.Stats().Origin)
	require.NoError(t, in.Close())
}

func TestFullDisk_SaysSoAndGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "none", dir).CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: a real full disk needs the right to mount a tmpfs: %v: %s", err, out)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	store := newChecked(t)
	store.set(func(string, []logstore.Entry) error { return errAway }, nil)
	o := quick
	o.MaxBytes = 2 << 20
	in := open(t, dir, store, o)
	acknowledged := 0
	var err error
	for err == nil {
		if _, err = in.Write(t.Context(), numbered(acknowledged, acknowledged+50)); err == nil {
			acknowledged += 50
		}
	}
	require.Positive(t, acknowledged)
	require.Equal(t, "DISK_FULL", fault.ReasonOf(err))
	var retry fault.RetryAfter
	require.ErrorAs(t, err, &retry)
	store.set(nil, nil)
	require.Eventually(t, func() bool { return in.Flush(t.Context()) == nil }, time.Minute, time.Millisecond)
	require.Empty(t, missing(acknowledged, all(t, store)))
	require.Eventually(t, func() bool {
		_, err := in.Write(t.Context(), numbered(acknowledged, acknowledged+50))
		return err == nil
	}, time.Minute, time.Millisecond, fmt.Sprint("there is room after ", acknowledged))
	require.NoError(t, in.Close())
}
