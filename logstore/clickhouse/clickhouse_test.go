package clickhouse_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/clickhouse"
	"selvedge.dev/logstore/clickhouse/chtest"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/logstore/memory"
	"selvedge.dev/sdk/fault"
)

// open opens a store, which the test or the suite closes.
func open(t testing.TB, options clickhouse.Options) *clickhouse.Store {
	t.Helper()
	s, err := clickhouse.Open(context.Background(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// connect connects to a database without a store; create makes it.
func connect(t testing.TB, d chtest.Database, create bool) driver.Conn {
	t.Helper()
	options, err := driver.ParseDSN(d.Native)
	require.NoError(t, err)
	if create {
		name := options.Auth.Database
		options.Auth.Database = "system"
		conn, err := driver.Open(options)
		require.NoError(t, err)
		require.NoError(t, conn.Exec(context.Background(), "CREATE DATABASE "+name))
		require.NoError(t, conn.Close())
		options.Auth.Database = name
	}
	conn, err := driver.Open(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// day is when the entries of these tests happen.
var day = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

// entry makes an entry of a number, a second after the one before.
func entry(n int) logstore.Entry {
	return logstore.Entry{
		Project: "p", Bucket: "b", Log: "l", InsertID: fmt.Sprintf("%06d", n), Time: day.Add(time.Duration(n) * time.Second), Received: day,
		Payload: logstore.Payload{Kind: logstore.Text, Data: fmt.Appendf(nil, "text of number %d", n)}, Origin: "test", Seq: uint64(n),
	}
}

// entriesOf makes the entries from one number to another.
func entriesOf(from, to int) []logstore.Entry {
	var all []logstore.Entry
	for n := from; n < to; n++ {
		all = append(all, entry(n))
	}
	return all
}

// selected is a query of all entries that a filter selects.
func selected(t require.TestingT, text string) logstore.Query {
	f, err := filter.Parse(text)
	require.NoError(t, err)
	return logstore.Query{Selection: logstore.Selection{Project: "p", Filter: f}, Limit: logstore.MaxLimit}
}

// TestOpen_ManyAtOnce: of many that start at once one migrates.
func TestOpen_ManyAtOnce(t *testing.T) {
	t.Parallel()
	d := chtest.New(t)
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			s, err := clickhouse.Open(context.Background(), clickhouse.Options{DSN: d.Native})
			if err != nil {
				return err
			}
			return s.Close()
		})
	}
	require.NoError(t, g.Wait())
	conn := connect(t, d, false)
	var steps, tables uint64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count() FROM migrations").Scan(&steps))
	require.Equal(t, uint64(1), steps)
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count() FROM system.tables WHERE database = currentDatabase()").Scan(&tables))
	require.Equal(t, uint64(2), tables, "a lock was left")
}

// TestOpen_DeadHolder: who holds a lock and died is waited for, but not for ever.
func TestOpen_DeadHolder(t *testing.T) {
	t.Parallel()
	d := chtest.New(t)
	conn := connect(t, d, true)
	require.NoError(t, conn.Exec(t.Context(), "CREATE TABLE lock_1_0 (Held UInt8) ENGINE = MergeTree ORDER BY Held"))
	s, err := clickhouse.OpenPatient(t.Context(), clickhouse.Options{DSN: d.Native}, time.Second)
	require.NoError(t, err)
	require.NoError(t, s.Append(t.Context(), entriesOf(0, 1)))
	require.NoError(t, s.Close())
	var locks uint64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count() FROM system.tables WHERE database = currentDatabase() AND startsWith(name, 'lock')").Scan(&locks))
	require.Zero(t, locks)
}

// TestOpen_NewerSchema: a database of a newer version is left alone.
func TestOpen_NewerSchema(t *testing.T) {
	t.Parallel()
	d := chtest.New(t)
	open(t, clickhouse.Options{DSN: d.Native})
	require.NoError(t, connect(t, d, false).Exec(t.Context(), "INSERT INTO migrations (Version, Name) SELECT 99, 'later'"))
	_, err := clickhouse.Open(t.Context(), clickhouse.Options{DSN: d.Native})
	require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
	require.Equal(t, "SCHEMA_TOO_NEW", fault.ReasonOf(err))
}

// TestOpen_Wrong: what is wrong is said, without the password.
func TestOpen_Wrong(t *testing.T) {
	t.Parallel()
	f := func(dsn string, kind fault.Kind, text string) {
		t.Helper()
		_, err := clickhouse.Open(t.Context(), clickhouse.Options{DSN: dsn})
		require.Equal(t, kind, fault.KindOf(err), "%v", err)
		require.ErrorContains(t, err, text)
		require.NotContains(t, err.Error(), "secret")
	}
	f("", fault.Invalid, "cannot be read")
	f("clickhouse://u:secret@[::1", fault.Invalid, "cannot be read")
	f("clickhouse://u:secret@127.0.0.1:1", fault.Invalid, "names no database")
	f("clickhouse://u:secret@127.0.0.1:1/default", fault.Invalid, "names no database")
	f("clickhouse://u:secret@127.0.0.1:1/logs", fault.Unavailable, "refused")
	f("http://u:secret@127.0.0.1:1/logs", fault.Unavailable, "refused")
}

// TestBudgets: a query that would cost too much is refused, with advice.
func TestBudgets(t *testing.T) {
	t.Parallel()
	d := chtest.New(t)
	require.NoError(t, open(t, clickhouse.Options{DSN: d.Native}).Append(t.Context(), entriesOf(0, 20_000)))
	f := func(name string, options clickhouse.Options, want string) {
		t.Helper()
		for _, options.DSN = range []string{d.Native, d.HTTP} {
			s := open(t, options)
			q := selected(t, `textPayload:"no such text"`)
			_, err := s.List(t.Context(), q)
			require.Equal(t, fault.Exhausted, fault.KindOf(err), "%s: %v", name, err)
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "ask for less time")
			_, err = s.Count(t.Context(), logstore.Counting{Selection: q.Selection, By: [][]string{{"textPayload"}}})
			require.Equal(t, fault.Exhausted, fault.KindOf(err), "%s: %v", name, err)
			_, err = s.List(t.Context(), logstore.Query{Selection: logstore.Selection{Project: "none"}, Limit: 1})
			require.NoError(t, err, "what needs nothing is not refused")
		}
	}
	f("rows", clickhouse.Options{MaxRows: 100}, "reads more entries")
}

// TestOpen_Repeated: what several append is there once, in the buckets of which
// that is said, also together with others.
func TestOpen_Repeated(t *testing.T) {
	t.Parallel()
	d := chtest.New(t)
	o := clickhouse.Options{DSN: d.Native, Once: true, Repeated: []string{"_Audit"}}
	own, other := entry(0), entry(1)
	own.Bucket = "_Audit"
	stores := []logstore.Store{open(t, o), open(t, o)}
	for i, s := range stores {
		own.Origin, own.Received = fmt.Sprint("intake", i), own.Received.Add(time.Duration(i))
		require.NoError(t, s.Append(t.Context(), []logstore.Entry{own}))
	}
	require.NoError(t, stores[0].Append(t.Context(), []logstore.Entry{other}))
	for _, s := range stores {
		for n, buckets := range map[int][]string{1: {"_Audit"}, 2: {"_Audit", other.Bucket}} {
			selection := logstore.Selection{Project: own.Project, Buckets: buckets}
			found, err := s.List(t.Context(), logstore.Query{Selection: selection, Limit: 10})
			require.NoError(t, err)
			require.Len(t, found, n)
			groups, err := s.Count(t.Context(), logstore.Counting{Selection: selection})
			require.NoError(t, err)
			require.Equal(t, []logstore.Group{{Entries: int64(n), Values: groups[0].Values}}, groups)
			filtered := logstore.Counting{Selection: selection, By: [][]string{{"jsonPayload", "x"}}} // counted one by one
			groups, err = s.Count(t.Context(), filtered)
			require.NoError(t, err)
			require.Equal(t, int64(n), groups[0].Entries)
		}
		found, err := s.List(t.Context(), logstore.Query{Selection: logstore.Selection{Project: own.Project}, Limit: 10})
		require.NoError(t, err)
		require.Len(t, found, 2)
	}
}

// TestNasty: whatever is in texts and in filters, the answers are those of the
// store in memory.
func TestNasty(t *testing.T) {
	t.Parallel()
	d := chtest.New(t)
	stores := []logstore.Store{open(t, clickhouse.Options{DSN: d.Native, Once: true}), open(t, clickhouse.Options{DSN: d.HTTP, Once: true})}
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		`\`, `\\`, `\n`, "\n", "\t", "\r", "\x00", `'`, `''`, `"`, "`", `{p0:String}`, `?`, `$1`, `%`, `_`, `\%`, "K", "ſ", "İ", "ı", "é", "É", "a", "A", "aé b", "--", `/*`, `;`,
		`\u0041`, `a'b\`, "\u2028", "a\nb", "NULL", `\N`,
	}))
	n := 0
	check := func(t *rapid.T) {
		oracle := memory.New()
		n++
		project := fmt.Sprint("p", n)
		texts := rapid.SliceOfN(text, 1, 4).Draw(t, "texts")
		var all []logstore.Entry
		for i, x := range texts {
			e := entry(i)
			e.Project, e.Labels = project, map[string]string{"k": x, "of'it\\": "v"}
			e.Payload.Data = append([]byte(nil), x+texts[0]...) // nil if it is empty
			all = append(all, e)
			e.InsertID, e.Payload = "json", logstore.Payload{Kind: logstore.JSON, Data: fmt.Appendf(nil, `{"a":%s}`, quoted(x))}
			all = append(all, e)
		}
		for i := range all {
			require.NoError(t, all[i].Check())
		}
		require.NoError(t, oracle.Append(context.Background(), all))
		require.NoError(t, stores[0].Append(context.Background(), all))
		asked := rapid.OneOf(text, rapid.SampledFrom(texts)).Draw(t, "asked")
		path := rapid.SampledFrom([][]string{{"labels", "k"}, {"labels", `of'it\`}, {"textPayload"}, {"jsonPayload", "a"}, {"jsonPayload"}, {"labels"}}).Draw(t, "path")
		op := rapid.SampledFrom([]filter.Op{filter.Has, filter.Equal, filter.NotEqual, filter.Less, filter.GreaterOrEqual}).Draw(t, "op")
		var f filter.Expr = &filter.Comparison{Path: path, Op: op, Value: filter.Value{Text: asked, Quoted: true}}
		if rapid.Bool().Draw(t, "anywhere") {
			f = &filter.Text{Value: filter.Value{Text: asked, Quoted: true}}
		}
		if rapid.Bool().Draw(t, "not") {
			f = &filter.Not{Term: f}
		}
		selection := logstore.Selection{Project: project, Filter: f}
		want, err := oracle.List(context.Background(), logstore.Query{Selection: selection, Limit: 100})
		require.NoError(t, err)
		groups, err := oracle.Count(context.Background(), logstore.Counting{Selection: selection, By: [][]string{{"labels", "k"}}})
		require.NoError(t, err)
		for _, s := range stores {
			got, err := s.List(context.Background(), logstore.Query{Selection: selection, Limit: 100})
			require.NoError(t, err, "%s", f)
			require.Equal(t, want, got, "%s", f)
			counted, err := s.Count(context.Background(), logstore.Counting{Selection: selection, By: [][]string{{"labels", "k"}}})
			require.NoError(t, err, "%s", f)
			require.Equal(t, groups, counted, "%s", f)
		}
	}
	for range 4 {
		rapid.Check(t, check)
	}
}
