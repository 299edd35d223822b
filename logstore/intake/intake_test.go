package intake_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/logstore/memory"
	"selvedge.dev/sdk/fault"
)

// quick are options that hand on at once.
var quick = intake.Options{BatchDelay: time.Millisecond, SyncDelay: time.Millisecond, RetryDelay: time.Millisecond}

// open opens an intake; the test closes it.
func open(t *testing.T, dir string, store logstore.Store, o intake.Options) *intake.Intake {
	t.Helper()
	in, err := intake.Open(dir, store, o)
	require.NoError(t, err)
	return in
}

// entry makes an entry of project p, i milliseconds after the start of today.
func entry(i int) logstore.Entry {
	return logstore.Entry{
		Project: "p", Bucket: "b", Log: "l", InsertID: fmt.Sprint("id", i), Time: logstore.Day(time.Now()).Add(time.Duration(i) * time.Millisecond),
		Payload: logstore.Payload{Kind: logstore.Text, Data: fmt.Append(nil, "text ", i)},
	}
}

// numbered makes the entries from one number to before another.
func numbered(from, to int) []logstore.Entry {
	var entries []logstore.Entry
	for i := from; i < to; i++ {
		entries = append(entries, entry(i))
	}
	return entries
}

// write writes entries, which must all be stored, and gives how many were
// duplicates.
func write(t *testing.T, in *intake.Intake, entries []logstore.Entry) int {
	t.Helper()
	outcomes, err := in.Write(t.Context(), slices.Clone(entries))
	require.NoError(t, err)
	duplicates := 0
	for i, o := range outcomes {
		require.NoError(t, o.Err)
		require.True(t, o.Stored)
		require.NotEmpty(t, o.InsertID)
		if entries[i].InsertID != "" {
			require.Equal(t, entries[i].InsertID, o.InsertID)
		}
		if o.Duplicate {
			duplicates++
		}
	}
	return duplicates
}

// all gives the entries of project p.
func all(t *testing.T, store logstore.Reader) []logstore.Entry {
	t.Helper()
	var entries []logstore.Entry
	q := logstore.Query{Selection: logstore.Selection{Project: "p"}, Limit: logstore.MaxLimit}
	for {
		page, err := store.List(t.Context(), q)
		require.NoError(t, err)
		if len(page) == 0 {
			return entries
		}
		entries = append(entries, page...)
		q.After = page[len(page)-1].Position()
	}
}

// missing are the insert ids of the first n entries that are not there, and
// of others that are.
func missing(n int, entries []logstore.Entry) []string {
	wanted := make(map[string]bool)
	for i := range n {
		wanted[fmt.Sprint("id", i)] = true
	}
	var wrong []string
	for i := range entries {
		if !wanted[entries[i].InsertID] {
			wrong = append(wrong, entries[i].InsertID)
		}
		delete(wanted, entries[i].InsertID)
	}
	return slices.AppendSeq(wrong, maps.Keys(wanted))
}

// flush waits until the store has everything.
func flush(t *testing.T, in *intake.Intake) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, in.Flush(ctx))
}

// checked is a store that fails on demand, and fails a test that appends an
// entry which it has.
type checked struct {
	logstore.Store
	t *testing.T

	mu sync.Mutex
	// refuse is asked before each call, lose after each Append whether its
	// error is lost.
	refuse func(op string, entries []logstore.Entry) error
	after  func(op string) error
	has    map[uint64]int
	// synced is how many entries were appended when it was last synced.
	appends, syncs int
}

// newChecked is one over memory.
func newChecked(t *testing.T) *checked {
	return &checked{Store: memory.New(), t: t, has: make(map[uint64]int)}
}

