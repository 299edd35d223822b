package logstore_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// valid is a valid entry.
func valid() logstore.Entry { return entries()[0] }

// TestCheck shows what is wrong with entries, and how it is said.
func TestCheck(t *testing.T) {
	t.Parallel()
	e := valid()
	require.NoError(t, e.Check())
	f := func(change func(e *logstore.Entry), field, text string) {
		t.Helper()
		e := valid()
		change(&e)
		err := e.Check()
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
		require.Equal(t, "INVALID_ENTRY", fault.ReasonOf(err))
		require.Contains(t, err.Error(), text)
		var of *fault.Error
		require.ErrorAs(t, err, &of)
		require.Equal(t, field, of.Field)
	}
	many := map[string]string{}
	for i := range logstore.MaxLabels + 1 {
		many[fmt.Sprint(i)] = ""
	}
	long := strings.Repeat("x", logstore.MaxID+1)
	f(func(e *logstore.Entry) { e.Project = "" }, "project", "is missing")
	f(func(e *logstore.Entry) { e.Bucket = "" }, "bucket", "is missing")
	f(func(e *logstore.Entry) { e.Log = "" }, "logName", "is missing")
	f(func(e *logstore.Entry) { e.Log = "a b" }, "logName", `has ' '`)
	f(func(e *logstore.Entry) { e.Log = "é" }, "logName", `has 'é'`)
	f(func(e *logstore.Entry) { e.Log = long }, "logName", "has 513 bytes, the most are 512")
	f(func(e *logstore.Entry) { e.InsertID = "" }, "insertId", "is missing")
	f(func(e *logstore.Entry) { e.InsertID = "\xff" }, "insertId", "is not UTF-8")
	f(func(e *logstore.Entry) { e.InsertID = "a\n" }, "insertId", "has a control character")
	f(func(e *logstore.Entry) { e.Time = time.Time{} }, "timestamp", "is missing")
	f(func(e *logstore.Entry) { e.Time = time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC) }, "timestamp", "before 1970")
	f(func(e *logstore.Entry) { e.Time = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC) }, "timestamp", "after 2261")
	f(func(e *logstore.Entry) { e.Time = e.Time.In(time.FixedZone("", 3600)) }, "timestamp", "is not in UTC")
	f(func(e *logstore.Entry) { e.Received = time.Time{} }, "receiveTimestamp", "is missing")
	f(func(e *logstore.Entry) { e.Severity = -1 }, "severity", "-1 is no severity")
	f(func(e *logstore.Entry) { e.Severity = 1000 }, "severity", "1000 is no severity")
	f(func(e *logstore.Entry) { e.ResourceType = long }, "resource.type", "has 513 bytes")
	f(func(e *logstore.Entry) { e.ResourceLabels = many }, "resource.labels", "there are 65 labels, the most are 64")
	f(func(e *logstore.Entry) { e.Labels = map[string]string{"": "x"} }, "labels", "a key is empty")
	f(func(e *logstore.Entry) { e.Labels = map[string]string{long: "x"} }, "labels", "a key has 513 bytes")
	f(func(e *logstore.Entry) { e.Labels = map[string]string{"a\x00": "x"} }, "labels", "control character")
	f(func(e *logstore.Entry) { e.Labels = map[string]string{"a": "\xff"} }, "labels", `the value of "a" is not UTF-8`)
	f(func(e *logstore.Entry) { e.Labels = map[string]string{"a": strings.Repeat("x", 65537)} }, "labels", "has 65537 bytes")
	f(func(e *logstore.Entry) { e.Trace = long }, "trace", "has 513 bytes")
	f(func(e *logstore.Entry) { e.SpanID = long }, "spanId", "has 513 bytes")
	payload := func(p logstore.Payload) func(e *logstore.Entry) {
		return func(e *logstore.Entry) { e.Payload = p }
	}
	f(payload(logstore.Payload{Data: []byte("x")}), "payload", "without its kind")
	f(payload(logstore.Payload{Kind: 5}), "payload", "5 is no kind")
	f(payload(logstore.Payload{Kind: logstore.Text, TypeURL: "x"}), "payload", "only a protoPayload")
	f(payload(logstore.Payload{Kind: logstore.Text, Data: []byte("\xff")}), "textPayload", "is not UTF-8")
	f(payload(logstore.Payload{Kind: logstore.JSON}), "jsonPayload", "is no JSON object")
	f(payload(logstore.Payload{Kind: logstore.JSON, Data: []byte(`[1]`)}), "jsonPayload", "is no JSON object")
	f(payload(logstore.Payload{Kind: logstore.JSON, Data: []byte(`{"a":1}x`)}), "jsonPayload", "unexpected 'x'")
	f(payload(logstore.Payload{Kind: logstore.JSON, Data: []byte(`{"a": 1}`)}), "jsonPayload", "white space")
	f(payload(logstore.Payload{Kind: logstore.JSON, Data: []byte(`{"a":1,"\u0061":2}`)}), "jsonPayload", `has the member "a" twice`)
	f(payload(logstore.Payload{Kind: logstore.JSON, Data: []byte(`{"a":[{"b":1,"c":{"d":1,"d":1}}]}`)}), "jsonPayload", `has the member "d" twice`)
	f(payload(logstore.Payload{Kind: logstore.JSON, Data: []byte(twenty("k19"))}), "jsonPayload", `has the member "k19" twice`)
	f(payload(logstore.Payload{Kind: logstore.JSON, Data: []byte(twenty("k3"))}), "jsonPayload", `has the member "k3" twice`)
	f(payload(logstore.Payload{Kind: logstore.JSON, Data: []byte(strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65))}), "jsonPayload", "deeper")
	f(payload(logstore.Payload{Kind: logstore.JSON, Data: []byte("{\"a\":\"\xff\"}")}), "jsonPayload", "is not UTF-8")
	f(payload(logstore.Payload{Kind: logstore.Proto, Data: []byte(`{}`)}), "protoPayload.@type", "is missing")
	f(payload(logstore.Payload{Kind: logstore.Proto, TypeURL: "t", Data: []byte(`{}`), Wire: []byte{1}}), "protoPayload", "twice")
	f(payload(logstore.Payload{Kind: logstore.Proto, TypeURL: "t", Data: []byte(`1`)}), "protoPayload", "is no JSON object")
	f(func(e *logstore.Entry) { e.Extra = []byte(`{"trace":"x"}`) }, "extra", `has the member "trace", which is none of an entry`)
	f(func(e *logstore.Entry) { e.Extra = []byte(`{"split":1`) }, "extra", "unexpected end")

	e.Payload.Data = bytes.Repeat([]byte("x"), logstore.MaxSize)
	require.Equal(t, fault.TooLarge, fault.KindOf(e.Check()))
	e.Payload.Data = e.Payload.Data[:2*logstore.MaxSize-e.Size()]
	require.Equal(t, logstore.MaxSize, e.Size())
	require.NoError(t, e.Check())
	for _, good := range []logstore.Payload{
		{},
		{Kind: logstore.Text},
		{Kind: logstore.JSON, Data: []byte(`{"a":"\\\" x","b":[],"":{}}`)},
		{Kind: logstore.JSON, Data: []byte(twenty("k20"))},
		{Kind: logstore.Proto, TypeURL: "t"},
		{Kind: logstore.Bytes, Data: []byte{255}},
	} {
		e.Payload = good
		require.NoError(t, e.Check(), "%+v", good)
	}
}

