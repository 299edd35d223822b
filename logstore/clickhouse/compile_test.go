package clickhouse

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// TestCompile: the conditions of filters, with the values in the places of their
// parameters. Those that are exact are counted by the server.
func TestCompile(t *testing.T) {
	t.Parallel()
	f := func(text, sql string, exact bool) {
		t.Helper()
		e, err := filter.Parse(text)
		require.NoError(t, err)
		var a arguments
		c := compiler{arguments: &a, project: "p", joint: true}
		p := c.expr(e)
		got := p.sql
		for i, v := range a {
			n, ok := v.(driver.NamedValue)
			require.True(t, ok)
			for _, typ := range []string{"String", "UInt64", "Float64"} {
				got = strings.ReplaceAll(got, fmt.Sprintf("{p%d:%s}", i, typ), fmt.Sprintf("<%v>", n.Value))
			}
		}
		for name, expression := range map[string]string{"WORDS": words, "LABELS": labelItems, "RESOURCE": resourceItems} {
			got = strings.ReplaceAll(got, expression, name)
		}
		require.Equal(t, sql, got)
		require.Equal(t, exact, p.exact, text)
	}
	f(`severity>=ERROR`, "Severity >= 500", true)
	f(`severity:*`, "Severity != 0", true)
	f(`severity:"err"`, "(Severity IN (-1, 500) OR Severity NOT IN (0, 100, 200, 300, 400, 500, 600, 700, 800))", false)
	f(`log_id("Syslog")`, "lower(Log) = <syslog>", true)
	f(`logName="projects/p/logs/a%2Fb"`, "lower(Log) = <a/b>", true)
	f(`logName="projects/q/logs/a"`, "0", true)
	f(`logName:"a"`, "1", false)
	f(`source(projects/P)`, "1", true)
	f(`textPayload="A b"`, "(Kind = 1 AND lower(Data) = <a b> AND (hasToken(WORDS, <a>) AND hasToken(WORDS, <b>)))", true)
	f(`textPayload:"A b"`, "(Kind = 1 AND positionCaseInsensitive(Data, <a b>) > 0)", true)
	f(`textPayload:"ab é"`, "(Kind = 1 AND positionCaseInsensitive(Data, <ab >) > 0)", false)
	f(`textPayload:""`, "1", true)
	f(`textPayload!="a"`, "lower(if(Kind = 1, Data, '')) != <a>", true)
	f(`textPayload=~"^a.b"`, "(match(if(Kind = 1, Data, ''), <(?-s:^a.b)>) OR lengthUTF8(if(Kind = 1, Data, '')) != length(if(Kind = 1, Data, '')))", false)
	f(`SEARCH(textPayload, "Foo-bar")`, "((Kind = 1 AND hasToken(WORDS, <foo>)) AND (Kind = 1 AND hasToken(WORDS, <bar>)))", true)
	f(`labels."a=b"="Ann"`, "has(LABELS, <a=b\nann>)", true)
	f(`labels.k="é"`, "mapContains(Labels, <k>)", false)
	f(`labels.k:"A"`, "(mapContains(Labels, <k>) AND positionCaseInsensitive(Labels[<k>], <a>) > 0)", true)
	f(`labels.k<"m"`, "(mapContains(Labels, <k>) AND lower(Labels[<k>]) < <m>)", true)
	f(`labels:*`, "notEmpty(Labels)", true)
	f(`NOT resource.labels.zone="z1"`, "NOT (has(RESOURCE, <zone\nz1>))", true)
	f("labels.k:\"ab\x00\"", "(mapContains(Labels, <k>) AND positionCaseInsensitive(Labels[<k>], <ab>) > 0)", false)
	f(`NOT labels.k="é"`, "1", false)
	f(`jsonPayload.n>5`, "(Kind = 2 AND ((position(Data, <\"n\">) > 0 OR Words != '') AND (JSONType(Data, <n>) NOT IN ('Int64', 'UInt64', 'Double') OR "+
		"JSONExtractFloat(Data, <n>) > <5> OR countSubstrings(Data, <\"n\">) != 1)))", false)
	f(`jsonPayload.a.b="x y"`, "(Kind = 2 AND ((position(Data, <\"a\">) > 0 OR Words != '') AND (position(Data, <\"b\">) > 0 OR Words != '') AND "+
		"(hasToken(WORDS, <x>) AND hasToken(WORDS, <y>))))", false)
	f(`traceSampled=true`, "TraceSampled", true)
	f(`timestamp>="1900-01-01"`, "1", true)
	f(`timestamp<"1900-01-01"`, "0", true)
	f(`timestamp<"1970-01-01T00:00:01Z"`, "Time < fromUnixTimestamp64Nano(toInt64(1000000000), 'UTC')", true)
	f(`httpRequest.status=0`, "1", false) // it is 0 where it is not set
	f(`labels.a="b" severity=INFO (labels.c="D" NOT labels.e="f") resource.labels.a="g" resource.labels.h="i"`,
		"(Severity = 200 AND NOT (has(LABELS, <e\nf>)) AND hasAll(LABELS, [<a\nb>, <c\nd>]) AND hasAll(RESOURCE, [<a\ng>, <h\ni>]))", true)
	f(`(severity=INFO OR severity=DEBUG) labels.a="b"`, "((Severity = 200 OR Severity = 100) AND has(LABELS, <a\nb>))", true)
}

// TestWordsOf: what JSON hides by escapes can be found.
func TestWordsOf(t *testing.T) {
	t.Parallel()
	f := func(kind logstore.Kind, data, want string) {
		t.Helper()
		require.Equal(t, want, wordsOf(&logstore.Entry{Payload: logstore.Payload{Kind: kind, Data: []byte(data)}}), data)
	}
	f(logstore.Text, `a\nb`, "")
	f(logstore.JSON, `{"a":"b"}`, "")
	f(logstore.JSON, `{"a":"b\nc","\u0064":["\"e\\",1,"f"]}`, "b\nc\nd\n\"e\\\n")
	f(logstore.Proto, `{"a":"\\"}`, "\\\n")
	f(logstore.JSON, `{"a\`, "") // no JSON, which Check refuses
}

// TestWindow: windows cover a query's time without a gap, and none twice.
func TestWindow(t *testing.T) {
	t.Parallel()
	f := func(name string, q logstore.Query, indexed bool, want ...string) {
		t.Helper()
		var w window
		var got []string
		for w.begin(&q); ; {
			got = append(got, strings.Join(w.conditions(), " "))
			if !w.next(indexed) {
				break
			}
		}
		require.Equal(t, want, got, name)
	}
	at := func(slot int64) time.Time { return time.Unix(slot*300, 0).UTC() }
	q := logstore.Query{Descending: true, Selection: logstore.Selection{From: at(4000), To: at(6000)}}
	f("growing", q, false, "Slot >= 5988", "Slot >= 5891 Slot <= 5987", "Slot >= 5122 Slot <= 5890", "Slot <= 5121")
	f("an index", q, true, "Slot >= 5988", "Slot <= 5987")
	q.From = at(5980)
	f("little", q, false, "")
	q.From, q.After.Time = time.Time{}, at(5990)
	f("on", q, true, "Slot >= 5978", "Slot <= 5977")
	q.Descending = false
	f("the oldest", q, false, "")
	f("the first hour there is", logstore.Query{Descending: true, Selection: logstore.Selection{To: at(12)}}, false, "")
}

// TestStatements: names in statements are quoted.
func TestStatements(t *testing.T) {
	t.Parallel()
	require.Equal(t, "`a\\`; DROP\\\\`", identifier("a`; DROP\\"))
}
