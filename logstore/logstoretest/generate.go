package logstoretest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// words are what texts are made of: few, so that filters find something, and
// with what is hard about text.
var words = []string{
	"error", "Error", "ERR", "unicorn", "Phoenix", "disk full", "a_b", "a-b", "10.0.0.7", "192.168.1.9", "1:2::3", "200", "404", "4.5", "-1", "true",
	"", " ", "é", "É", "ß", "K", "İ", "ſ", "😀", "\"q\"", `back\slash`, "tab\there", "line\nbreak", "%", "_", "'", "null", "NULL_VALUE", "*", "x=y", "projects/p",
}

// common are the words that are drawn as often as all others together.
var common = []string{"error", "Error", "disk full", "é", "200"}

// drawWord draws a word.
func drawWord(t *rapid.T) string {
	if rapid.Bool().Draw(t, "common") {
		return rapid.SampledFrom(common).Draw(t, "word")
	}
	return rapid.SampledFrom(words).Draw(t, "word")
}

// keys are the names in labels and payloads.
var keys = []string{"a", "a", "a", "A", "b", "b", "message", "k8s-pod/app", "a.b", "é", "_msg", "*", "status"}

// drawText draws a text.
func drawText(t *rapid.T) string {
	n := rapid.IntRange(1, 3).Draw(t, "words")
	var parts []string
	for range n {
		parts = append(parts, drawWord(t))
	}
	return strings.Join(parts, rapid.SampledFrom([]string{" ", "", "-", "_"}).Draw(t, "between"))
}

// labels draws labels.
func labels(t *rapid.T) map[string]string {
	n := rapid.IntRange(0, 2).Draw(t, "labels")
	if n == 0 {
		return nil
	}
	m := map[string]string{}
	for range n {
		m[rapid.SampledFrom(keys).Draw(t, "key")] = drawText(t)
	}
	return m
}

