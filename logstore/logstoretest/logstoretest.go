// Package logstoretest says by example what a store of log entries must do.
// [Run] is the conformance suite of logstore.Store, for the tests of its
// implementations; [Entries] and [Filters] draw what property tests are made
// of.
package logstoretest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// Open opens an empty store. The suite closes it.
type Open func(t *testing.T) logstore.Store

// Noon is when the entries of the suite happen, give or take. Stores that
// keep only what is not too old get it of a day ago.
func Noon() time.Time {
	return logstore.Day(time.Now()).Add(-12 * time.Hour)
}

// Run runs the suite over stores that open makes.
func Run(t *testing.T, open Open) {
	t.Helper()
	tests := map[string]func(*suite){
		"RoundTrip": roundTrip, "Order": order, "Pages": pages, "PageBytes": pageBytes, "Duplicates": duplicates,
		"Projects": projects, "Buckets": buckets, "Times": times, "Filters": filters, "Count": count,
		"Usage": usage, "Delete": deletion, "Since": since, "Invalid": invalid, "Model": model,
		"Concurrency": concurrency, "Cancellation": cancellation, "Many": many,
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tests[name](&suite{T: t, open: open, noon: Noon()})
		})
	}
}

// suite is one test with what it may open.
type suite struct {
	*testing.T
	open Open
	noon time.Time
	// seq numbers the entries.
	seq uint64
}

// store opens a store.
func (s *suite) store() logstore.Store {
	s.Helper()
	store := s.open(s.T)
	s.Cleanup(func() { require.NoError(s, store.Close()) })
	return store
}

// at makes a valid entry that many seconds after noon.
func (s *suite) at(id string, seconds int) logstore.Entry {
	s.seq++
	return logstore.Entry{
		Project: "p", Bucket: "b", Log: "l", InsertID: id, Origin: "suite", Seq: s.seq,
		Time: s.noon.Add(time.Duration(seconds) * time.Second), Received: s.noon.Add(time.Hour),
		Payload: logstore.Payload{Kind: logstore.Text, Data: []byte("text of " + id)},
	}
}

// append appends entries, which must be valid, as a writer does.
func (s *suite) append(store logstore.Store, entries ...logstore.Entry) {
	s.Helper()
	for i := range entries {
		require.NoError(s, entries[i].Check())
	}
	require.NoError(s, store.Append(s.Context(), entries))
}

// list gives a page, checking what is true of every page.
func (s *suite) list(store logstore.Store, q logstore.Query) []logstore.Entry {
	s.Helper()
	if q.Project == "" {
		q.Project = "p"
	}
	if q.Limit == 0 {
		q.Limit = logstore.MaxLimit
	}
	page, err := store.List(s.Context(), q)
	require.NoError(s, err)
	require.LessOrEqual(s, len(page), q.Limit)
	at := q.After
	for i := range page {
		p := page[i].Position()
		if i > 0 || !at.IsZero() {
			c := p.Compare(at)
			require.True(s, q.Descending && c < 0 || !q.Descending && c > 0, "entry %d of the page, %+v, is not after %+v", i, p, at)
		}
		at = p
	}
	return page
}

// ids are the insert ids of entries.
func ids(entries []logstore.Entry) []string {
	var all []string
	for i := range entries {
		all = append(all, entries[i].InsertID)
	}
	return all
}

// parse reads a filter.
func (s *suite) parse(text string) filter.Expr {
	s.Helper()
	e, err := filter.Parse(text)
	require.NoError(s, err, text)
	return e
}

// same is an error unless the entries are the same, where what is nil and what
// is empty are.
func same(t require.TestingT, want, got []logstore.Entry) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	require.Equal(t, ids(want), ids(got))
	for i := range want {
		require.Equal(t, normal(want[i]), normal(got[i]), "entry %d", i)
	}
}

// normal is an entry with nil for what is empty.
func normal(e logstore.Entry) logstore.Entry {
	n, err := logstore.ParseRecord(logstore.AppendRecord(nil, &e))
	if err != nil {
		panic(fmt.Sprintf("BUG: the record of an entry cannot be read: %v", err))
	}
	return n
}
