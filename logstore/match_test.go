package logstore_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/logstore/logstoretest"
)

// row is a row of a table in docs/logs-query.md: a filter, an entry, and
// whether the filter selects it.
var row = regexp.MustCompile("^\\| `+ ?(.*?) ?`+ +\\| `(\\{.*\\})` +\\| (yes|no) +\\|$")

// TestMatch_Docs shows that every row of the documentation is true.
func TestMatch_Docs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/logs-query.md")
	require.NoError(t, err)
	n := 0
	for i, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| `") || !strings.Contains(line, "| `{") {
			continue
		}
		m := row.FindStringSubmatch(line)
		require.NotNil(t, m, "line %d is no row: %s", i+1, line)
		n++
		unescape := strings.NewReplacer(`\|`, `|`)
		f, err := filter.Parse(unescape.Replace(m[1]))
		require.NoError(t, err, "line %d", i+1)
		e, err := logstoretest.Sketch(unescape.Replace(m[2]), time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
		require.NoError(t, err, "line %d", i+1)
		require.Equal(t, m[3] == "yes", logstore.Match(&e, f), "line %d: %s", i+1, line)
	}
	require.Greater(t, n, 60)
}

// parse reads a filter.
func parse(t require.TestingT, text string) filter.Expr {
	f, err := filter.Parse(text)
	require.NoError(t, err, text)
	return f
}

// TestMatch_Algebra shows what holds of any filters and entries.
func TestMatch_Algebra(t *testing.T) {
	t.Parallel()
	var seq uint64
	rapid.Check(t, func(t *rapid.T) {
		a, b := logstoretest.Filters(t), logstoretest.Filters(t)
		again := parse(t, a.String())
		m, err := logstore.Compile(a)
		require.NoError(t, err)
		from, to := logstore.Times(a)
		for _, e := range logstoretest.Entries(t, "p", 10, &seq) {
			inA, inB := logstore.Match(&e, a), logstore.Match(&e, b)
			require.Equal(t, inA, m.Match(&e))
			require.Equal(t, inA, logstore.Match(&e, again), "%s is written as it is not", a)
			require.Equal(t, inA && inB, logstore.Match(&e, &filter.And{Terms: []filter.Expr{a, b}}))
			require.Equal(t, inA || inB, logstore.Match(&e, &filter.Or{Terms: []filter.Expr{a, b}}))
			require.Equal(t, !inA, logstore.Match(&e, &filter.Not{Term: a}))
			if inA {
				require.False(t, e.Time.Before(from))
				require.True(t, to.IsZero() || e.Time.Before(to))
			}
			record, err := logstore.ParseRecord(logstore.AppendRecord(nil, &e))
			require.NoError(t, err)
			require.Equal(t, inA, m.Match(&record), "a record's entry is another")
		}
	})
}

// TestMatch_Nil shows that no filter selects all.
func TestMatch_Nil(t *testing.T) {
	t.Parallel()
	require.True(t, logstore.Match(&logstore.Entry{}, nil))
}

// TestCompile_Errors shows that what Parse has not made may be an error, and
// selects nothing.
func TestCompile_Errors(t *testing.T) {
	t.Parallel()
	for _, f := range []filter.Expr{
		&filter.Comparison{Path: []string{"thud"}, Op: filter.Equal},
		&filter.Not{Term: &filter.Comparison{Path: nil, Op: filter.Equal}},
		&filter.Comparison{Path: []string{"textPayload"}, Op: filter.Matches, Value: filter.Value{Text: "("}},
		&filter.Or{Terms: []filter.Expr{&filter.Text{Value: filter.Value{Text: "*"}}, &filter.Call{Name: filter.FuncSample, Path: []string{"thud"}, Args: []filter.Value{{Text: "1"}}}}},
	} {
		_, err := logstore.Compile(f)
		require.Error(t, err)
		require.False(t, logstore.Match(&logstore.Entry{}, f))
	}
}

// TestMatch_Sample shows that a sample has about its part, and is the same
// each time.
func TestMatch_Sample(t *testing.T) {
	t.Parallel()
	for _, part := range []float64{0.01, 0.25, 0.5, 0.99, 1} {
		f := parse(t, fmt.Sprintf("sample(insertId, %g)", part))
		n := 0
		for i := range 20_000 {
			if logstore.Match(&logstore.Entry{InsertID: fmt.Sprint("id", i)}, f) {
				n++
			}
		}
		require.InDelta(t, part*20_000, float64(n), 300, "%g", part)
	}
	var got []string // worked out once: it must never change
	for i := range 20 {
		e := logstore.Entry{InsertID: fmt.Sprint(i)}
		if logstore.Match(&e, parse(t, "sample(insertId, 0.3)")) {
			got = append(got, e.InsertID)
		}
	}
	require.Equal(t, []string{"2", "4", "9", "10", "13", "14"}, got)
}

