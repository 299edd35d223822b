package logstoretest

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
)

// roundTrip: every field comes back as it was, byte for byte.
func roundTrip(s *suite) {
	store := s.store()
	full := s.at("full", 0)
	full.Log = "selvedge.dev/activity_log-1"
	full.Time = full.Time.Add(123456789 * time.Nanosecond)
	full.Received = full.Received.Add(time.Nanosecond)
	full.Severity = 450
	full.ResourceType, full.ResourceLabels = "device", map[string]string{"device_id": "d 1", "leer": "", "é.x": "ü\n\"\\\t\x00'"}
	full.Labels = map[string]string{"a": "", "k8s-pod/app": "x=y", "A": "other case", "quote\"d": "v"}
	full.Trace, full.SpanID, full.TraceSampled = "projects/p/traces/t", "s", true
	full.Payload = logstore.Payload{Kind: logstore.JSON, Data: []byte(`{"z":1.50,"a":{"b":[1,"x",null,true,{"c":-0.0e+2}]},"":"é\u00e9\n😀","n":12345678901234567890}`)}
	full.Extra = []byte(`{"httpRequest":{"status":404,"latency":"1.5s","requestSize":"12"},"operation":{"id":"o","first":true},"sourceLocation":{"file":"f.go","line":"7"}}`)
	full.Seq = 1<<63 + 5
	entries := []logstore.Entry{full}
	for i, p := range []logstore.Payload{
		{},
		{Kind: logstore.Text},
		{Kind: logstore.Text, Data: []byte(" a\tb\nc \x00 \u2028 é😀\\n\\\\ 'x' \"y\" % \r\n")},
		{Kind: logstore.Text, Data: []byte("{\"a\":1}")},
		{Kind: logstore.Text, Data: bytes.Repeat([]byte("long text. "), 20_000)},
		{Kind: logstore.JSON, Data: []byte(`{}`)},
		{Kind: logstore.JSON, Data: []byte(`{"message":"m","a.b":{"c d":1},"_msg":"x","time":"t"}`)},
		{Kind: logstore.Proto, TypeURL: "type.googleapis.com/x.Known", Data: []byte(`{"name":"n","count":"9223372036854775807"}`)},
		{Kind: logstore.Proto, TypeURL: "type.googleapis.com/x.Empty", Data: []byte(`{}`)},
		{Kind: logstore.Proto, TypeURL: "type.googleapis.com/x.Unknown", Wire: []byte{0, 255, 10, 13, 9}},
		{Kind: logstore.Proto, TypeURL: "type.googleapis.com/x.Unknown"},
		{Kind: logstore.Bytes, Data: []byte{0, 255, 254, '\n', '\\'}},
		{Kind: logstore.Bytes},
	} {
		e := s.at(fmt.Sprintf("payload %02d", i), 1+i)
		e.Payload = p
		entries = append(entries, e)
	}
	bare := s.at("ünïcode", 100)
	bare.Payload = logstore.Payload{}
	bare.Origin, bare.Seq = "", 0
	s.append(store, append(entries, bare)...)
	same(s, append(entries, bare), s.list(store, logstore.Query{}))
	require.NoError(s, store.Sync(s.Context()))
	got := s.list(store, logstore.Query{Descending: true})
	slices.Reverse(got)
	same(s, append(entries, bare), got)
}

