package logstoretest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// count: by bar and by fields, in order, the largest if there are too many.
func count(s *suite) {
	store := s.store()
	var entries []logstore.Entry
	for i, c := range []struct {
		seconds  int
		severity logstore.Severity
		site     string
	}{
		{0, logstore.Error, "x"},
		{1, logstore.Info, "x"},
		{2, logstore.Info, "y"},
		{59, logstore.Info, "x"},
		{60, logstore.Error, ""},
		{61, logstore.Error, "y"},
		{300, 450, "y"},
		{-1, logstore.Default, "z"},
	} {
		e := s.at(fmt.Sprint(i), c.seconds)
		e.Severity = c.severity
		if c.site != "" {
			e.Labels = map[string]string{"site": c.site}
		}
		e.Payload = logstore.Payload{Kind: logstore.JSON, Data: fmt.Appendf(nil, `{"code":%d,"odd":%t,"list":["l%d"],"deep":{"x":"é"}}`, 200+i%2, i%2 == 1, i%3)}
		entries = append(entries, e)
	}
	s.append(store, entries...)
	for _, c := range countCases(s) {
		c.counting.Project = "p"
		got, err := store.Count(s.Context(), c.counting)
		require.NoError(s, err, c.name)
		require.Len(s, got, len(c.want), c.name)
		for i := range got {
			require.True(s, c.want[i].Start.Equal(got[i].Start), "%s: group %d: %s, not %s", c.name, i, got[i].Start, c.want[i].Start)
			require.Equal(s, append([]string{}, c.want[i].Values...), append([]string{}, got[i].Values...), "%s: group %d", c.name, i)
			require.Equal(s, c.want[i].Entries, got[i].Entries, "%s: group %d", c.name, i)
		}
	}
}

// countCase is a count of the entries of the test count.
type countCase struct {
	name     string
	counting logstore.Counting
	want     []logstore.Group
}