// twenty is an object with the members k0 to k19, and one more.
func twenty(name string) string {
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	return "{" + b.String() + `"` + name + `":1}`
}

// TestCompactJSON shows that an object is as it was written, without spaces.
func TestCompactJSON(t *testing.T) {
	t.Parallel()
	got, err := logstore.CompactJSON([]byte(" {\n \"a b\" : [ 1.50 , \"\\u00e9 <&> \\\" x\" ] }\t"))
	require.NoError(t, err)
	require.Equal(t, []string{`{"a b":[1.50,"\u00e9 <&> \" x"]}`}, []string{string(got)}, "byte for byte")
	for _, bad := range []string{"", "1", "[]", `{"a":}`, `{"a":1,"a":1}`, `{} {}`, "{\"a\":\"\xff\"}"} {
		_, err := logstore.CompactJSON([]byte(bad))
		require.Equal(t, fault.Invalid, fault.KindOf(err), bad)
	}
}

// TestSeverity shows names and numbers.
func TestSeverity(t *testing.T) {
	t.Parallel()
	for s, name := range map[logstore.Severity]string{0: "DEFAULT", 300: "NOTICE", 800: "EMERGENCY", 450: "450", 900: "900"} {
		require.Equal(t, name, s.String())
		got, ok := logstore.ParseSeverity(strings.ToLower(name))
		require.True(t, ok)
		require.Equal(t, s, got)
	}
	for _, bad := range []string{"", "warn", "-1", "1000", "5.0"} {
		_, ok := logstore.ParseSeverity(bad)
		require.False(t, ok, bad)
	}
}