// order: by time, then insert id, log and bucket, by bytes; newest first is
// exactly the reverse.
func order(s *suite) {
	store := s.store()
	require.Empty(s, s.list(store, logstore.Query{}))
	ns := func(id string, n int) logstore.Entry {
		e := s.at(id, 0)
		e.Time = e.Time.Add(time.Duration(n))
		return e
	}
	in := func(id, log, bucket string) logstore.Entry {
		e := s.at(id, 5)
		e.Log, e.Bucket = log, bucket
		return e
	}
	want := []logstore.Entry{
		s.at("day before", -86_400), ns("z", 0), ns("y", 1), ns("x", 1000), s.at("w", 1),
		in("1", "l", "b"), in("10", "l", "b"), in("2", "k", "b"), in("2", "k", "c"), in("2", "l", "a"), in("B", "l", "b"), in("a", "l", "b"), in("é", "l", "b"),
		s.at("day after", 86_400),
	}
	shuffled := []logstore.Entry{}
	for i := range want {
		shuffled = append(shuffled, want[(i*5)%len(want)])
	}
	s.append(store, shuffled[:7]...)
	s.append(store, shuffled[7:]...)
	same(s, want, s.list(store, logstore.Query{}))
	slices.Reverse(want)
	same(s, want, s.list(store, logstore.Query{Descending: true}))
}

// pages: following the positions gives every entry once, whatever is added
// meanwhile, from both ends, through ties.
func pages(s *suite) {
	store := s.store()
	var all []logstore.Entry
	for i := range 50 {
		e := s.at(fmt.Sprintf("%02d", i), i/7) // seven have one time
		e.Bucket = []string{"b", "c"}[i%2]
		all = append(all, e)
	}
	s.append(store, all...)
	for _, descending := range []bool{false, true} {
		want := slices.Clone(all)
		if descending {
			slices.Reverse(want)
		}
		for _, limit := range []int{1, 3, 7, 49, 50, 51} {
			q := logstore.Query{Descending: descending, Limit: limit}
			var got []logstore.Entry
			for {
				page := s.list(store, q)
				got = append(got, page...)
				if len(page) < limit {
					break
				}
				q.After = page[len(page)-1].Position()
			}
			same(s, want, got)
		}
	}
	// A position need not be that of an entry that is there.
	got := s.list(store, logstore.Query{After: logstore.Position{Time: s.noon.Add(3 * time.Second), InsertID: "234"}, Limit: 2})
	require.Equal(s, []string{"24", "25"}, ids(got))
	// What comes in before the position does not move the pages, what comes
	// in after it is found.
	q := logstore.Query{Limit: 10}
	page := s.list(store, q)
	q.After = page[9].Position()
	s.append(store, s.at("early", -1), s.at("09a", 1))
	require.Equal(s, []string{"09a", "10", "11"}, ids(s.list(store, q))[:3])
	// Pages of what a filter selects.
	q = logstore.Query{Selection: logstore.Selection{Filter: s.parse(`insertId:"3"`), Buckets: []string{"c"}}, Limit: 4, Descending: true}
	page = s.list(store, q)
	require.Equal(s, []string{"43", "39", "37", "35"}, ids(page))
	q.After = page[3].Position()
	require.Equal(s, []string{"33", "31", "23", "13"}, ids(s.list(store, q)))
	q.After = s.list(store, q)[3].Position()
	require.Equal(s, []string{"03"}, ids(s.list(store, q)))
}

// pageBytes: a page is not much larger than its bound, and never empty if
// there is something.
func pageBytes(s *suite) {
	store := s.store()
	const each = 250 << 10
	for range 4 {
		var batch []logstore.Entry
		for range 20 {
			e := s.at(fmt.Sprintf("%04d", s.seq), int(s.seq))
			e.Payload.Data = bytes.Repeat([]byte{byte('a' + s.seq%26)}, each)
			batch = append(batch, e)
		}
		s.append(store, batch...)
	}
	q := logstore.Query{}
	var got []string
	for {
		page := s.list(store, q)
		if len(page) == 0 {
			break
		}
		size := 0
		for i := range page {
			size += page[i].Size()
			require.Len(s, page[i].Payload.Data, each)
		}
		require.LessOrEqual(s, size, logstore.MaxPage)
		got = append(got, ids(page)...)
		q.After = page[len(page)-1].Position()
		if len(got) < 80 {
			require.Greater(s, size, logstore.MaxPage/4, "a page that is not the last is small")
		}
	}
	require.Len(s, got, 80)
	require.True(s, slices.IsSorted(got))
}

