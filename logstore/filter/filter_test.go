package filter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/fault"
)

// TestParse_Canonical shows how filters are read, by how they are written
// again.
func TestParse_Canonical(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		e, err := filter.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, e.String(), text)
		again, err := filter.Parse(want)
		require.NoError(t, err, want)
		require.Equal(t, e, again, text)
	}
	// Terms.
	f(`unicorn`, `unicorn`)
	f(`"The cat"`, `"The cat"`)
	f(`'The "cat"'`, `"The \"cat\""`)
	f(`foo.bar`, `foo.bar`)
	f(`10.0.0.1`, `10.0.0.1`)
	f(`*`, `*`)
	f(`and`, `and`)
	f(`"AND"`, `"AND"`)
	f(`ANDROID`, `ANDROID`)
	f(`a--b`, `a--b`)
	// Operators.
	f(`a AND b`, `a AND b`)
	f("a b\n\tc", `a AND b AND c`)
	f(`a AND (b AND c)`, `a AND b AND c`)
	f(`a OR b OR (c OR d)`, `a OR b OR c OR d`)
	f(`"a" OR NOT "b" AND NOT "c" OR "d"`, `("a" OR NOT "b") AND (NOT "c" OR "d")`)
	f(`a OR b c`, `(a OR b) AND c`)
	f(`a b OR c`, `a AND (b OR c)`)
	f(`a OR (b c)`, `a OR (b AND c)`)
	f(`-a -(b OR c)`, `NOT a AND NOT (b OR c)`)
	f(`NOT NOT a`, `a`)
	f(`NOT -NOT a`, `NOT a`)
	f(`NOT (NOT a)`, `a`)
	f(`-(-(a))`, `a`)
	f(`((a))`, `a`)
	f(`NOT(a)`, `NOT a`)
	f(`NOT a OR b`, `NOT a OR b`)
	f(`-5`, `NOT 5`)
	// Comparisons.
	f(`severity>=error`, `severity>=error`)
	f(`severity >= "ERROR"`, `severity>="ERROR"`)
	f(`a severity=ERROR b`, `a AND severity=ERROR AND b`)
	f(`textPayload:robot`, `textPayload:robot`)
	f(`textPayload=~"a\d+\\.b"`, `textPayload=~"a\\d+\\.b"`)
	f(`textPayload !~ "\bx"`, `textPayload!~"\\bx"`)
	f(`insertId!=x`, `insertId!=x`)
	f(`jsonPayload.x<=-1.5e3`, `jsonPayload.x<=-1.5e3`)
	f(`jsonPayload.x=-Infinity`, `jsonPayload.x=-Infinity`)
	f(`jsonPayload.x = NULL_VALUE`, `jsonPayload.x=NULL_VALUE`)
	f(`operation.id:*`, `operation.id:*`)
	f(`timestamp>"2026-01-01T00:00:00Z"`, `timestamp>"2026-01-01T00:00:00Z"`)
	f(`timestamp>2026-01-01`, `timestamp>2026-01-01`)
	f(`httpRequest.latency>1.5s`, `httpRequest.latency>1.5s`)
	f("textPayload=\"a\\nb\\u00e9\\ud83d\\ude00\\t\\u0001\"", `textPayload="a\nbé😀\t\u0001"`)
	f("textPayload=\"raw\nline\"", `textPayload="raw\nline"`)
	// Functions of fields.
	f(`cast(labels.n, INT64) >= 5`, `cast(labels.n, INT64)>=5`)
	f(`CAST(Labels.n , int64)=(1 OR 2)`, `cast(labels.n, INT64)=(1 OR 2)`)
	f(`cast(labels.n, INT64)=1 OR cast(labels.n, INT64)=2 OR cast(labels.n, BOOL)=true`, `cast(labels.n, INT64)=(1 OR 2) OR cast(labels.n, BOOL)=true`)
	f(`cast(timestamp, STRING, timezone('America/New_York')) =~ "^2023-01-02.*"`, `cast(timestamp, STRING, TIMEZONE("America/New_York"))=~"^2023-01-02.*"`)
	f(`CAST(REGEXP_EXTRACT(CAST(timestamp, STRING), "\\d+:\\d+:\\d+\\.(\\d+)"), INT64) < 500`, `cast(regexp_extract(cast(timestamp, STRING), "\\d+:\\d+:\\d+\\.(\\d+)"), INT64)<500`)
	f(`NOT regexp_extract( textPayload, "(?:a|b)(c?)" ):*`, `NOT regexp_extract(textPayload, "(?:a|b)(c?)"):*`)
	f(`cast`, `cast`)
	f(`"cast"`, `"cast"`)
	// Fields.
	f(`labels."k8s-pod/app"=x`, `labels."k8s-pod/app"=x`)
	f(`labels.k8s-pod/app=x`, `labels."k8s-pod/app"=x`)
	f(`jsonPayload."a.b"."\"c\"".d=x`, `jsonPayload."a.b"."\"c\"".d=x`)
	f(`jsonPayload.":name":apple`, `jsonPayload.":name":apple`)
	f(`jsonPayload."AND"=x`, `jsonPayload.AND=x`)
	f(`protoPayload."@type"=x`, `protoPayload."@type"=x`)
	f(`protoPayload.@type=x`, `protoPayload."@type"=x`)
	f(`log_name=x LOGNAME=x Http_Request.RemoteIP=x`, `logName=(x AND x) AND httpRequest.remoteIp=x`)
	f(`resource.labels.Zone=x`, `resource.labels.Zone=x`)
	f(`"severity"=INFO`, `severity=INFO`)
	f(`jsonPayload.endTime=x jsonPayload.end_time=x`, `jsonPayload.endTime=x AND jsonPayload.end_time=x`)
	// Values in parentheses.
	f(`resource.type=("a" OR b)`, `resource.type=("a" OR b)`)
	f(`textPayload:(a b)`, `textPayload:(a AND b)`)
	f(`textPayload:(a (b OR c) NOT d)`, `textPayload:(a AND (b OR c) AND NOT d)`)
	f(`NOT textPayload:(a OR b)`, `NOT textPayload:(a OR b)`)
	f(`textPayload:(a)`, `textPayload:a`)
	f(`textPayload:(NOT a)`, `NOT textPayload:a`)
	f(`jsonPayload.x=(-1 OR -y OR -"z")`, `jsonPayload.x=(-1 OR NOT y OR NOT "z")`)
	f(`textPayload:a textPayload:b x textPayload:c`, `textPayload:(a AND b) AND x AND textPayload:c`)
	f(`(textPayload:a OR textPayload:b) x`, `textPayload:(a OR b) AND x`)
	f(`textPayload:a textPayload=b`, `textPayload:a AND textPayload=b`)
	f(`labels:(* b)`, `labels:(* AND b)`)
	// Functions.
	f(`LOG_ID("a/b")`, `log_id("a/b")`)
	f(`log_id(syslog) x`, `log_id(syslog) AND x`)
	f(`sample(insert_id, 0.25)`, `sample(insertId, 0.25)`)
	f(`ip_in_net( jsonPayload."real ip" , "10.0.0.0/8" )`, `ip_in_net(jsonPayload."real ip", "10.0.0.0/8")`)
	f("search(\"a `b c`\")", "SEARCH(\"a `b c`\")")
	f(`SEARCH(textPayload, "a b") OR x`, `SEARCH(textPayload, "a b") OR x`)
	f(`SEARCH(jsonPayload, "a")`, `SEARCH(jsonPayload, "a")`)
	f(`source(projects/p)`, `source(projects/p)`)
	f(`-log_id(x)`, `NOT log_id(x)`)
	// Comments.
	f("-- first\na -- second\n-- third\nb --", `a AND b`)
	f("severity= -- what\nINFO", `severity=INFO`)
	f("\"a--b\" -- c", `"a--b"`)
}

