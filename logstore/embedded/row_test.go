package embedded

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// filled puts the columns of a row together again, as a search does.
func filled(t require.TestingT, r *row) (logstore.Entry, error) {
	var columns []logstorage.BlockColumn
	for _, f := range r.fields {
		columns = append(columns, logstorage.BlockColumn{Name: f.Name, Values: []string{f.Value}})
	}
	columns = append(columns, logstorage.BlockColumn{Name: "_time", Values: []string{"2026-11-20T12:00:00Z"}})
	var block logstorage.DataBlock
	block.SetColumns(columns)
	var c cells
	require.True(t, c.open(&block))
	return c.entry("p", 0)
}

// withJSON is an entry with a payload.
func withJSON(data string) logstore.Entry {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	return logstore.Entry{
		Project: "p", Bucket: "b", Log: "l", InsertID: "i", Time: at, Received: at,
		Payload: logstore.Payload{Kind: logstore.JSON, Data: []byte(data)},
	}
}

func TestRow_PayloadsComeBackByteForByte(t *testing.T) {
	t.Parallel()
	f := func(data, shape string, columns ...string) {
		t.Helper()
		e := withJSON(data)
		var r row
		require.NoError(t, r.set(&e, nil))
		got, err := filled(t, &r)
		require.NoError(t, err)
		require.Equal(t, e, got)
		var values []string
		stored := ""
		for _, f := range r.fields {
			switch {
			case f.Name == columnShape:
				stored = f.Value
			case strings.HasPrefix(f.Name, jsonPrefix):
				values = append(values, f.Name+"="+f.Value)
			}
		}
		require.Equal(t, shape, stored)
		require.Equal(t, columns, values)
	}
	opaque := func(data string) {
		t.Helper()
		f(data, "")
	}
	f(`{}`, `{}`)
	f(`{"a":"x"}`, `{"a":""}`, "j.a=x")
	f(`{"a":""}`, `{"a":""}`)
	f(`{"a":{"b":{}},"c":null}`, `{"a":{"b":{}},"c":null}`)
	f(`{"user":{"name":"Ann","n":4},"tags":["a",{"b":[1]}],"ok":true}`, `{"user":{"name":"","n":0},"tags":[],"ok":0}`,
		"j.ok=true", `j.tags[]=["a",{"b":[1]}]`, "j.user.n=4", "j.user.name=Ann")
	f(`{"n":[1,0.10,-0,1E+5],"x":1e5,"y":0.10,"z":-0,"long":12345678901234567890123}`, `{"n":[],"x":1,"y":0,"z":0,"long":0}`,
		"j.long=12345678901234567890123", "j.n[]=[1,0.10,-0,1E+5]", "j.x=1e5", "j.y=0.10", "j.z=-0")
	f(`{"a.b":1,"a":{"b":2}}`, `{"a.b":0,"a":{"b":0}}`, "j.a\x1fb=1", "j.a.b=2")
	f(`{"":1,"a":{"":2}}`, `{"":0,"a":{"":0}}`, "j.=1", "j.a.=2")
	f(`{"":{"a":1},"a":2}`, `{"":{"a":0},"a":0}`, "j..a=1", "j.a=2")
	f(`{"a":"line\nnext \"q\" \\ \u0001"}`, `{"a":"e"}`, "j.a=line\nnext \"q\" \\ \x01")
	f(`{"a":"\u003cb\u003e"}`, `{"a":"h"}`, "j.a=<b>")
	f(`{"a":"é世界"}`, `{"a":""}`, "j.a=é世界")
	f(`{"a":[]}`, `{"a":[]}`, "j.a[]=[]")
	// What has no columns of its own.
	opaque(`{"a":"\u0041"}`)
	opaque(`{"a":"\/"}`)
	opaque(`{"a":"\ud800"}`)
	opaque(`{"a":1,"a":2}`)
	opaque(`{"a\n":1}`)
	opaque(`{"a*":1}`)
	opaque(`{"a[":1}`)
	opaque(`{"a":["\n"]}`)
	opaque(`{"` + strings.Repeat("k", 200) + `":1}`)
	opaque(strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70))
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf(`"k%d":%d`, i, i))
	}
	opaque("{" + strings.Join(many, ",") + "}")
}

func TestRow_WordsAreFolded(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		e := withJSON("{}")
		e.Payload = logstore.Payload{Kind: logstore.Text, Data: []byte(text)}
		var r row
		require.NoError(t, r.set(&e, nil))
		got := ""
		for _, f := range r.fields {
			if f.Name == columnFold {
				got = f.Value
			}
		}
		require.Equal(t, want, got, text)
	}
	f("all is small 12", "")
	f("Error: the ERROR is an error", "error")
	f("getUser failed for Ann", "getuser ann")
	f("user_name", "user name")
	f("User_Name x", "user_name user name")
	f("Straße ÄÖ ok", "straße äö")
	f("naïve Ñ_a", "ñ_a ñ a")
}