// duplicates: entries of one project, bucket, log, time and insert id come
// once, in one batch and in many, before and after Sync.
func duplicates(s *suite) {
	store := s.store()
	batch := []logstore.Entry{s.at("a", 1), s.at("b", 1), s.at("c", 2)}
	s.append(store, batch...)
	s.append(store, batch...)
	require.NoError(s, store.Sync(s.Context()))
	s.append(store, append(batch, batch[0])...)
	again := s.at("a", 1) // journalled again: another number
	s.append(store, again)
	differ := []logstore.Entry{s.at("a", 2), s.at("a", 1), s.at("a", 1), s.at("a", 1)}
	differ[1].Log, differ[2].Bucket, differ[3].Project = "m", "c", "q"
	s.append(store, differ...)
	require.Equal(s, []string{"a", "a", "a", "b", "a", "c"}, ids(s.list(store, logstore.Query{})))
	require.Equal(s, []string{"c", "a", "b", "a", "a", "a"}, ids(s.list(store, logstore.Query{Descending: true})))
	groups, err := store.Count(s.Context(), logstore.Counting{Selection: logstore.Selection{Project: "p"}})
	require.NoError(s, err)
	require.Equal(s, int64(6), groups[0].Entries)
	for _, limit := range []int{1, 2} { // no page is cut short by what came twice
		q := logstore.Query{Limit: limit}
		n := 0
		for page := s.list(store, q); len(page) > 0; page = s.list(store, q) {
			n += len(page)
			q.After = page[len(page)-1].Position()
		}
		require.Equal(s, 6, n)
	}
}

// projects: nothing of another project is seen.
func projects(s *suite) {
	store := s.store()
	var entries []logstore.Entry
	for _, p := range []string{"p", "P", "p2", "q", "p-", "ü"} {
		e := s.at("of "+p, 0)
		e.Project = p
		entries = append(entries, e)
	}
	s.append(store, entries...)
	for _, p := range []string{"p", "P", "p2", "q", "p-", "ü"} {
		for _, f := range []string{"", `logName:"projects"`, `textPayload:"text" OR insertId:"of"`, "NOT severity=ERROR"} {
			q := logstore.Query{Selection: logstore.Selection{Project: p, Filter: s.parse(f)}}
			require.Equal(s, []string{"of " + p}, ids(s.list(store, q)), f)
		}
	}
	require.Empty(s, s.list(store, logstore.Query{Selection: logstore.Selection{Project: "none"}}))
}

// buckets: those that are named are looked in and no others; none named is
// not all.
func buckets(s *suite) {
	store := s.store()
	var entries []logstore.Entry
	for i, b := range []string{"a", "b", "B", "c"} {
		e := s.at(b, i)
		e.Bucket = b
		entries = append(entries, e)
	}
	s.append(store, entries...)
	for _, c := range []struct{ of, want []string }{
		{nil, []string{"a", "b", "B", "c"}},
		{[]string{}, nil},
		{[]string{"b"}, []string{"b"}},
		{[]string{"c", "a", "none", "c"}, []string{"a", "c"}},
		{[]string{"none"}, nil},
	} {
		selection := logstore.Selection{Project: "p", Buckets: c.of}
		require.Equal(s, c.want, ids(s.list(store, logstore.Query{Selection: selection})), "%v", c.of)
		selection.Filter = s.parse(`textPayload:"text" OR NOT severity=INFO`)
		require.Equal(s, c.want, ids(s.list(store, logstore.Query{Selection: selection})), "%v", c.of)
		groups, err := store.Count(s.Context(), logstore.Counting{Selection: selection})
		require.NoError(s, err)
		require.Len(s, groups, min(1, len(c.want)))
		if len(groups) > 0 {
			require.Equal(s, int64(len(c.want)), groups[0].Entries)
		}
	}
}