// TestParse_Empty shows that nothing selects all.
func TestParse_Empty(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " \n\t", "-- only a comment", "--\n--"} {
		e, err := filter.Parse(text)
		require.NoError(t, err, text)
		require.Nil(t, e, text)
	}
}

// TestParse_Errors shows that errors name the place and what was expected.
func TestParse_Errors(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		e, err := filter.Parse(text)
		require.Nil(t, e, text)
		require.Equal(t, fault.Invalid, fault.KindOf(err), text)
		require.Equal(t, "INVALID_FILTER", fault.ReasonOf(err))
		require.Contains(t, err.Error(), want, text)
	}
	f(`severity=`, `line 1, character 10: expected a value, found the end`)
	f("a\n  b severity>=AND", `line 2, character 15: expected a value, found "AND"`)
	f(`é severity>=)`, `line 1, character 13: expected a value, found ")"`)
	f(`(a OR b`, `line 1, character 8: expected AND, OR or ), found the end`)
	f(`a)`, `line 1, character 2: expected AND, OR or the end of the filter, found ")"`)
	f(`()`, `character 2: expected a field, a function, or a text, found ")"`)
	f(`AND a`, `character 1: expected a field, a function, or a text, found "AND"`)
	f(`a AND`, `expected a field, a function, or a text, found the end`)
	f(`a OR OR b`, `found "OR"`)
	f(`NOT`, `found the end`)
	f(`a -`, `found the end`)
	f(`"a`, `character 1: the quote that begins here has no end`)
	f(`x 'a"`, `character 3: the quote that begins here has no end`)
	f(`"\u12"`, `four hexadecimal digits`)
	f(`"\ud800x"`, `half of one`)
	f(`"\ud800\u0041"`, `half of one`)
	f(`"\udc00\ud800"`, `half of one`)
	f(`thud=1`, `a log entry has no field "thud"; its fields are apphub, apphubDestination, apphubSource, errorGroups, httpRequest, insertId,`)
	f(`operation.thud=1`, `operation has no field "thud"; its fields are first, id, last, producer`)
	f(`textPayload.thud=1`, `textPayload has no field "thud"`)
	f(`labels.a.b=1`, `labels has no field "a.b"`)
	f(`resource.labels.a.b=1`, `resource.labels has no field "a.b"`)
	f(`jsonPayload.=1`, `expected a name after the dot`)
	f(`jsonPayload.a*=1`, `there are no wildcards`)
	f(`foo*`, `there are no wildcards`)
	f(`textPayload=a*`, `there are no wildcards`)
	f(`textPayload=*`, `* asks only with :`)
	f(`insertId=abc:def`, `character 13: expected AND, OR or ) after the value; a value with operators in it must be in double quotes, found ":"`)
	f(`timestamp>=2026-10-02T15:01:23Z`, `"2026-10-02T15" is no value of timestamp: expected a time such as`)
	f(`timestamp>="yesterday"`, `"yesterday" is no value of timestamp`)
	f(`severity>=ERR`, `"ERR" is no value of severity: expected one of DEFAULT, DEBUG, INFO, NOTICE, WARNING, ERROR, CRITICAL, ALERT, EMERGENCY`)
	f(`severity=1000`, `is no value of severity`)
	f(`httpRequest.status=ok`, `"ok" is no value of httpRequest.status: expected a number`)
	f(`httpRequest.status=0x10`, `expected a number`)
	f(`httpRequest.latency>5`, `expected a duration such as "3.2s"`)
	f(`traceSampled=1`, `expected true or false`)
	f(`labels=x`, `labels has fields of its own: compare one of them, or search in all of them with labels:"x"`)
	f(`severity=~"E"`, `severity is not text: regular expressions match only text`)
	f(`textPayload=~"a("`, `"a(" is no regular expression of RE2: error parsing regexp: missing closing )`)
	f(`textPayload=~"`+strings.Repeat("a", 1001)+`"`, `character 14: the regular expression has 1001 bytes, the most are 1000`)
	f(`textPayload=~"(a{1000}b{1000}c{1000}d{1000}e{1000})"`, `steps up to here, repetitions written out: the most are 5000`)
	f(`textPayload=~"a{1001}"`, `is no regular expression`)
	f(`textPayload=~("a{900}" OR "b{900}" OR "c{900}" OR "d{900}" OR "e{900}" OR "f{900}")`, `character 75: the regular expressions have 5412 steps`)
	f(`textPayload=~"(?=a)"`, `is no regular expression`)
	f(`labels.a=NULL_VALUE`, `labels.a is never null; ask with NOT labels.a:* where it is not there`)
	f(`textPayload=(a b=c)`, `expected AND, OR or ) after the value`)
	f(`textPayload=(a OR)`, `expected a value, found ")"`)
	f(`textPayload=.5`, `a text that begins so must be in double quotes`)
	f(`textPayload=-x`, `a text that begins so must be in double quotes`)
	f(`a."b c"`, `expected an operator`)
	f(`a ! b`, `found "!"`)
	f(`a, b`, `found ","`)
	f(`a\b`, `found "\\"`)
	f(`severity==ERROR`, `expected a value, found "="`)
	f(`concat(timestamp, "x")`, `there is no function concat; the functions are log_id, sample, ip_in_net, SEARCH, source, cast and regexp_extract`)
	f(`cast(labels.a, INT64)`, `expected an operator, since what is made of a field is compared`)
	f(`cast(labels.a)=1`, `expected a comma, found ")"`)
	f(`cast(labels.a, INT)=1`, `character 16: "INT" is no type: expected STRING, INT64, FLOAT64, BOOL, TIMESTAMP or DURATION`)
	f(`cast(labels.a, "INT64")=1`, `"INT64" is no type`)
	f(`cast(labels, INT64)=1`, `labels has fields of its own: cast looks at one of them`)
	f(`cast(thud, INT64)=1`, `a log entry has no field "thud"`)
	f(`cast(labels.a, INT64)=one`, `"one" is no value of cast(labels.a, INT64): expected a number`)
	f(`cast(labels.a, DURATION)>5`, `expected a duration such as "3.2s"`)
	f(`cast(labels.a, INT64)=~"1"`, `cast(labels.a, INT64) is not text: regular expressions match only text`)
	f(`cast(labels.a, STRING)=NULL_VALUE`, `cast(labels.a, STRING) is never null`)
	f(`cast(timestamp, STRING, UTC)="x"`, `expected TIMEZONE("…"), found "UTC"`)
	f(`cast(timestamp, STRING, TIMEZONE("Mars/Olympus"))="x"`, `"Mars/Olympus" is no time zone`)
	f(`cast(timestamp, STRING, TIMEZONE("Local"))="x"`, `"Local" is no time zone`)
	f(`cast(timestamp, STRING, TIMEZONE(""))="x"`, `"" is no time zone`)
	f(`cast(timestamp, STRING, TIMEZONE("../../etc/passwd"))="x"`, `is no time zone`)
	f(`cast(labels.a, INT64, TIMEZONE("UTC"))=1`, `TIMEZONE is for STRING and TIMESTAMP`)
	f(`cast(log_id("x"), STRING)="x"`, `log entry has no field "log_id"`)
	f(`regexp_extract(textPayload, x)="a"`, `expected a regular expression in double quotes, found "x"`)
	f(`regexp_extract(textPayload, "x")="a"`, `the regular expression of regexp_extract has 0 groups, and must have one`)
	f(`regexp_extract(textPayload, "(x)(y)")="a"`, `has 2 groups, and must have one`)
	f(`regexp_extract(textPayload, "(x")="a"`, `is no regular expression of RE2`)
	f(`regexp_extract(textPayload, "(`+strings.Repeat("a", 1000)+`)")="a"`, `the regular expression has 1002 bytes, the most are 1000`)
	f(`regexp_extract(timestamp, "(x)")="a"`, `regexp_extract looks at text: cast to STRING first`)
	f(`regexp_extract(cast(timestamp, TIMESTAMP), "(x)")="a"`, `regexp_extract looks at text`)
	f(strings.Repeat("cast(", 11)+"labels.a"+strings.Repeat(", STRING)", 11)+"=x", `more than 10 functions are applied to one field`)
	f(`log_id()`, `expected a value, found ")"`)
	f(`log_id(a, b)`, `expected the ) of log_id, found ","`)
	f(`log_id(a)=b`, `log_id(…) is true or false and is not compared`)
	f(`sample(insertId)`, `expected a comma`)
	f(`sample(insertId, 0)`, `expected a number over 0, at most 1`)
	f(`sample(insertId, 1.1)`, `expected a number over 0, at most 1`)
	f(`sample(thud, 1)`, `a log entry has no field "thud"`)
	f(`sample(labels, 1)`, `labels has fields of its own: sample looks at one of them`)
	f(`ip_in_net(jsonPayload.ip, "10.0.0.0/33")`, `is no network`)
	f(`SEARCH(a)`, `in double quotes, found "a"`)
	f(`SEARCH("!?")`, `has no word to search for`)
	f(`SEARCH(textPayload)`, `expected the words to search for in double quotes`)
	f(`source(buckets/x)`, `expected projects/PROJECT_ID, folders/FOLDER_ID or organizations/ORGANIZATION_ID`)
	f(`source(folders/)`, `is no source`)
	f("a \xff", `not UTF-8`)
	f(strings.Repeat("(", 101)+"a"+strings.Repeat(")", 101), `parentheses are nested deeper than 100`)
	f(strings.Repeat("é", filter.MaxLength+1), `the filter has 20001 characters, the most are 20000`)
}