// set changes how it fails.
func (c *checked) set(refuse func(op string, entries []logstore.Entry) error, after func(op string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse, c.after = refuse, after
}

// call is what a call fails with.
func (c *checked) call(op string, entries []logstore.Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse != nil {
		return c.refuse(op, entries)
	}
	return nil
}

// Append implements logstore.Writer.
func (c *checked) Append(ctx context.Context, entries []logstore.Entry) error {
	if err := c.call("Append", entries); err != nil {
		return err
	}
	if err := c.Store.Append(ctx, entries); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.appends++
	for i := range entries {
		c.has[entries[i].Seq]++
		require.LessOrEqual(c.t, c.has[entries[i].Seq], 1, "entry %d is appended again", entries[i].Seq)
	}
	if c.after != nil {
		return c.after("Append")
	}
	return nil
}

// Sync implements logstore.Writer.
func (c *checked) Sync(ctx context.Context) error {
	if err := c.call("Sync", nil); err != nil {
		return err
	}
	c.mu.Lock()
	c.syncs++
	c.mu.Unlock()
	return c.Store.Sync(ctx)
}

// Since implements logstore.Writer.
func (c *checked) Since(ctx context.Context, origin string, seq uint64) ([]uint64, error) {
	if err := c.call("Since", nil); err != nil {
		return nil, err
	}
	return c.Store.Since(ctx, origin, seq)
}

// List implements logstore.Reader.
func (c *checked) List(ctx context.Context, q logstore.Query) ([]logstore.Entry, error) {
	if err := c.call("List", nil); err != nil {
		return nil, err
	}
	return c.Store.List(ctx, q)
}

// errAway is the error of a store that is away.
var errAway = &fault.Error{Op: "test", Kind: fault.Unavailable, Err: errors.New("away")}

func TestWrite_OutcomeOfEachEntry(t *testing.T) {
	t.Parallel()
	store := newChecked(t)
	o := quick
	o.Past = 24 * time.Hour
	in := open(t, t.TempDir(), store, o)
	old, early, wrong, big := entry(1), entry(2), entry(3), entry(4)
	now := time.Now().UTC()
	old.Time, early.Time, wrong.Log = now.Add(-25*time.Hour), now.Add(49*time.Hour), "no log id?"
	big.Payload.Data = make([]byte, logstore.MaxSize)
	good, nameless := entry(5), entry(6)
	good.Time, nameless.Time = now, now
	nameless.InsertID = ""
	outcomes, err := in.Write(t.Context(), []logstore.Entry{old, early, wrong, big, good, nameless, good})
	require.NoError(t, err)
	for i, reason := range []string{intake.ReasonTooOld, intake.ReasonTooNew, "INVALID_ENTRY", "ENTRY_TOO_LARGE"} {
		require.Equal(t, reason, fault.ReasonOf(outcomes[i].Err), i)
		require.False(t, outcomes[i].Stored)
	}
	for i := 4; i < 7; i++ {
		require.NoError(t, outcomes[i].Err)
		require.True(t, outcomes[i].Stored)
	}
	require.NotEmpty(t, outcomes[5].InsertID)
	flush(t, in)
	require.Len(t, all(t, store), 2, "one of them was in the batch twice")
	st := in.Stats()
	require.Equal(t, map[string]uint64{
		intake.ReasonTooOld: 1, intake.ReasonTooNew: 1, "INVALID_ENTRY": 1, "ENTRY_TOO_LARGE": 1, intake.ReasonDuplicate: 1,
	}, st.Dropped)
	require.Zero(t, st.Waiting)
	require.NoError(t, in.Close())
}

func TestWrite_InsertIDsAreUniqueAndInOrder(t *testing.T) {
	t.Parallel()
	store, dir := newChecked(t), t.TempDir()
	var given []string
	for range 3 {
		in := open(t, dir, store, quick)
		entries := numbered(0, 100)
		for i := range entries {
			entries[i].InsertID, entries[i].Time = "", entries[0].Time
		}
		outcomes, err := in.Write(t.Context(), entries)
		require.NoError(t, err)
		for _, o := range outcomes {
			given = append(given, o.InsertID)
		}
		flush(t, in)
		require.NoError(t, in.Close())
	}
	require.True(t, slices.IsSorted(given), "entries of one time stay in their order")
	require.Len(t, slices.Compact(given), 300)
	require.Len(t, all(t, store), 300)
}

// An entry is stored once however often, and however late, it is written, also
// after a restart and with a window that has forgotten it.
func TestWrite_DuplicatesAreStoredOnce(t *testing.T) {
	t.Parallel()
	for _, window := range []int{1, 7, 100_000} {
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			t.Parallel()
			store, dir := newChecked(t), t.TempDir()
			o := quick
			o.Window = window
			week := numbered(0, 50)
			for i := range week {
				week[i].Time = week[i].Time.Add(-7 * 24 * time.Hour)
			}
			in := open(t, dir, store, o)
			write(t, in, week)
			write(t, in, week)
			write(t, in, numbered(0, 500))
			flush(t, in)
			write(t, in, week)
			for restart := range 3 {
				flush(t, in)
				require.NoError(t, in.Close())
				in = open(t, dir, store, o)
				write(t, in, week)
				write(t, in, numbered(400, 510+restart))
			}
			flush(t, in)
			require.Len(t, all(t, store), 562)
			require.NoError(t, in.Close())
		})
	}
}