// times: From is in, To is not, at nanoseconds; the filter's own bounds count
// too.
func times(s *suite) {
	store := s.store()
	var entries []logstore.Entry
	for i := range 5 {
		e := s.at(fmt.Sprint(i), 0)
		e.Time = s.noon.Add(time.Duration(i))
		entries = append(entries, e)
	}
	entries = append(entries, s.at("before", -86_400), s.at("later", 86_400))
	s.append(store, entries...)
	at := func(i int) time.Time { return s.noon.Add(time.Duration(i)) }
	quoted := func(i int) string { return `"` + at(i).Format(time.RFC3339Nano) + `"` }
	for _, c := range []struct {
		from, to time.Time
		filter   string
		want     []string
	}{
		{want: []string{"before", "0", "1", "2", "3", "4", "later"}},
		{from: at(1), want: []string{"1", "2", "3", "4", "later"}},
		{to: at(1), want: []string{"before", "0"}},
		{from: at(1), to: at(4), want: []string{"1", "2", "3"}},
		{from: at(2), to: at(2)},
		{from: at(3), to: at(1)},
		{filter: "timestamp>=" + quoted(3), want: []string{"3", "4", "later"}},
		{filter: "timestamp>" + quoted(3), want: []string{"4", "later"}},
		{filter: "timestamp<=" + quoted(0), want: []string{"before", "0"}},
		{filter: "timestamp=" + quoted(2), want: []string{"2"}},
		{filter: "timestamp!=" + quoted(2), want: []string{"before", "0", "1", "3", "4", "later"}},
		{filter: "NOT timestamp>=" + quoted(1), want: []string{"before", "0"}},
		{from: at(1), filter: "timestamp<" + quoted(3), want: []string{"1", "2"}},
		{filter: "timestamp=" + quoted(1) + " OR timestamp=" + quoted(4), want: []string{"1", "4"}},
		{filter: "timestamp<" + quoted(1) + " timestamp>" + quoted(2)},
		{filter: "timestamp=" + quoted(1) + ` OR insertId="later"`, want: []string{"1", "later"}},
	} {
		q := logstore.Query{Selection: logstore.Selection{From: c.from, To: c.to, Filter: s.parse(c.filter)}}
		require.Equal(s, c.want, ids(s.list(store, q)), "%+v", c)
		q.Descending = true
		slices.Reverse(c.want)
		require.Equal(s, c.want, ids(s.list(store, q)), "%+v", c)
	}
}

// many: more entries than a page may have, over three days, most of one time
// with others.
func many(s *suite) {
	store := s.store()
	const all, each = 12_000, 100
	var batch []logstore.Entry
	for i := range all {
		e := s.at(fmt.Sprintf("%05d", i), (i/5000-1)*86_400+i%5000/50)
		e.Labels = map[string]string{"hundredth": fmt.Sprint(i % each)}
		if batch = append(batch, e); len(batch) == all/3 {
			s.append(store, batch...)
			batch = nil
		}
	}
	for _, descending := range []bool{false, true} {
		q := logstore.Query{Descending: descending, Limit: logstore.MaxLimit}
		first := s.list(store, q)
		require.Len(s, first, logstore.MaxLimit)
		q.After = first[len(first)-1].Position()
		require.Len(s, s.list(store, q), all-logstore.MaxLimit)

		q = logstore.Query{Selection: logstore.Selection{Filter: s.parse("labels.hundredth=7")}, Descending: descending, Limit: 50}
		var want []string
		for i := 7; i < all; i += each {
			want = append(want, fmt.Sprintf("%05d", i))
		}
		if descending {
			slices.Reverse(want)
		}
		var got []string
		for page := s.list(store, q); len(page) > 0; page = s.list(store, q) {
			got = append(got, ids(page)...)
			q.After = page[len(page)-1].Position()
		}
		require.Equal(s, want, got)
	}
	groups, err := store.Count(s.Context(), logstore.Counting{Selection: logstore.Selection{Project: "p"}, Interval: 24 * time.Hour})
	require.NoError(s, err)
	require.Len(s, groups, 3)
	for i, want := range []int64{5000, 5000, 2000} {
		require.Equal(s, want, groups[i].Entries)
	}
}