// TestParse_Bounds shows what is still taken.
func TestParse_Bounds(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		strings.Repeat("é", filter.MaxLength),
		strings.Repeat("a ", filter.MaxLength/2),
		strings.Repeat("-", 1) + strings.Repeat("NOT ", 4000) + "a",
		strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100),
		`textPayload:(` + strings.Repeat("a OR ", 3000) + "b)",
		strings.Repeat("(a) ", 300),
	} {
		e, err := filter.Parse(text)
		require.NoError(t, err)
		require.LessOrEqual(t, len(e.String()), 6*filter.MaxLength)
	}
}

// TestString_Groups shows that a filter that names its field once is not
// written with it many times.
func TestString_Groups(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("n", 5000)
	e, err := filter.Parse("jsonPayload." + name + "=(" + strings.Repeat("a ", 5000) + ") b")
	require.NoError(t, err)
	require.Less(t, len(e.String()), 2*filter.MaxLength)
}

// TestString_Built shows that an expression that was not parsed is written so
// that it can be.
func TestString_Built(t *testing.T) {
	t.Parallel()
	f := func(e filter.Expr, want string) {
		t.Helper()
		require.Equal(t, want, e.String())
		_, err := filter.Parse(want)
		require.NoError(t, err)
	}
	f(&filter.Text{Value: filter.Value{Text: "a b"}}, `"a b"`)
	f(&filter.Text{Value: filter.Value{Text: ""}}, `""`)
	f(&filter.Text{Value: filter.Value{Text: "AND"}}, `"AND"`)
	f(&filter.Text{Value: filter.Value{Text: "-a"}}, `"-a"`)
	f(&filter.Text{Value: filter.Value{Text: "a*"}}, `"a*"`)
	f(&filter.Text{Value: filter.Value{Text: "a."}}, `"a."`)
	f(&filter.Text{Value: filter.Value{Text: "OR.a"}}, `"OR.a"`)
	f(&filter.Text{Value: filter.Value{Text: "-5"}}, `"-5"`)
	f(&filter.Comparison{Path: []string{"labels", ""}, Op: filter.Equal, Value: filter.Value{Text: "(x"}}, `labels.""="(x"`)
}