// TestMatch_Times shows what filters say of the time.
func TestMatch_Times(t *testing.T) {
	t.Parallel()
	day := func(d int) time.Time { return time.Date(2026, 1, d, 0, 0, 0, 0, time.UTC) }
	f := func(text string, from, to time.Time) {
		t.Helper()
		a, b := logstore.Times(parse(t, text))
		require.Equal(t, from, a, text)
		require.Equal(t, to, b, text)
	}
	var none time.Time
	f(`x`, none, none)
	f(``, none, none)
	f(`timestamp>="2026-01-02"`, day(2), none)
	f(`timestamp>"2026-01-02" timestamp<"2026-01-03"`, day(2).Add(1), day(3))
	f(`timestamp<="2026-01-02" x timestamp<"2026-01-05"`, none, day(2).Add(1))
	f(`timestamp="2026-01-02"`, day(2), day(2).Add(1))
	f(`timestamp=("2026-01-02" OR "2026-01-04")`, day(2), day(4).Add(1))
	f(`timestamp>"2026-01-02" OR x`, none, none)
	f(`timestamp<"2026-01-02" OR timestamp>"2026-01-05"`, none, none)
	f(`(timestamp>="2026-01-02" timestamp<"2026-01-03") OR (timestamp>="2026-01-05" timestamp<"2026-01-06")`, day(2), day(6))
	f(`NOT timestamp>="2026-01-02"`, none, none)
	f(`timestamp!="2026-01-02"`, none, none)
	f(`timestamp:"2026-01-02"`, none, none)
	f(`receiveTimestamp>="2026-01-02"`, none, none)

	s := logstore.Selection{Project: "p", From: day(3), To: day(9), Filter: parse(t, `timestamp>="2026-01-02" timestamp<"2026-01-05"`)}
	n := s.Narrow()
	require.Equal(t, day(3), n.From)
	require.Equal(t, day(5), n.To)
	require.Equal(t, day(9), s.To)
}

// entries are what benchmarks match.
func entries() []logstore.Entry {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	base := logstore.Entry{
		Project: "p", Bucket: "_Default", Log: "selvedge.dev/functions", InsertID: "0f3a", Time: now, Received: now, Severity: logstore.Warning,
		ResourceType: "device", ResourceLabels: map[string]string{"device_id": "d-0042", "site": "north"}, Labels: map[string]string{"version": "1.4.2", "k8s-pod/app": "ingest"},
		Trace: "projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736",
	}
	text, object := base, base
	text.Payload = logstore.Payload{Kind: logstore.Text, Data: []byte("GET /v1/projects/p/devices/d-0042/readings?limit=500 from 10.3.9.21: connection reset by peer after 3 attempts, giving up (request 7f9c2ba4e88f827d)")}
	object.Payload = logstore.Payload{Kind: logstore.JSON, Data: []byte(`{"message":"connection reset by peer, giving up","request":{"id":"7f9c2ba4e88f827d","method":"GET","path":"/v1/projects/p/devices/d-0042/readings","attempts":3},"client":"10.3.9.21","duration_ms":1532.25,"status":503,"retry":true,"tags":["edge","north"]}`)}
	return []logstore.Entry{text, object}
}

// matching are filters that are matched often.
var matching = []struct{ name, filter string }{
	{"severity", `severity>=ERROR`},
	{"label", `resource.labels.device_id="d-0042"`},
	{"text", `textPayload:"GIVING UP"`},
	{"anywhere", `"qwertz"`},
	{"field", `jsonPayload.status>=500`},
	{"deep", `jsonPayload.request.id="7f9c2ba4e88f827d"`},
	{"missing", `jsonPayload.nothing="x"`},
	{"search", `SEARCH("reset peer")`},
	{"expression", `textPayload=~"request [0-9a-f]{16}"`},
	{"usual", `resource.type="device" severity>=WARNING resource.labels.site=("north" OR "south") NOT textPayload:"timeout" jsonPayload.status>=500`},
	{"logName", `logName="projects/p/logs/selvedge.dev%2Ffunctions"`},
}

// TestMatch_Allocations shows that matching takes no memory.
func TestMatch_Allocations(t *testing.T) {
	all := entries()
	for _, c := range matching {
		if c.name == "logName" {
			continue // escapes the id
		}
		m, err := logstore.Compile(parse(t, c.filter))
		require.NoError(t, err)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			for i := range all {
				m.Match(&all[i])
			}
		}), c.name)
	}
}

// BenchmarkMatch matches a text of 150 bytes and an object of 270.
func BenchmarkMatch(b *testing.B) {
	all := entries()
	for _, c := range matching {
		b.Run(c.name, func(b *testing.B) {
			m, err := logstore.Compile(parse(b, c.filter))
			require.NoError(b, err)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				m.Match(&all[i&1])
			}
		})
	}
}