// quoteJSON writes a string in JSON, with escapes where there need be none.
func quoteJSON(t *rapid.T, s string) string {
	escaped := rapid.Bool().Draw(t, "escaped")
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if r < ' ' || r == '"' || r == '\\' || escaped && r < 0x10000 && r > 'k' {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// valueJSON draws a value of JSON.
func valueJSON(t *rapid.T, depth int) string {
	switch rapid.IntRange(0, 9-2*min(depth, 1)).Draw(t, "kind") {
	case 0, 1, 2, 3:
		return quoteJSON(t, drawText(t))
	case 4, 5:
		return rapid.SampledFrom([]string{"0", "-0", "200", "2e2", "200.0", "404", "-1", "4.5", "1e400", "12345678901234567890", "9007199254740993"}).Draw(t, "number")
	case 6:
		return rapid.SampledFrom([]string{"true", "false"}).Draw(t, "bool")
	case 7:
		return "null"
	case 8:
		var values []string
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			values = append(values, valueJSON(t, depth+1))
		}
		return "[" + strings.Join(values, ",") + "]"
	}
	return objectJSON(t, depth+1)
}

// objectJSON draws an object of JSON.
func objectJSON(t *rapid.T, depth int) string {
	var members []string
	for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 0, 4, rapid.ID).Draw(t, "members") {
		members = append(members, quoteJSON(t, k)+":"+valueJSON(t, depth))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// payload draws a payload.
func payload(t *rapid.T) logstore.Payload {
	switch rapid.IntRange(0, 9).Draw(t, "payload") {
	case 0:
		return logstore.Payload{}
	case 1:
		return logstore.Payload{Kind: logstore.Proto, TypeURL: "type.googleapis.com/x.Y", Data: []byte(objectJSON(t, 0))}
	case 2:
		return logstore.Payload{Kind: logstore.Proto, TypeURL: "type.googleapis.com/x.Z", Wire: []byte(drawText(t))}
	case 3:
		return logstore.Payload{Kind: logstore.Bytes, Data: []byte{0, 255, 'e', 'r', 'r', 'o', 'r'}}
	case 4, 5, 6:
		return logstore.Payload{Kind: logstore.JSON, Data: []byte(objectJSON(t, 0))}
	}
	return logstore.Payload{Kind: logstore.Text, Data: []byte(drawText(t))}
}

// Entries draws valid entries of a project: at most n, with ties of time and
// duplicates among them. Their numbers begin at *seq.
func Entries(t *rapid.T, project string, n int, seq *uint64) []logstore.Entry {
	var entries []logstore.Entry
	for range rapid.IntRange(1, n).Draw(t, "entries") {
		*seq++
		e := logstore.Entry{
			Project: project, Origin: "model", Seq: *seq,
			Bucket:         rapid.SampledFrom([]string{"b", "c"}).Draw(t, "bucket"),
			Log:            rapid.SampledFrom([]string{"syslog", "selvedge.dev/activity", "Error"}).Draw(t, "log"),
			InsertID:       rapid.SampledFrom([]string{"1", "2", "a", "A", "é"}).Draw(t, "id") + strconv.FormatUint(*seq, 36),
			Time:           Noon().Add(rapid.SampledFrom([]time.Duration{0, 1, 2, time.Second, time.Minute, -25 * time.Hour, 24 * time.Hour}).Draw(t, "time")),
			Severity:       rapid.SampledFrom([]logstore.Severity{0, 200, 500, 550, 800}).Draw(t, "severity"),
			ResourceType:   rapid.SampledFrom([]string{"", "device", "Device", "k8s_pod"}).Draw(t, "type"),
			ResourceLabels: labels(t), Labels: labels(t),
			Trace:        rapid.SampledFrom([]string{"", "projects/p/traces/1"}).Draw(t, "trace"),
			SpanID:       rapid.SampledFrom([]string{"", "00f0"}).Draw(t, "span"),
			TraceSampled: rapid.Bool().Draw(t, "sampled"),
			Payload:      payload(t),
		}
		e.Received = e.Time.Add(time.Millisecond)
		if rapid.IntRange(0, 3).Draw(t, "extra") == 0 {
			e.Extra = rapid.SampledFrom([][]byte{
				[]byte(`{"httpRequest":{"status":404,"latency":"1.5s","requestUrl":"/a?error","cacheHit":true,"responseSize":"200"}}`),
				[]byte(`{"operation":{"id":"a","producer":"unicorn","last":true},"split":{"index":1,"totalSplits":2}}`),
				[]byte(`{"sourceLocation":{"file":"a.go","line":"404"},"errorGroups":[{"id":"Error"},{"id":"b"}]}`),
			}).Draw(t, "extras")
		}
		entries = append(entries, e)
		if rapid.IntRange(0, 9).Draw(t, "twice") == 0 {
			entries = append(entries, e)
		}
	}
	return entries
}

// paths are fields that filters of property tests ask for.
var paths = []string{
	"jsonPayload.a", "jsonPayload.a", "jsonPayload.a", "labels.a", "resource.labels.a", "jsonPayload.a.b", "jsonPayload.b", "jsonPayload.A", "jsonPayload.message", "jsonPayload.a.b", `jsonPayload."a.b"`, "jsonPayload.status", "jsonPayload.a.a", `jsonPayload."_msg"`, `jsonPayload."é"`,
	"protoPayload.a", "protoPayload.message", `protoPayload."@type"`, "labels.a", "labels.A", `labels."k8s-pod/app"`, "resource.labels.a", "errorGroups.id",
}

// texts are fields of LogEntry's own that are text.
var texts = []string{
	"textPayload", "textPayload", "insertId", "logName", "trace", "spanId", "resource.type",
	"httpRequest.requestUrl", "operation.id", "operation.producer", "sourceLocation.file", "split.uid",
}

// objects are fields that have others in them.
var objects = []string{"jsonPayload", "jsonPayload", "protoPayload", "labels", "resource.labels", "resource", "httpRequest", "operation", "errorGroups"}

// typed are comparisons of fields that are no text.
var typed = []string{
	"severity>=ERROR", "severity=550", "severity<warning", "severity!=DEFAULT", "severity:ERR", "severity:*", "traceSampled=true", "traceSampled!=true", "traceSampled>false",
	"httpRequest.status=404", "httpRequest.status!=404", "httpRequest.status<500", "httpRequest.status:*", "httpRequest.status:4", `httpRequest.latency>"1s"`, `httpRequest.latency<="1500ms"`,
	"httpRequest.cacheHit=true", "httpRequest.responseSize>=200", "operation.last=false", "operation.first:*", "sourceLocation.line=404", "split.index=1", "split.totalSplits<=1",
	"log_id(syslog)", "log_id(\"selvedge.dev/Activity\")", "log_id(act)", "sample(insertId, 0.5)", "sample(jsonPayload.a, 0.5)", "sample(labels.a, 1)", "source(projects/none)",
	`ip_in_net(jsonPayload.a, "10.0.0.0/8")`, `ip_in_net(labels.a, "192.168.1.9")`, `ip_in_net(textPayload, "1:2::/32")`, "*", "NOT *",
	"cast(severity, INT64)>=550", "cast(severity, STRING):ERR", `cast(timestamp, STRING)=~"00Z$"`, `cast(timestamp, STRING, TIMEZONE("Asia/Kolkata"))=~"T17:30:00"`, "cast(httpRequest.status, BOOL)=false",
	"cast(httpRequest.status, STRING)=~\"4$\"", "cast(jsonPayload.a, INT64)>=200", "cast(jsonPayload.a, FLOAT64)<404", "cast(labels.a, INT64)!=200", "cast(jsonPayload.a, BOOL)=true", "cast(jsonPayload.a, STRING)=200",
	"cast(jsonPayload.a, STRING):*", "cast(protoPayload.a, STRING):e", `regexp_extract(textPayload, "(?i)(err)")="ERR"`, `regexp_extract(jsonPayload.a, "(.)r")!=x`, `regexp_extract(labels.a, "^(.*)$")=""`,
	`regexp_extract(insertId, "^(.)")=("a" OR "1")`, `cast(regexp_extract(jsonPayload.a, "(\d+)"), INT64)<100`, `regexp_extract(errorGroups.id, "(b)"):*`, `cast(operation.last, INT64)=1`, `cast(traceSampled, STRING)=true`,
	"protoPayload.A=error", "protoPayload.MESSAGE:disk", "protoPayload.a>=200", `protoPayload.Message=~"o"`, "metadata.userLabels.a!=x", "source(organizations/p)",
}

// Filters draws a filter that the entries of Entries are likely to differ by.
func Filters(t *rapid.T) filter.Expr {
	text := filterText(t, 0)
	f, err := filter.Parse(text)
	if err != nil {
		t.Fatalf("BUG: the filter %s cannot be parsed: %v", text, err)
	}
	return f
}

// filterText draws the text of a filter.
func filterText(t *rapid.T, depth int) string {
	if depth < 3 {
		switch rapid.IntRange(0, 7).Draw(t, "shape") {
		case 0:
			return "(" + filterText(t, depth+1) + " AND " + filterText(t, depth+1) + ")"
		case 1:
			return "(" + filterText(t, depth+1) + " OR " + filterText(t, depth+1) + ")"
		case 2:
			return "NOT " + filterText(t, depth+1)
		}
	}
	return leaf(t)
}

// leaf draws the text of a comparison, a function or a text.
func leaf(t *rapid.T) string {
	quoted := func(s string) string {
		return (&filter.Text{Value: filter.Value{Text: s, Quoted: true}}).String()
	}
	word := quoted(drawWord(t))
	switch rapid.IntRange(0, 8).Draw(t, "leaf") {
	case 0:
		return word
	case 1:
		return rapid.SampledFrom(typed).Draw(t, "typed")
	case 2:
		return rapid.SampledFrom(texts).Draw(t, "field") + rapid.SampledFrom([]string{"=", "!=", ":", ":", "<", ">="}).Draw(t, "op") + word
	case 3:
		return rapid.SampledFrom(append(paths, texts...)).Draw(t, "field") + rapid.SampledFrom([]string{"=~", "!~"}).Draw(t, "op") +
			rapid.SampledFrom([]string{`"^err"`, `"(?i)error"`, `"o"`, `"^$"`, `"\d+"`, `"é|ß"`, `"a.b"`, `"^.{3}$"`, `"\\\\"`}).Draw(t, "expression")
	case 4:
		return rapid.SampledFrom(objects).Draw(t, "field") + ":" + rapid.SampledFrom([]string{word, "*"}).Draw(t, "of")
	case 5:
		return rapid.SampledFrom(append(paths, texts...)).Draw(t, "field") + ":*"
	case 6:
		return "SEARCH(" + rapid.SampledFrom([]string{"", "textPayload, ", "jsonPayload, ", "jsonPayload.a, ", "labels, "}).Draw(t, "in") +
			quoted(rapid.SampledFrom([]string{"error", "disk", "full disk", "`disk full`", "a", "10.0.0.7", "é", "`error-a`", "unicorn phoenix", "qwertz"}).Draw(t, "query")) + ")"
	}
	value := rapid.SampledFrom([]string{word, word, word, "200", "404", "4.5", "-1", "true", "false", "NULL_VALUE", "error"}).Draw(t, "value")
	field := rapid.SampledFrom(paths).Draw(t, "field")
	if value == filter.Null && strings.Contains(field, "labels") {
		value = word // no label is null
	}
	return field + rapid.SampledFrom([]string{"=", "=", "!=", ":", ":", "<", "<=", ">", ">="}).Draw(t, "op") + value
}