// TestTimestamp shows the forms of a time.
func TestTimestamp(t *testing.T) {
	t.Parallel()
	f := func(text string, want time.Time) {
		t.Helper()
		got, ok := filter.ParseTimestamp(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	day := time.Date(2014, 10, 2, 0, 0, 0, 0, time.UTC)
	at := time.Date(2014, 10, 2, 15, 1, 23, 45_000_000, time.UTC)
	f("2014-10-02", day)
	f("2014-10-02T15:01:23.045Z", at)
	f("2014-10-02T20:01:23.045+05:00", at)
	f("2014-10-02T15:01:23.045000001Z", at.Add(1))
	f("2014-10-02T15:01:23.045", at)
	f("2014-10-02 15:01:23.045", at)
	f("2014-10-02T10:01:23.045-0500", at)
	f("2014-10-02T15:01Z", at.Truncate(time.Minute))
	f("2014-10-02T15:01", at.Truncate(time.Minute))
	f("20141002T150123Z", at.Truncate(time.Second))
	for _, bad := range []string{"", "2014", "2014-13-02", "15:01", "2014-10-02T25:00:00Z", "now", "1412262083"} {
		_, ok := filter.ParseTimestamp(bad)
		require.False(t, ok, bad)
	}
}

// TestNumber shows what is a number.
func TestNumber(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"0", "-3", "+3", "3.", ".5", "-3.2e-8", "1E9", "nan", "NaN", "Infinity", "-infinity", "1e400"} {
		_, ok := filter.ParseNumber(good)
		require.True(t, ok, good)
	}
	for _, bad := range []string{"", "-", "e", "1_000", "0x1", "inf", "1e", "1 ", "١"} {
		_, ok := filter.ParseNumber(bad)
		require.False(t, ok, bad)
	}
}

// TestSearchTerms shows what SEARCH looks for.
func TestSearchTerms(t *testing.T) {
	t.Parallel()
	f := func(query string, want ...filter.SearchTerm) {
		t.Helper()
		require.Equal(t, want, filter.SearchTerms(query), query)
	}
	word := func(text string) filter.SearchTerm { return filter.SearchTerm{Text: text} }
	f("Hello, world_2", word("Hello"), word("world"), word("2"))
	f("größe -é", word("größe"), word("é"))
	f("a `b, c` d", word("a"), filter.SearchTerm{Text: "b, c", Phrase: true}, word("d"))
	f("a `b c", word("a"), word("b"), word("c"))
	f("`` ` `")
	f("!")
}

// TestString_RoundTrip shows that what is written can be read, and that
// what was read is written so that it is read as the same.
func TestString_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := expressions(t, 0)
		text := e.String()
		got, err := filter.Parse(text)
		require.NoError(t, err, text)
		again, err := filter.Parse(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}

// expressions draws expressions, of any nesting, also such that Parse would
// have made flat.
func expressions(t *rapid.T, depth int) filter.Expr {
	values := rapid.Custom(func(t *rapid.T) filter.Value {
		return filter.Value{Text: rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"*", "-1", "-a", "AND", "a b", "5", "NULL_VALUE", "--", "a--", "a.", "a..b", "NOT.a", "a.NOT"})).Draw(t, "text"), Quoted: rapid.Bool().Draw(t, "quoted")}
	})
	kind := rapid.IntRange(0, 6).Draw(t, "kind")
	if depth > 4 {
		kind += 3
	}
	switch kind {
	case 0, 1:
		var terms []filter.Expr
		for range rapid.IntRange(2, 4).Draw(t, "terms") {
			terms = append(terms, expressions(t, depth+1))
		}
		if kind == 0 {
			return &filter.And{Terms: terms}
		}
		return &filter.Or{Terms: terms}
	case 2:
		return &filter.Not{Term: expressions(t, depth+1)}
	case 3:
		return &filter.Text{Value: values.Draw(t, "value")}
	case 4:
		return &filter.Call{Name: filter.FuncLogID, Args: []filter.Value{{Text: rapid.String().Draw(t, "id"), Quoted: true}}}
	}
	c := &filter.Comparison{
		Path: []string{"jsonPayload", rapid.SampledFrom([]string{"a", "b", `"`, "", "NOT", "é"}).Draw(t, "name")},
		Op:   rapid.SampledFrom([]filter.Op{filter.Has, filter.Equal, filter.LessOrEqual}).Draw(t, "op"), Value: values.Draw(t, "value"),
	}
	if c.Op != filter.Has && c.Value.IsAny() {
		c.Value.Quoted = true
	}
	return c
}