func FuzzRow(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":[1,"x"]},"c":"\u003c"}`, `{"a.b":1e5,"":null}`, `{"a":"\ud83d\ude00"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		var compact bytes.Buffer
		if json.Compact(&compact, []byte(data)) != nil {
			return
		}
		e := withJSON(compact.String())
		if e.Check() != nil {
			return
		}
		var r row
		require.NoError(t, r.set(&e, nil))
		if !r.opaque {
			require.True(t, slices.IsSortedFunc(r.fields, func(a, b logstorage.Field) int { return strings.Compare(a.Name, b.Name) }))
		}
		got, err := filled(t, &r)
		require.NoError(t, err)
		require.Equal(t, e, got)
	})
}

// The engine understands what filters are compiled to, and is asked no more
// than it need be.
func TestCompile(t *testing.T) {
	t.Parallel()
	f := func(text, want string, exact exactness) {
		t.Helper()
		expr, err := filter.Parse(text)
		require.NoError(t, err)
		got := compile(expr)
		require.Equal(t, want, got.query, text)
		require.Equal(t, exact, got.exact, text)
		_, err = logstorage.ParseQuery("(" + got.query + ") or " + opaqueRows)
		require.NoError(t, err, got.query)
	}
	f("", "*", always)
	f("severity>=ERROR", `"sev":range[500, 2147483647]`, always)
	f("severity=DEFAULT", `("sev":range[0, 0] or !("sev":*))`, always)
	f("NOT severity>ERROR", `!("sev":range[501, 2147483647])`, always)
	f(`resource.type="Device"`, `"Of":="device" or (("zw":"device") "Of":~"^[dD][eE][vV][iI][cC][eE]$")`, always)
	f(`labels.n="7-8"`, `"l.n":="7-8"`, always)
	f(`trace="abc" severity<INFO`, `("tr":="abc" or (("zw":"abc") "tr":~"^[aA][bB][cC]$")) (("sev":range[-2147483648, 199] or !("sev":*)))`, always)
	f(`jsonPayload.a.b="x"`, `"j.a.b":="x" or (("zw":"x") "j.a.b":~"^[xX]$") or "j.a[]":* or "j.a.b[]":*`, never)
	f(`jsonPayload.n>=5`, `"j.n":range[5, inf) or "t":*"\"n\":1"* or "t":*"\"n\":\""* or "j.n[]":*`, never)
	f(`jsonPayload.a:*`, `"t":*"\"a\":"* or "j.a[]":*`, never)
	f(`NOT jsonPayload.a="x"`, "*", never)
	f(`labels.a!="x"`, "*", never)
	f(`textPayload=~"^a.c$"`, `"msg":~"^a.c$"`, never)
	f(`textPayload=~"^$"`, "*", never)
	f(`log_id("syslog")`, `"Log":="syslog" or (("zw":"syslog") "Log":~"^[sS][yY][sS][lL][oO][gG]$")`, always)
	f(`logName="projects/p/logs/a%2Fb"`, `"Log":="a/b" or (("zw":"a" or "zw":"b") "Log":~"^[aA]/[bB]$")`, never)
	f(`insertId="7" OR insertId="8"`, `("id":="7") or ("id":="8")`, always)
	f(`labels."odd*key"="x"`, "*", never)
	f(`textPayload:"a b_c d"`, `(("msg":*"a"* or "zw":*"a"*) ("msg":"b_c" or "zw":"b_c") ("msg":*"d"* or "zw":*"d"*)) "msg":~"[aA] [bB]_[cC] [dD]"`, inASCII)
	f(`textPayload:"b_c"`, `"msg":*"b_c"* or ("zw":*"b_c"* "msg":~"[bB]_[cC]")`, inASCII)
	f(`textPayload:"é"`, `("msg":*"é"* or "zw":*"é"*)`, never)
	f(`NOT labels.x:"y"`, `!("l.x":*"y"* or ("zw":*"y"* "l.x":~"[yY]")) or !("F":in("a","ak"))`, inASCII)
	f(`SEARCH(textPayload, "b_C")`, `("msg":"b" or ("zw":"b" "msg":~"(^|[^0-9A-Za-z])[bB]($|[^0-9A-Za-z])")) ("msg":"c" or ("zw":"c" "msg":~"(^|[^0-9A-Za-z])[cC]($|[^0-9A-Za-z])"))`, inASCII)
	f("SEARCH(textPayload, \"a `b c`\")", `("msg":"a" or ("zw":"a" "msg":~"(^|[^0-9A-Za-z])[aA]($|[^0-9A-Za-z])")) (("msg":"b" or "zw":"b") ("msg":"c" or "zw":"c"))`, never)
	f(`SEARCH("b")`, "("+anywhere.contain("b", true)+")", never)
}

func TestPage_KeepsWhatComesFirst(t *testing.T) {
	t.Parallel()
	q := logstore.Query{Limit: 10}
	p := page{query: &q, have: make(map[logstore.Position]bool)}
	var entries []logstore.Entry
	for i := range 100 {
		e := withJSON("{}")
		e.InsertID = fmt.Sprintf("%03d", i*37%100)
		entries = append(entries, e)
	}
	for i := range entries {
		require.NoError(t, p.add(&entries[i]))
		require.NoError(t, p.add(&entries[i]))
	}
	slices.SortFunc(entries, func(a, b logstore.Entry) int { return strings.Compare(a.InsertID, b.InsertID) })
	require.Equal(t, entries[:10], p.entries())
	require.Len(t, p.have, 10)
}