// countCases are the counts of the test count.
func countCases(s *suite) []countCase {
	at := func(seconds int) time.Time { return s.noon.Add(time.Duration(seconds) * time.Second) }
	return []countCase{
		{"everything", logstore.Counting{}, []logstore.Group{{Entries: 8}}},
		{"nothing", logstore.Counting{Selection: logstore.Selection{Filter: s.parse(`insertId="none"`)}}, nil},
		{"filtered", logstore.Counting{Selection: logstore.Selection{Filter: s.parse(`severity>=ERROR jsonPayload.odd=false`)}}, []logstore.Group{{Entries: 2}}},
		{"by minutes", logstore.Counting{Interval: time.Minute}, []logstore.Group{
			{Start: at(-60), Entries: 1},
			{Start: at(0), Entries: 4},
			{Start: at(60), Entries: 2},
			{Start: at(300), Entries: 1},
		}},
		{"by severity", logstore.Counting{By: [][]string{{"severity"}}}, []logstore.Group{
			{Values: []string{"ERROR"}, Entries: 3},
			{Values: []string{"INFO"}, Entries: 3},
			{Values: []string{"450"}, Entries: 1},
			{Values: []string{"DEFAULT"}, Entries: 1},
		}},
		{"by minutes and label", logstore.Counting{Interval: time.Minute, By: [][]string{{"labels", "site"}}}, []logstore.Group{
			{Start: at(-60), Values: []string{"z"}, Entries: 1},
			{Start: at(0), Values: []string{"x"}, Entries: 3},
			{Start: at(0), Values: []string{"y"}, Entries: 1},
			{Start: at(60), Values: []string{""}, Entries: 1},
			{Start: at(60), Values: []string{"y"}, Entries: 1},
			{Start: at(300), Values: []string{"y"}, Entries: 1},
		}},
		{"the largest", logstore.Counting{Interval: time.Minute, By: [][]string{{"labels", "site"}}, Limit: 3}, []logstore.Group{
			{Start: at(-60), Values: []string{"z"}, Entries: 1},
			{Start: at(0), Values: []string{"x"}, Entries: 3},
			{Start: at(0), Values: []string{"y"}, Entries: 1},
		}},
		{"the largest two bars", logstore.Counting{Interval: time.Minute, Limit: 2}, []logstore.Group{
			{Start: at(0), Entries: 4},
			{Start: at(60), Entries: 2},
		}},
		{"by payload", logstore.Counting{By: [][]string{{"jsonPayload", "code"}, {"jsonPayload", "odd"}, {"jsonPayload", "deep", "x"}, {"jsonPayload", "deep"}}}, []logstore.Group{
			{Values: []string{"200", "false", "é", ""}, Entries: 4},
			{Values: []string{"201", "true", "é", ""}, Entries: 4},
		}},
		{"of a list the first", logstore.Counting{By: [][]string{{"jsonPayload", "list"}}}, []logstore.Group{
			{Values: []string{"l0"}, Entries: 3},
			{Values: []string{"l1"}, Entries: 3},
			{Values: []string{"l2"}, Entries: 2},
		}},
		{"by what is not there", logstore.Counting{By: [][]string{{"textPayload"}, {"httpRequest", "status"}, {"insertId"}}, Selection: logstore.Selection{From: at(300)}}, []logstore.Group{
			{Values: []string{"", "", "6"}, Entries: 1},
		}},
		{"log and resource", logstore.Counting{By: [][]string{{"logName"}, {"resource", "type"}, {"trace"}}}, []logstore.Group{
			{Values: []string{"projects/p/logs/l", "", ""}, Entries: 8},
		}},
		{"of a time", logstore.Counting{Selection: logstore.Selection{From: at(1), To: at(60)}, Interval: time.Hour}, []logstore.Group{{Start: at(0), Entries: 3}}},
		{"by seven seconds", logstore.Counting{Selection: logstore.Selection{From: at(300)}, Interval: 7 * time.Second}, []logstore.Group{{Start: logstore.Bar(at(300), 7*time.Second), Entries: 1}}},
	}
}

// place is where usage is.
type place struct {
	project, bucket string
	day             int
}

// fill appends entries to days before and after noon's, in two projects with
// two buckets each, and gives how many are where.
func (s *suite) fill(store logstore.Store) map[place]int64 {
	s.Helper()
	want := map[place]int64{}
	var entries []logstore.Entry
	for i := range 40 {
		day := i%3 - 2
		e := s.at(fmt.Sprintf("%02d", i), day*86_400+i)
		e.Project, e.Bucket = []string{"p", "q"}[i/2%2], []string{"b", "c"}[i/4%2]
		want[place{e.Project, e.Bucket, day}]++
		entries = append(entries, e)
	}
	midnight := s.at("midnight", -12*3600) // belongs to the day that begins
	want[place{"p", "b", 0}]++
	s.append(store, append(entries, midnight)...)
	require.NoError(s, store.Sync(s.Context()))
	return want
}

// usage: entries are counted by project, bucket and day.
func usage(s *suite) {
	store := s.store()
	empty, err := store.Usage(s.Context(), "")
	require.NoError(s, err)
	require.Empty(s, empty)
	want := s.fill(store)
	s.usageIs(store, "", want)
	ofQ := map[place]int64{}
	for p, n := range want {
		if p.project == "q" {
			ofQ[p] = n
		}
	}
	s.usageIs(store, "q", ofQ)
	s.usageIs(store, "none", map[place]int64{})
}

