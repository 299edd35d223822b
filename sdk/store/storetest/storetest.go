// Package storetest holds the drivers of the store to what package store says
// of them. Every driver runs all of it, so a difference between two drivers is
// a bug in one.
//
// [Run] tests what one driver does, [RunShared] what two drivers of the same
// database do to each other, and [RunKilled] what is left of a process that
// was killed. [Bench] measures.
package storetest

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// Open opens a driver, and closes it when the test ends. Whether two drivers
// are of the same database says who asks for it.
type Open func(t testing.TB) store.Driver

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// Run tests a driver. Each call of open makes a new, empty database.
func Run(t *testing.T, open Open) {
	RunScans(t, open)
	run(t, open, map[string]func(*testing.T, *kit){
		"Commit":         testCommit,
		"Conditions":     testConditions,
		"Ranges":         testRanges,
		"Claims":         testClaims,
		"Counts":         testCounts,
		"Quiet":          testQuiet,
		"Notes":          testNotes,
		"Reindex":        testReindex,
		"Changes":        testChanges,
		"Trim":           testTrim,
		"Wait":           testWait,
		"Snapshot":       testSnapshot,
		"Get":            testGet,
		"Bounds":         testBounds,
		"Context":        testContext,
		"Close":          testClose,
		"Transfers":      testTransfers,
		"Followers":      testFollowers,
		"RefusedInGroup": testRefusedInGroup,
	})
}

// RunScans tests only what a driver selects.
func RunScans(t *testing.T, open Open) {
	run(t, open, map[string]func(*testing.T, *kit){
		"Scan":      testScan,
		"ScanOrder": testScanOrder,
		"Model":     testModel,
		"Pages":     testPages,
	})
}

// run runs tests, each on a database of its own.
func run(t *testing.T, open Open, tests map[string]func(*testing.T, *kit)) {
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, newKit(t, open(t)))
		})
	}
}

// kit is a driver with what tests do with it.
type kit struct {
	t   tester
	ctx context.Context
	store.Driver
}

// tester is what is there of a test, and of a run of a property.
type tester interface {
	require.TestingT
	Helper()
}

// newKit is the kit of a test.
func newKit(t testing.TB, d store.Driver) *kit {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	t.Cleanup(cancel)
	return &kit{t, ctx, d}
}

// Thing is the type of most objects here.
const Thing = "test.selvedge.dev/Thing"

// thing is Thing, other is another type.
const (
	thing = Thing
	other = "test.selvedge.dev/Other"
)

// now is when all batches are made, but for its fraction of a second.
var now = time.Date(2026, 3, 4, 5, 6, 7, 890_123_456, time.UTC)

// batch is a batch of writes.
func batch(writes ...store.Write) *store.Batch {
	return &store.Batch{ID: newID(), Time: now, Writes: writes}
}

// put is a write that creates an object, or replaces before.
func put(before *store.Record, name resource.Name, body string, add ...filter.Entry) store.Write {
	return store.Write{
		Type: thing, Name: name, Before: before, Add: add,
		After: &store.Record{Type: thing, Name: name, UID: "uid-" + string(name), Body: []byte(body)},
	}
}

// remove is a write that deletes an object.
func remove(before *store.Record, drop ...filter.Entry) store.Write {
	return store.Write{Type: before.Type, Name: before.Name, Before: before, Drop: drop}
}

// entry is an entry.
func entry(index, key, value string) filter.Entry {
	return filter.Entry{Index: index, Key: key, Value: []byte(value)}
}

// commit commits writes, which must succeed, and returns their records.
func (k *kit) commit(writes ...store.Write) []*store.Record {
	k.t.Helper()
	b := batch(writes...)
	_, err := k.Commit(k.ctx, b)
	require.NoError(k.t, err)
	var out []*store.Record
	for i := range b.Writes {
		out = append(out, b.Writes[i].After)
	}
	return out
}

// create makes an object.
func (k *kit) create(name resource.Name, body string, add ...filter.Entry) *store.Record {
	k.t.Helper()
	return k.commit(put(nil, name, body, add...))[0]
}

// refused commits a batch that must be refused so.
func (k *kit) refused(b *store.Batch, kind fault.Kind, reason, name string) {
	k.t.Helper()
	before := k.last()
	_, err := k.Commit(k.ctx, b)
	is(k.t, err, kind, reason)
	if name != "" {
		var f *fault.Error
		require.ErrorAs(k.t, err, &f)
		require.Equal(k.t, name, f.Name)
	}
	require.Equal(k.t, before, k.last(), "a refused batch leaves nothing")
}

// is checks what kind of fault an error is.
func is(t tester, err error, kind fault.Kind, reason string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind.String()+" "+reason, fault.KindOf(err).String()+" "+fault.ReasonOf(err), "%v", err)
}

// view calls f with a snapshot.
func (k *kit) view(f func(s store.Snapshot, seq store.Seq)) {
	k.t.Helper()
	s, seq, err := k.Snapshot(k.ctx)
	require.NoError(k.t, err)
	defer func() { require.NoError(k.t, s.Close()) }()
	f(s, seq)
}

// last is the last change.
func (k *kit) last() (last store.Seq) {
	k.t.Helper()
	k.view(func(_ store.Snapshot, seq store.Seq) { last = seq })
	return last
}

// get reads an object, nil if there is none.
func (k *kit) get(name resource.Name) (rec *store.Record) {
	k.t.Helper()
	k.view(func(s store.Snapshot, _ store.Seq) {
		recs, err := s.Get(k.ctx, thing, []resource.Name{name})
		require.NoError(k.t, err)
		require.Len(k.t, recs, 1)
		rec = recs[0]
	})
	return rec
}

// scan is what a scan of a snapshot selects.
func (k *kit) scan(s store.Snapshot, q store.Scan) []*store.Record {
	k.t.Helper()
	var out []*store.Record
	require.NoError(k.t, s.Scan(k.ctx, q, func(rec *store.Record) bool {
		out = append(out, rec)
		return true
	}))
	return out
}

// names are the names that a scan selects now.
func (k *kit) names(q store.Scan) []string {
	k.t.Helper()
	var out []string
	k.view(func(s store.Snapshot, _ store.Seq) {
		for _, rec := range k.scan(s, q) {
			out = append(out, string(rec.Name))
		}
	})
	return out
}

// digest is that of what a scan selects now.
func (k *kit) digest(q store.Scan) (d uint64) {
	k.t.Helper()
	k.view(func(s store.Snapshot, _ store.Seq) {
		for _, rec := range k.scan(s, q) {
			d = store.Digest(d, rec)
		}
	})
	return d
}

// counters are the counters with a prefix.
func (k *kit) counters(prefix string) (c map[string]int64) {
	k.t.Helper()
	k.view(func(s store.Snapshot, _ store.Seq) {
		var err error
		c, err = s.Counters(k.ctx, prefix)
		require.NoError(k.t, err)
	})
	return c
}

// changes are all changes after one.
func (k *kit) changes(after store.Seq) []store.Change {
	k.t.Helper()
	var all []store.Change
	for {
		some, err := k.Changes(k.ctx, after, 100)
		require.NoError(k.t, err)
		if len(some) == 0 {
			return all
		}
		all, after = append(all, some...), some[len(some)-1].Seq
	}
}

// newID is an ID of a batch that no other has.
func newID() string { return rand.Text() }