// What waits for the store, more than the window has, is handed on
// without asking the store about it, and still once.
func TestWrite_BurstIsNotAskedAbout(t *testing.T) {
	t.Parallel()
	store := newChecked(t)
	o := quick
	o.Window, o.BatchDelay, o.BatchBytes = 10, time.Hour, 1000
	in := open(t, t.TempDir(), store, o)
	apart := func(from, to int) []logstore.Entry {
		entries := numbered(from, to)
		for i := range entries {
			entries[i].Time = entries[i].Time.Add(time.Duration(from+i) * time.Minute)
		}
		return entries
	}
	write(t, in, apart(0, 20))
	flush(t, in)
	write(t, in, apart(20, 500))
	write(t, in, apart(500, 1000))
	asked := 0
	store.set(func(op string, _ []logstore.Entry) error {
		if op == "List" {
			asked++
		}
		return nil
	}, nil)
	flush(t, in)
	require.Zero(t, asked)
	require.Empty(t, missing(1000, all(t, store)))
	write(t, in, apart(100, 120))
	flush(t, in)
	require.Len(t, all(t, store), 1000)
	require.NotZero(t, asked, "what the window has forgotten is looked for")
	require.NoError(t, in.Close())
}

// The same entries written by many at once, with a window that forgets them
// meanwhile, are stored once.
func TestWrite_ManyAtOnce(t *testing.T) {
	t.Parallel()
	store := newChecked(t)
	o := quick
	o.Window, o.BatchDelay, o.BatchBytes = 5, time.Hour, 300
	in := open(t, t.TempDir(), store, o)
	for round := range 10 {
		var writers sync.WaitGroup
		for range 8 {
			writers.Go(func() {
				for i := range 5 {
					_, err := in.Write(t.Context(), numbered(50*round+10*i, 50*round+10*i+10))
					require.NoError(t, err)
				}
			})
		}
		writers.Wait()
		flush(t, in)
		require.Empty(t, missing(50*(round+1), all(t, store)))
		require.Len(t, all(t, store), 50*(round+1))
	}
	require.NoError(t, in.Close())
}

func TestWrite_DuplicateIsSaidWhenKnown(t *testing.T) {
	t.Parallel()
	in := open(t, t.TempDir(), newChecked(t), quick)
	require.Zero(t, write(t, in, numbered(0, 10)))
	require.Equal(t, 5, write(t, in, numbered(5, 15)))
	require.NoError(t, in.Close())
}