// usageIs checks the usage of a project.
func (s *suite) usageIs(store logstore.Store, project string, want map[place]int64) {
	s.Helper()
	all, err := store.Usage(s.Context(), project)
	require.NoError(s, err)
	got := map[place]int64{}
	for i, u := range all {
		require.True(s, u.Day.Equal(logstore.Day(u.Day)), "%s is no begin of a day", u.Day)
		got[place{u.Project, u.Bucket, int(u.Day.Sub(logstore.Day(s.noon)) / (24 * time.Hour))}] = u.Entries
		require.Greater(s, u.Bytes, 20*u.Entries)
		require.Less(s, u.Bytes, 2000*u.Entries)
		if i > 0 {
			before := all[i-1]
			require.Negative(s, slices.Compare([]string{before.Project, before.Bucket, before.Day.Format(time.DateOnly)}, []string{u.Project, u.Bucket, u.Day.Format(time.DateOnly)}))
		}
	}
	require.Equal(s, want, got)
}

// deletion: the days before go, of one bucket of one project, and stay gone.
func deletion(s *suite) {
	store := s.store()
	want := s.fill(store)
	del := func(project, bucket string, day int) {
		s.Helper()
		require.NoError(s, store.Delete(s.Context(), logstore.Deletion{Project: project, Bucket: bucket, Before: logstore.Day(s.noon).AddDate(0, 0, day)}))
		for p := range want {
			if p.project == project && p.bucket == bucket && p.day < day {
				delete(want, p)
			}
		}
		s.usageIs(store, "", want)
		for p := range want {
			from := logstore.Day(s.noon).AddDate(0, 0, p.day)
			got := s.list(store, logstore.Query{Selection: logstore.Selection{Project: p.project, Buckets: []string{p.bucket}, From: from, To: from.AddDate(0, 0, 1)}})
			require.Len(s, got, int(want[p]), "%+v", p)
		}
	}
	del("p", "b", -2) // nothing is so old
	del("p", "b", -1)
	del("none", "b", 1)
	del("p", "none", 1)
	del("q", "c", 0)
	del("p", "b", 0)
	del("p", "b", 0)
	require.Len(s, s.list(store, logstore.Query{Selection: logstore.Selection{Filter: s.parse(`insertId="midnight"`)}}), 1)
	// What was deleted may come again, and is there then.
	again := s.at("again", -2*86_400)
	s.append(store, again)
	require.Equal(s, []string{"again"}, ids(s.list(store, logstore.Query{Selection: logstore.Selection{Buckets: []string{"b"}, To: s.noon.AddDate(0, 0, -1)}})))
	for _, d := range []logstore.Deletion{{}, {Project: "p", Bucket: "b"}, {Project: "p", Bucket: "b", Before: s.noon}, {Bucket: "b", Before: logstore.Day(s.noon)}} {
		require.Equal(s, fault.Invalid, fault.KindOf(store.Delete(s.Context(), d)), "%+v", d)
	}
}

// since: the numbers of an origin's entries that are there, from one on.
func since(s *suite) {
	store := s.store()
	get := func(origin string, seq uint64) []uint64 {
		s.Helper()
		got, err := store.Since(s.Context(), origin, seq)
		require.NoError(s, err)
		return got
	}
	require.Empty(s, get("o", 0))
	numbered := func(origin string, seq uint64, seconds int, bucket string) logstore.Entry {
		e := s.at(fmt.Sprint(origin, seq), seconds)
		e.Origin, e.Seq, e.Bucket = origin, seq, bucket
		return e
	}
	const large = 1<<63 + 7
	s.append(store,
		numbered("o", 3, 0, "b"), numbered("o", 1, 86_400, "c"), numbered("O", 2, 0, "b"), numbered("o", 10, -86_400, "b"),
		numbered("o", large, 1, "b"), numbered("o'\"\\", 4, 1, "b"), numbered("o", 0, 1, "b"))
	other := numbered("o", 5, 0, "b")
	other.Project = "q"
	s.append(store, other)
	s.append(store, other) // twice is once
	require.Equal(s, []uint64{0, 1, 3, 5, 10, large}, get("o", 0))
	require.Equal(s, []uint64{3, 5, 10, large}, get("o", 2))
	require.Equal(s, []uint64{3, 5, 10, large}, get("o", 3))
	require.Equal(s, []uint64{large}, get("o", 11))
	require.Empty(s, get("o", large+1))
	require.Equal(s, []uint64{2}, get("O", 0))
	require.Equal(s, []uint64{4}, get("o'\"\\", 0))
	require.Empty(s, get("x", 0))
	require.NoError(s, store.Sync(s.Context()))
	require.Equal(s, []uint64{0, 1, 3, 5, 10, large}, get("o", 0))
}