// FuzzParse: whatever is read is written so that it is read as the same, and
// nothing panics.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`"a" OR NOT "b" AND -c`, `severity>=ERROR labels."k/a":("x" OR y)`, "timestamp>\"2026-01-01\" -- c\nSEARCH(textPayload, \"a `b`\")",
		`jsonPayload.a."b.c"=~"^\d+$"`, `jsonPayload.x=(-1 OR NOT NULL_VALUE)`, `sample(insertId, .5)`, `((`, `"\ud83d\ude00`, `a:b:c`, `x=(((-(-a)))`,
		`cast(regexp_extract(cast(timestamp, STRING, TIMEZONE("Asia/Tokyo")), "(\\d+)Z"), INT64)<(500 OR 7)`, `cast(labels.a, DURATION)>"1s"`, `source(folders/1) metadata.userLabels.a=b`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := filter.Parse(text)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		if e == nil {
			return
		}
		again, err := filter.Parse(e.String())
		if err != nil && strings.Contains(err.Error(), "the most are") {
			return // what was close to the bound may be longer as it is written
		}
		require.NoError(t, err, e.String())
		require.Equal(t, e, again)
	})
}

// BenchmarkParse reads a filter of usual length.
func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := filter.Parse(`resource.type="device" AND resource.labels.device_id=("d1" OR "d2") severity>=WARNING timestamp>="2026-01-01T00:00:00Z" NOT textPayload:"connection reset"`); err != nil {
			b.Fatal(err)
		}
	}
}