// Two intakes in front of one store, as of two platforms.
func TestWrite_DuplicatesOfAnotherIntake(t *testing.T) {
	t.Parallel()
	store := memory.New()
	a, b := open(t, t.TempDir(), store, quick), open(t, t.TempDir(), store, quick)
	require.NotEqual(t, a.Stats().Origin, b.Stats().Origin)
	write(t, a, numbered(0, 10))
	flush(t, a)
	write(t, b, numbered(5, 15))
	flush(t, b)
	require.Len(t, all(t, store), 15)
	require.Equal(t, uint64(5), b.Stats().Dropped[intake.ReasonDuplicate])
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

func TestStoreAway_WaitsOnDiskAndComesBack(t *testing.T) {
	t.Parallel()
	store, dir := newChecked(t), t.TempDir()
	store.set(func(string, []logstore.Entry) error { return errAway }, nil)
	in := open(t, dir, store, quick)
	write(t, in, numbered(0, 100))
	require.ErrorIs(t, in.Flush(t.Context()), errAway)
	st := in.Stats()
	require.Equal(t, uint64(100), st.Waiting)
	require.Contains(t, st.StoreError, "away")
	require.False(t, st.Oldest.IsZero())
	require.NoError(t, in.Close())
	in = open(t, dir, store, quick)
	write(t, in, numbered(50, 120))
	store.set(nil, nil)
	require.Eventually(t, func() bool { return in.Flush(t.Context()) == nil }, time.Minute, time.Millisecond)
	require.Len(t, all(t, store), 120)
	st = in.Stats()
	require.Zero(t, st.Waiting)
	require.Empty(t, st.StoreError)
	require.NoError(t, in.Close())
}

func TestStoreAway_FullJournalSaysWhenToComeAgain(t *testing.T) {
	t.Parallel()
	store := newChecked(t)
	store.set(func(string, []logstore.Entry) error { return errAway }, nil)
	o := quick
	o.MaxBytes = 1 << 20
	in := open(t, t.TempDir(), store, o)
	var err error
	acknowledged := 0
	for i := 0; err == nil; i += 100 {
		if _, err = in.Write(t.Context(), numbered(i, i+100)); err == nil {
			acknowledged += 100
		}
	}
	require.Equal(t, fault.Exhausted, fault.KindOf(err))
	require.Equal(t, "JOURNAL_FULL", fault.ReasonOf(err))
	var retry fault.RetryAfter
	require.ErrorAs(t, err, &retry)
	store.set(nil, nil)
	require.Eventually(t, func() bool { return in.Flush(t.Context()) == nil }, time.Minute, time.Millisecond)
	require.Empty(t, missing(acknowledged, all(t, store)))
	require.Eventually(t, func() bool {
		_, err := in.Write(t.Context(), numbered(acknowledged, acknowledged+100))
		return err == nil
	}, time.Minute, time.Millisecond, "there is room again")
	require.NoError(t, in.Close())
}

// An error that hides that the store has the entries, or a part of them, is
// found out by asking.
func TestStore_UnclearErrors(t *testing.T) {
	t.Parallel()
	store := newChecked(t)
	n := 0
	store.set(
		func(op string, entries []logstore.Entry) error {
			n++
			if op == "Append" && n%3 == 0 && len(entries) > 1 {
				// A part of the batch is there.
				require.NoError(t, store.Store.Append(context.Background(), entries[:len(entries)/2]))
				for i := range entries[:len(entries)/2] {
					store.has[entries[i].Seq]++
				}
				return errAway
			}
			if n%5 == 0 {
				return errAway
			}
			return nil
		},
		func(string) error {
			if n%2 == 0 {
				return errAway
			}
			return nil
		})
	o := quick
	o.BatchEntries = 7
	in := open(t, t.TempDir(), store, o)
	go func() {
		for i := range 20 {
			_, _ = in.Write(context.Background(), numbered(i*5, i*5+5))
		}
	}()
	require.Eventually(t, func() bool { return in.Stats().Stored == 100 && in.Flush(t.Context()) == nil }, time.Minute, time.Millisecond)
	store.set(nil, nil)
	require.Len(t, all(t, store), 100)
	require.NoError(t, in.Close())
}

// An entry that the store refuses costs itself, and is counted.
func TestStore_RefusesAnEntry(t *testing.T) {
	t.Parallel()
	store := newChecked(t)
	store.set(func(op string, entries []logstore.Entry) error {
		if op == "Append" && slices.ContainsFunc(entries, func(e logstore.Entry) bool { return e.InsertID == "id42" || e.InsertID == "id43" }) {
			return &fault.Error{Kind: fault.Invalid, Err: errors.New("no such id")}
		}
		return nil
	}, nil)
	in := open(t, t.TempDir(), store, quick)
	write(t, in, numbered(0, 100))
	flush(t, in)
	require.Len(t, all(t, store), 98)
	require.Equal(t, map[string]uint64{intake.ReasonRefused: 2}, in.Stats().Dropped)
	require.NoError(t, in.Close())
}

func TestTail(t *testing.T) {
	t.Parallel()
	o := quick
	o.MaxTails = 2
	store := newChecked(t)
	store.set(func(string, []logstore.Entry) error { return errAway }, nil) // a tail does not need it
	in := open(t, t.TempDir(), store, o)
	f, err := filter.Parse(`"text 7"`)
	require.NoError(t, err)
	some, err := in.Tail(logstore.Selection{Project: "p", Filter: f})
	require.NoError(t, err)
	other, err := in.Tail(logstore.Selection{Project: "q"})
	require.NoError(t, err)
	_, err = in.Tail(logstore.Selection{Project: "p"})
	require.Equal(t, fault.Exhausted, fault.KindOf(err))
	other.Close()
	other.Close()
	_, _, err = other.Next(t.Context())
	require.Equal(t, fault.Unavailable, fault.KindOf(err))

	write(t, in, numbered(0, 10))
	entries, missed, err := some.Next(t.Context())
	require.NoError(t, err)
	require.Zero(t, missed)
	require.Len(t, entries, 1)
	require.Equal(t, "id7", entries[0].InsertID)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = some.Next(ended)
	require.ErrorIs(t, err, context.Canceled)

	slow, err := in.Tail(logstore.Selection{Project: "p"})
	require.NoError(t, err)
	write(t, in, numbered(10, 3_010))
	entries, missed, err = slow.Next(t.Context())
	require.NoError(t, err)
	require.Len(t, entries, 1_000)
	require.Equal(t, 2_000, missed)
	require.Equal(t, uint64(2_000), in.Stats().Missed)
	require.NoError(t, in.Close())
	_, _, err = slow.Next(t.Context())
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	_, err = in.Tail(logstore.Selection{Project: "p"})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}
