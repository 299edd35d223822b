package filter_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/filter"
)

// The attributes that judged events and filters draw from, and their texts: few,
// so that they meet.
var (
	judgedNames = []string{
		"specversion", "id", "type", "source", "subject", "time", "dataschema", "schemaurl", "datacontenttype", "datamediatype",
		"datacontentencoding", "text", "count", "flag", "bytes", "since", "absent",
	}
	judgedTexts = []string{
		"1.0", "a", "ab", "b", "/a", "//h/a", "//h/a%20b", "urn:a:b", "text/plain", "text/plain; a=b", "application/json", "5", "-7", "true", "false",
		"[1 2]", "AQI=", "2026-03-01T12:00:00.5Z", "0001-01-01T00:00:00Z",
	}
)

// judgedEvent draws an event, as the journal gives it back.
func judgedEvent(t *rapid.T) event.Event {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	has := func(label string) bool { return rapid.Bool().Draw(t, label) }
	e := event.New()
	e.SetID(pick("id", "a", "ab", "b"))
	e.SetType(pick("type", "a", "ab", "b"))
	e.SetSource(pick("source", "/a", "//h/a", "//h/a%20b", "urn:a:b", "a"))
	if has("has subject") {
		e.SetSubject(pick("subject", "a", "ab", "/a"))
	}
	if has("has time") {
		e.SetTime(time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.UTC))
	}
	if has("has schema") {
		e.SetDataSchema(pick("schema", "urn:a:b", "//h/a"))
	}
	if has("has content type") {
		e.SetDataContentType(pick("content type", "text/plain", "text/plain; a=b", "application/json"))
	}
	for name, values := range map[string][]any{
		"text": {"a", "ab", "5", "true", ""}, "count": {int32(5), int32(-7)}, "flag": {true, false}, "bytes": {[]byte{1, 2}},
		"since": {time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.UTC)},
	} {
		if has("has " + name) {
			e.SetExtension(name, rapid.SampledFrom(values).Draw(t, name))
		}
	}
	return e
}

// judgedSpec draws an element of any dialect, to that depth.
func judgedSpec(t *rapid.T, depth int) filter.Spec {
	pairs := func() map[string]string {
		return rapid.MapOfN(rapid.SampledFrom(judgedNames), rapid.SampledFrom(judgedTexts), 1, 2).Draw(t, "pairs")
	}
	kinds := []string{"exact", "prefix", "suffix", "cesql", "all", "any", "not"}
	if depth == 0 {
		kinds = kinds[:4]
	}
	parts := func() (specs []filter.Spec) {
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			specs = append(specs, judgedSpec(t, depth-1))
		}
		return specs
	}
	switch rapid.SampledFrom(kinds).Draw(t, "dialect") {
	case "exact":
		return filter.Spec{Exact: pairs()}
	case "prefix":
		return filter.Spec{Prefix: pairs()}
	case "suffix":
		return filter.Spec{Suffix: pairs()}
	case "all":
		return filter.Spec{All: parts()}
	case "any":
		return filter.Spec{Any: parts()}
	case "not":
		return filter.Spec{Not: new(judgedSpec(t, depth-1))}
	}
	return filter.Spec{CESQL: rapid.SampledFrom([]string{"type = 'a'", "EXISTS text", "NOT EXISTS text", "count > 4", "INT(text) = 5"}).Draw(t, "cesql")}
}

// What a head says for sure, the whole event says too, in every dialect.
func TestJudge_IsTheFilter(t *testing.T) {
	t.Parallel()
	sures := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		e := judgedEvent(t)
		record, err := event.AppendRecord(nil, &e)
		require.NoError(t, err)
		head, err := event.ReadHead(record)
		require.NoError(t, err)
		for range 20 {
			f, err := filter.Parse(judgedSpec(t, 2))
			if rapid.IntRange(0, 4).Draw(t, "older") == 0 {
				f, err = filter.ParseAttributes(rapid.MapOfN(rapid.SampledFrom(judgedNames), rapid.SampledFrom(append(judgedTexts, "")), 0, 2).Draw(t, "attributes"))
			}
			require.NoError(t, err)
			v, sure := filter.Judge(f, &head)
			sures[sure]++
			if sure {
				require.Equal(t, f.Filter(&e), v, "%+v", f)
			}
		}
	})
	require.Greater(t, sures[true], sures[false], "most filters need no more than the head")
}

// The filters of nearly all triggers need no more than the head.
func TestJudge_IsSure(t *testing.T) {
	t.Parallel()
	record, err := event.AppendRecord(nil, reading(t))
	require.NoError(t, err)
	head, err := event.ReadHead(record)
	require.NoError(t, err)
	missing := filter.Spec{CESQL: "NOT EXISTS nothing"}
	f := func(sure bool, want filter.Verdict, specs ...filter.Spec) {
		t.Helper()
		parsed, err := filter.ParseAll(specs)
		require.NoError(t, err)
		v, is := filter.Judge(parsed, &head)
		require.Equal(t, sure, is, "%+v", specs)
		if sure {
			require.Equal(t, want, v, "%+v", specs)
		}
	}
	f(true, filter.NoFilter)
	f(true, filter.Pass, filter.Spec{Exact: one("type", "com.example.climate")})
	f(true, filter.Pass, filter.Spec{Prefix: one("source", "//selvedge.dev/")})
	f(true, filter.Pass, filter.Spec{Exact: one("level", "5")})
	f(true, filter.Pass, filter.Spec{Exact: one("urgent", "true")})
	f(true, filter.Fail, filter.Spec{Exact: one("absent", "x")})
	f(true, filter.Fail, missing, filter.Spec{Exact: one("type", "another")})
	f(true, filter.Pass, filter.Spec{Any: []filter.Spec{missing, {Suffix: one("region", "west")}}})
	f(false, filter.Fail, missing)
	f(false, filter.Fail, filter.Spec{Not: &missing})
	f(false, filter.Fail, filter.Spec{Exact: one("since", "x")})
	_, sure := filter.Judge(nil, &head)
	require.False(t, sure, "a filter of another package")
}

// BenchmarkJudge measures one evaluation on an event in its record form, with
// the reading of its head.
func BenchmarkJudge(b *testing.B) {
	record, err := event.AppendRecord(nil, reading(b))
	require.NoError(b, err)
	for name, spec := range map[string]filter.Spec{
		"exact_type":      {Exact: one("type", "com.example.climate")},
		"exact_extension": {Exact: one("region", "eu-west")},
		"prefix_source":   {Prefix: one("source", "//selvedge.dev/projects/p/")},
	} {
		parsed := parse(b, spec)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				head, err := event.ReadHead(record)
				if v, sure := filter.Judge(parsed, &head); err != nil || !sure || v != filter.Pass {
					b.Fatal("the event must pass")
				}
			}
		})
	}
}