// TestField shows what is counted by.
func TestField(t *testing.T) {
	t.Parallel()
	e := entries()[1]
	e.Extra = []byte(`{"httpRequest":{"status":404,"latency":"1.5s"},"errorGroups":[{"id":"g"},{"id":"h"}]}`)
	for path, want := range map[string]string{
		"severity": "WARNING", "jsonPayload.status": "503", "jsonPayload.duration_ms": "1532.25", "jsonPayload.retry": "true", "jsonPayload.tags": "edge",
		"jsonPayload.request.method": "GET", "logName": "projects/p/logs/selvedge.dev%2Ffunctions", "timestamp": "2026-06-01T12:00:00Z",
		"httpRequest.status": "404", "httpRequest.latency": "1.5s", "errorGroups.id": "g", "labels.version": "1.4.2",
	} {
		got, ok := logstore.Field(&e, strings.Split(path, "."))
		require.True(t, ok, path)
		require.Equal(t, want, got, path)
	}
	for _, path := range []string{"jsonPayload.request", "jsonPayload.none", "textPayload", "spanId", "traceSampled", "httpRequest.cacheHit", "labels.none", "thud", "labels"} {
		got, ok := logstore.Field(&e, strings.Split(path, "."))
		require.False(t, ok, path)
		require.Empty(t, got, path)
	}
}

// TestPosition shows the order of entries.
func TestPosition(t *testing.T) {
	t.Parallel()
	now := valid().Time
	ordered := []logstore.Position{
		{},
		{Time: now, InsertID: "a", Log: "z", Bucket: "z"},
		{Time: now, InsertID: "b", Log: "a", Bucket: "b"},
		{Time: now, InsertID: "b", Log: "b", Bucket: "a"},
		{Time: now, InsertID: "b", Log: "b", Bucket: "b"},
		{Time: now.Add(1), InsertID: "", Log: "", Bucket: ""},
	}
	for i, a := range ordered {
		for j, b := range ordered {
			q := logstore.Query{After: b}
			require.Equal(t, i > j || j == 0, q.Follows(a), "%d %d", i, j)
			q.Descending = true
			require.Equal(t, i < j || j == 0, q.Follows(a), "%d %d", i, j)
		}
	}
}

// TestAppendJSON shows the form of an entry in JSON, and that it is read as
// the entry.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	e := valid()
	e.TraceSampled, e.SpanID = true, "00f0"
	e.Extra = []byte(`{"httpRequest":{"status":404},"split":{"index":1}}`)
	e.Payload.Data = []byte("a <\"b\"> \n\u2028")
	e.Labels = map[string]string{"k": "v"}
	want := `{"logName":"projects/p/logs/selvedge.dev%2Ffunctions","timestamp":"2026-06-01T12:00:00Z","receiveTimestamp":"2026-06-01T12:00:00Z",` +
		`"insertId":"0f3a","severity":"WARNING","resource":{"type":"device","labels":{"device_id":"d-0042","site":"north"}},"labels":{"k":"v"},` +
		`"trace":"projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f0","traceSampled":true,"textPayload":"a <\"b\"> \n\u2028","httpRequest":{"status":404},"split":{"index":1}}`
	got := string(logstore.AppendJSON(nil, &e))
	require.Equal(t, []string{want}, []string{got}, "byte for byte")
	for _, p := range []logstore.Payload{
		{},
		e.Payload,
		{Kind: logstore.Text, Data: []byte{}},
		{Kind: logstore.JSON, Data: []byte(`{}`)},
		{Kind: logstore.JSON, Data: []byte(`{"a":[1.50,"<"]}`)},
		{Kind: logstore.Proto, TypeURL: "x/y", Data: []byte(`{}`)},
		{Kind: logstore.Proto, TypeURL: "x/y", Data: []byte(`{"a":{"@type":"z"}}`)},
		{Kind: logstore.Bytes, Data: []byte{0, 255}},
	} {
		e.Payload = p
		for _, extra := range [][]byte{nil, e.Extra} {
			e.Extra = extra
			again, err := logstore.ParseJSON(logstore.AppendJSON(nil, &e))
			require.NoError(t, err)
			again.Bucket = e.Bucket
			require.Equal(t, e, again)
		}
	}
	e.Payload = logstore.Payload{Kind: logstore.Proto, TypeURL: "x/y", Wire: []byte{1, 2}}
	require.Contains(t, string(logstore.AppendJSON(nil, &e)), `"protoPayload":{"@type":"x/y","value":"AQI="}`)
	empty, err := logstore.ParseJSON([]byte(`{}`))
	require.NoError(t, err)
	require.Equal(t, logstore.Entry{}, empty)
}

// TestParseJSON_Errors shows what is no entry.
func TestParseJSON_Errors(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		``, `[]`, `{"logName":"syslog"}`, `{"logName":"projects/p/logs/a/b"}`, `{"logName":"projects//logs/a"}`, `{"logName":"projects/p/logs/%zz"}`, `{"severity":"warn"}`, `{"severity":1.5}`,
		`{"textPayload":"a","jsonPayload":{}}`, `{"jsonPayload":[]}`, `{"jsonPayload":{"a":1,"a":2}}`, `{"protoPayload":{"@type":1}}`, `{"timestamp":"now"}`, `{"thud":1}`, `{} x`, `{"labels":{"a":1}}`,
	} {
		_, err := logstore.ParseJSON([]byte(bad))
		require.Equal(t, fault.Invalid, fault.KindOf(err), bad)
	}
}
