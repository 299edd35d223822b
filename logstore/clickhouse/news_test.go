package clickhouse_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/clickhouse"
	"selvedge.dev/logstore/clickhouse/chtest"
	"selvedge.dev/logstore/filter"
)

// TestNews: what others appended after the marks is given once it is there, that of
// new ones too, as far as the filter selects it, and in order; own entries, those of
// other projects and buckets, and old ones are not.
func TestNews(t *testing.T) {
	t.Parallel()
	s := open(t, clickhouse.Options{DSN: chtest.New(t).Native, Once: true})
	now := time.Now().UTC()
	n := 0
	add := func(origin string, seq uint64, change func(e *logstore.Entry)) {
		t.Helper()
		n++
		e := entry(n)
		e.Origin, e.Seq, e.InsertID = origin, seq, fmt.Sprint(origin, seq)
		e.Time, e.Received = now, now.Add(time.Duration(n))
		e.Labels = map[string]string{"k": fmt.Sprint(seq % 2)}
		if change != nil {
			change(&e)
		}
		require.NoError(t, s.Append(t.Context(), []logstore.Entry{e}))
	}
	project, bucket := entry(0).Project, entry(0).Bucket
	none, err := s.Marks(t.Context(), project, now.Add(-time.Hour))
	require.NoError(t, err)
	require.Empty(t, none)
	add("own", 1, nil)
	add("a", 7, nil)
	add("a", 6, nil)
	add("old", 5, func(e *logstore.Entry) { e.Time = now.Add(-3 * time.Hour) })
	marks, err := s.Marks(t.Context(), project, now.Add(-time.Hour))
	require.NoError(t, err)
	require.Equal(t, logstore.Marks{"own": 1, "a": 7}, marks)

	add("b", 1, nil)
	add("a", 9, nil)
	add("a", 8, nil)
	add("own", 2, nil)
	add("a", 10, func(e *logstore.Entry) { e.Project = "elsewhere" })
	add("a", 11, func(e *logstore.Entry) { e.Bucket = "elsewhere" })
	add("a", 12, func(e *logstore.Entry) { e.Time = now.Add(-2 * time.Hour) })
	f := func(text string, limit int, want []string, seen logstore.Marks, more bool) {
		t.Helper()
		e, err := filter.Parse(text)
		require.NoError(t, err)
		news, err := s.News(t.Context(), logstore.Asked{
			Selection: logstore.Selection{Project: project, Buckets: []string{bucket}, From: now.Add(-time.Hour), Filter: e},
			Own:       "own", Beyond: marks, Limit: limit,
		})
		require.NoError(t, err)
		got := []string{}
		for _, e := range news.Entries {
			got = append(got, e.InsertID)
		}
		require.Equal(t, want, got, text)
		require.Equal(t, seen, news.Seen, text)
		require.Equal(t, more, news.More, text)
		require.Equal(t, news.Looked > 0, news.Size > 0)
	}
	f("", 10, []string{"b1", "a9", "a8"}, logstore.Marks{"a": 9, "b": 1}, false)
	f("", 1, []string{"b1", "a8"}, logstore.Marks{"a": 8, "b": 1}, true)
	f(`labels.k=0`, 10, []string{"a8"}, logstore.Marks{"a": 8}, false)
	// A part of the filter that the server does not know: it is looked at.
	f(`cast(labels.k, INT64)=0`, 10, []string{"a8"}, logstore.Marks{"a": 9, "b": 1}, false)
	marks["a"], marks["b"] = 9, 1
	f("", 10, []string{}, logstore.Marks{}, false)
}
