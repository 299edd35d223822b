package embedded_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/embedded"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/logstore/logstoretest"
	"selvedge.dev/sdk/fault"
)

// open opens a store in a directory of the test.
func open(t testing.TB, dir string) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(dir, embedded.Options{MinFreeBytes: 1})
	require.NoError(t, err)
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	logstoretest.Run(t, func(t *testing.T) logstore.Store { return open(t, t.TempDir()) })
}

// dated makes an entry of a bucket, so many days ago.
func dated(bucket, id string, days int) logstore.Entry {
	at := logstoretest.Noon().AddDate(0, 0, -days)
	return logstore.Entry{
		Project: "p", Bucket: bucket, Log: "l", InsertID: id, Time: at, Received: at, Origin: "o", Seq: uint64(days),
		Payload: logstore.Payload{Kind: logstore.Text, Data: []byte("text")},
	}
}

// Days that are of one bucket alone are given back to the disk; what is appended to
// them later is kept, also over a restart.
func TestDelete_GivesDaysBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for days := range 5 {
		require.NoError(t, s.Append(t.Context(), []logstore.Entry{dated("a", "1", days)}))
	}
	require.NoError(t, s.Append(t.Context(), []logstore.Entry{dated("b", "1", 3)}))
	folders := func() int {
		t.Helper()
		days, err := os.ReadDir(filepath.Join(dir, "rows", "partitions"))
		require.NoError(t, err)
		return len(days)
	}
	require.Equal(t, 5, folders())
	before := logstore.Day(logstoretest.Noon()).AddDate(0, 0, -1)
	require.NoError(t, s.Delete(t.Context(), logstore.Deletion{Project: "p", Bucket: "a", Before: before}))
	require.Equal(t, 3, folders(), "the day that another bucket has stays")
	entries := func() (n int64) {
		t.Helper()
		used, err := s.Usage(t.Context(), "")
		require.NoError(t, err)
		for _, u := range used {
			require.Positive(t, u.Bytes)
			n += u.Entries
		}
		return n
	}
	require.Equal(t, int64(3), entries())
	require.NoError(t, s.Append(t.Context(), []logstore.Entry{dated("a", "2", 4), dated("a", "2", 3)}))
	require.NoError(t, s.Sync(t.Context()))
	require.Equal(t, int64(5), entries())
	require.NoError(t, s.Close())
	// As a process leaves it that is killed while it removes a day.
	half := filepath.Join(dir, "rows", "partitions", ".removed-20261101")
	require.NoError(t, os.MkdirAll(filepath.Join(half, "datadb", "0000"), 0o755))
	s = open(t, dir)
	require.NoDirExists(t, half)
	require.Equal(t, int64(5), entries())
	require.NoError(t, s.Delete(t.Context(), logstore.Deletion{Project: "p", Bucket: "none", Before: before}))
	require.Equal(t, int64(5), entries())
	require.NoError(t, s.Close())
}

// What the engine would drop silently is an error.
func TestAppend_RefusesWhatItCannotKeep(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	late := dated("b", "1", 0)
	late.Time = time.Date(2201, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, late.Check())
	err := s.Append(t.Context(), []logstore.Entry{dated("b", "2", 0), late})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Equal(t, "TIME_OUT_OF_RANGE", fault.ReasonOf(err))
	first, last := dated("b", "first", 0), dated("b", "last", 0)
	first.Time, last.Time = time.Unix(0, 0).UTC(), time.Date(2199, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
	largest := dated("b", "largest", 0)
	largest.Payload.Data = bytes.Repeat([]byte("A b_C "), (logstore.MaxSize-200)/6)
	require.NoError(t, largest.Check())
	require.NoError(t, s.Append(t.Context(), []logstore.Entry{first, last, largest}))
	page, err := s.List(t.Context(), logstore.Query{Selection: logstore.Selection{Project: "p"}, Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []logstore.Entry{first, largest, last}, page)
	require.NoError(t, s.Close())

	full, err := embedded.Open(t.TempDir(), embedded.Options{MinFreeBytes: 1 << 60})
	require.NoError(t, err)
	err = full.Append(t.Context(), []logstore.Entry{largest})
	require.Equal(t, fault.Exhausted, fault.KindOf(err))
	require.Equal(t, "DISK_FULL", fault.ReasonOf(err))
	require.NoError(t, full.Close())
}

// A query that is too much is told what would help.
func TestList_Bounds(t *testing.T) {
	t.Parallel()
	s, err := embedded.Open(t.TempDir(), embedded.Options{MinFreeBytes: 1, Once: true, MaxRead: 100})
	require.NoError(t, err)
	var entries []logstore.Entry
	for i := range 1000 {
		entries = append(entries, dated("b", fmt.Sprint(i), 0))
	}
	require.NoError(t, s.Append(t.Context(), entries))
	f, err := filter.Parse(`sample(insertId, 0.000001)`)
	require.NoError(t, err)
	_, err = s.List(t.Context(), logstore.Query{Selection: logstore.Selection{Project: "p", Filter: f}, Limit: 10})
	require.Equal(t, fault.Exhausted, fault.KindOf(err))
	require.ErrorContains(t, err, "a shorter time")
	_, err = s.Count(t.Context(), logstore.Counting{Selection: logstore.Selection{Project: "p", Filter: f}})
	require.Equal(t, fault.Exhausted, fault.KindOf(err))
	require.NoError(t, s.Close())

	slow, err := embedded.Open(t.TempDir(), embedded.Options{MinFreeBytes: 1, Once: true, MaxQuery: 1})
	require.NoError(t, err)
	require.NoError(t, slow.Append(t.Context(), entries))
	_, err = slow.List(t.Context(), logstore.Query{Selection: logstore.Selection{Project: "p", Filter: f}, Limit: 10})
	require.Equal(t, fault.Exhausted, fault.KindOf(err))
	require.Equal(t, "QUERY_TOO_SLOW", fault.ReasonOf(err))
	require.NoError(t, slow.Close())
}

// What looks like a number to the engine is counted as the text that it is.
func TestCount_NumbersWithUnderscores(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	var entries []logstore.Entry
	for i, v := range []string{"_", "0", "1_0", "10", "10"} {
		e := dated("b", fmt.Sprint(i), 0)
		e.Labels = map[string]string{"a": v}
		entries = append(entries, e)
	}
	require.NoError(t, s.Append(t.Context(), entries))
	groups, err := s.Count(t.Context(), logstore.Counting{Selection: logstore.Selection{Project: "p"}, By: [][]string{{"labels", "a"}}})
	require.NoError(t, err)
	var got []string
	for _, g := range groups {
		got = append(got, fmt.Sprint(g.Values[0], " ", g.Entries))
	}
	require.Equal(t, []string{"10 2", "0 1", "1_0 1", "_ 1"}, got)
	require.NoError(t, s.Close())
}