// invalid: what is not valid is refused as such.
func invalid(s *suite) {
	store := s.store()
	for _, q := range []logstore.Query{
		{Limit: 1},
		{Selection: logstore.Selection{Project: "p"}},
		{Selection: logstore.Selection{Project: "p"}, Limit: -1},
		{Selection: logstore.Selection{Project: "p"}, Limit: logstore.MaxLimit + 1},
	} {
		_, err := store.List(s.Context(), q)
		require.Equal(s, fault.Invalid, fault.KindOf(err), "%+v", q)
	}
	p := logstore.Selection{Project: "p"}
	for _, c := range []logstore.Counting{
		{},
		{Selection: p, Interval: -time.Second},
		{Selection: p, Interval: time.Nanosecond},
		{Selection: p, Limit: -1},
		{Selection: p, Limit: logstore.MaxGroups + 1},
		{Selection: p, By: [][]string{{"thud"}}},
		{Selection: p, By: [][]string{{}}},
		{Selection: p, By: [][]string{{"labels"}}},
		{Selection: p, By: [][]string{{"trace"}, {"trace"}, {"trace"}, {"trace"}, {"trace"}}},
	} {
		_, err := store.Count(s.Context(), c)
		require.Equal(s, fault.Invalid, fault.KindOf(err), "%+v", c)
	}
	require.NoError(s, store.Append(s.Context(), nil))
}

// concurrency: writers and readers at once; every entry is there once.
func concurrency(s *suite) {
	store := s.store()
	const writers, batches, each = 4, 10, 20
	var wg sync.WaitGroup
	made := make([][]logstore.Entry, writers)
	for w := range writers {
		for i := range batches * each {
			e := s.at(fmt.Sprintf("%d-%03d", w, i), i)
			e.Origin, e.Seq = fmt.Sprint("w", w), uint64(i)
			made[w] = append(made[w], e)
		}
	}
	errs := make(chan error, 2*writers*batches)
	for w := range writers {
		wg.Go(func() {
			for i := range batches {
				errs <- store.Append(s.Context(), made[w][i*each:(i+1)*each])
			}
		})
		wg.Go(func() {
			for range batches {
				_, err := store.List(s.Context(), logstore.Query{Selection: logstore.Selection{Project: "p"}, Limit: 100, Descending: w%2 == 0})
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(s, err)
	}
	require.NoError(s, store.Sync(s.Context()))
	require.Len(s, s.list(store, logstore.Query{}), writers*batches*each)
	for w := range writers {
		got, err := store.Since(s.Context(), fmt.Sprint("w", w), 0)
		require.NoError(s, err)
		require.Len(s, got, batches*each)
	}
}

// cancellation: a call whose context has ended is Unavailable and does
// nothing.
func cancellation(s *suite) {
	store := s.store()
	s.append(store, s.at("a", 0))
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	p := logstore.Selection{Project: "p"}
	_, err := store.List(ctx, logstore.Query{Selection: p, Limit: 1})
	require.Equal(s, fault.Unavailable, fault.KindOf(err))
	_, err = store.Count(ctx, logstore.Counting{Selection: p})
	require.Equal(s, fault.Unavailable, fault.KindOf(err))
	_, err = store.Since(ctx, "suite", 0)
	require.Equal(s, fault.Unavailable, fault.KindOf(err))
	require.Equal(s, fault.Unavailable, fault.KindOf(store.Append(ctx, []logstore.Entry{s.at("b", 0)})))
	require.Equal(s, []string{"a"}, ids(s.list(store, logstore.Query{})))
}
