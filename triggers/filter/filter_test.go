package filter_test

import (
	"net/url"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/filter"
)

// reading is an event with every context attribute and an extension of every
// type.
func reading(t testing.TB) *event.Event {
	t.Helper()
	e := event.New()
	e.SetID("7")
	e.SetType("com.example.climate")
	e.SetSource("//selvedge.dev/projects/p/devices/d")
	e.SetSubject("hall/north")
	e.SetTime(time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.FixedZone("", 3600)))
	e.SetDataSchema("https://example.com/climate.json")
	require.NoError(t, e.SetData("application/json; charset=utf-8", []byte(`{}`)))
	for name, v := range map[string]any{
		"region": "eu-west", "level": 5, "urgent": true, "nothing": "",
		"key": []byte{1, 2}, "since": types.Timestamp{Time: time.Unix(0, 0).UTC()},
		"home": types.URI{URL: url.URL{Scheme: "https", Host: "example.com"}},
	} {
		e.SetExtension(name, v)
	}
	require.NoError(t, e.Validate())
	return &e
}

// bare is an event with the required attributes only.
func bare() *event.Event {
	e := event.New()
	e.SetID("8")
	e.SetType("com.example.door")
	e.SetSource("/door")
	return &e
}

// parse is Parse of an element that must be right.
func parse(t testing.TB, spec filter.Spec) filter.Filter {
	t.Helper()
	f, err := filter.Parse(spec)
	require.NoError(t, err)
	return f
}

// one is the map with one entry.
func one(name, value string) map[string]string { return map[string]string{name: value} }

func TestFilter_Dialects(t *testing.T) {
	t.Parallel()
	full, min := reading(t), bare()
	yes, no := filter.Spec{Exact: one("type", "com.example.climate")}, filter.Spec{Exact: one("type", "x")}
	f := func(spec filter.Spec, onFull, onBare filter.Verdict) {
		t.Helper()
		parsed := parse(t, spec)
		require.Equal(t, onFull, parsed.Filter(full), "%+v on the full event", spec)
		require.Equal(t, onBare, parsed.Filter(min), "%+v on the bare event", spec)
	}
	const pass, fail = filter.Pass, filter.Fail

	f(yes, pass, fail)
	f(filter.Spec{Exact: one("type", "Com.example.climate")}, fail, fail)
	f(filter.Spec{Exact: one("specversion", "1.0")}, pass, pass)
	f(filter.Spec{Exact: one("id", "8")}, fail, pass)
	f(filter.Spec{Exact: one("source", "/door")}, fail, pass)
	f(filter.Spec{Exact: one("subject", "hall/north")}, pass, fail)
	f(filter.Spec{Exact: one("datacontenttype", "application/json; charset=utf-8")}, pass, fail)
	f(filter.Spec{Exact: one("datamediatype", "application/json")}, pass, fail)
	f(filter.Spec{Exact: one("dataschema", "https://example.com/climate.json")}, pass, fail)
	f(filter.Spec{Exact: one("schemaurl", "https://example.com/climate.json")}, pass, fail)
	f(filter.Spec{Exact: one("datacontentencoding", "base64")}, fail, fail)
	f(filter.Spec{Exact: one("time", "2026-03-01T12:00:00.5+01:00")}, pass, fail)
	f(filter.Spec{Exact: one("time", "0001-01-01T00:00:00Z")}, fail, pass) // A time that is not set.
	f(filter.Spec{Exact: one("region", "eu-west")}, pass, fail)
	f(filter.Spec{Exact: one("level", "5")}, pass, fail)
	f(filter.Spec{Exact: one("urgent", "true")}, pass, fail)
	f(filter.Spec{Exact: one("key", "[1 2]")}, pass, fail)
	f(filter.Spec{Exact: one("since", "1970-01-01T00:00:00Z")}, pass, fail)
	f(filter.Spec{Exact: map[string]string{"region": "eu-west", "level": "5"}}, pass, fail)
	f(filter.Spec{Exact: map[string]string{"region": "eu-west", "level": "6"}}, fail, fail)

	f(filter.Spec{Prefix: one("type", "com.example.")}, pass, pass)
	f(filter.Spec{Prefix: one("source", "//selvedge.dev/projects/p/")}, pass, fail)
	f(filter.Spec{Prefix: map[string]string{"type": "com.", "region": "eu"}}, pass, fail)
	f(filter.Spec{Suffix: one("subject", "/north")}, pass, fail)
	f(filter.Spec{Suffix: map[string]string{"type": "door", "source": "door"}}, fail, pass)

	f(filter.Spec{All: []filter.Spec{yes}}, pass, fail)
	f(filter.Spec{All: []filter.Spec{yes, no}}, fail, fail)
	f(filter.Spec{All: []filter.Spec{yes, {Prefix: one("region", "eu")}}}, pass, fail)
	f(filter.Spec{Any: []filter.Spec{no, yes}}, pass, fail)
	f(filter.Spec{Any: []filter.Spec{no, no}}, fail, fail)
	f(filter.Spec{Not: &yes}, fail, pass)
	f(filter.Spec{Not: &filter.Spec{Not: &yes}}, pass, fail)
	f(filter.Spec{Not: &filter.Spec{Any: []filter.Spec{no, yes}}}, fail, pass)
}

func TestFilter_CESQL(t *testing.T) {
	t.Parallel()
	full := reading(t)
	f := func(text string, want filter.Verdict) {
		t.Helper()
		require.Equal(t, want, parse(t, filter.Spec{CESQL: text}).Filter(full), text)
	}
	const pass, fail = filter.Pass, filter.Fail

	f("type = 'com.example.climate'", pass)
	f("TYPE LIKE 'com.%'", pass)
	f("type like 'com._'", fail)
	f("region IN ('eu-west', 'eu-east')", pass)
	f("EXISTS region AND NOT EXISTS continent", pass)
	f("level > 4", pass)
	f("level = '5'", pass)
	f("urgent", pass)
	f("NOT urgent", fail)
	f("LENGTH(region) = 7", pass)
	f("INT(region) > 1", fail) // No such cast.
	f("NOT (INT(region) > 1)", fail)
	f("continent = 'x'", fail)        // No such attribute.
	f("nosuch(type) = 'x'", fail)     // No such function.
	f("1 / 0 = 1", fail)              // No such number.
	f("region", fail)                 // Not a boolean.
	f("1 + 1", fail)                  // Not a boolean.
	f("level", fail)                  // Not a boolean, though it could be cast.
	f("SUBSTRING(type, 3, -9)", fail) // The library slices out of bounds.

	t.Run("an expression that cannot be evaluated passes when negated", func(t *testing.T) {
		t.Parallel()
		negated := parse(t, filter.Spec{Not: &filter.Spec{CESQL: "INT(region) > 1"}})
		require.Equal(t, pass, negated.Filter(full))
	})
}

func TestParseAll_Lists(t *testing.T) {
	t.Parallel()
	eu, high := filter.Spec{Exact: one("region", "eu-west")}, filter.Spec{CESQL: "level > 9"}
	f := func(want filter.Verdict, specs ...filter.Spec) {
		t.Helper()
		parsed, err := filter.ParseAll(specs)
		require.NoError(t, err)
		require.Equal(t, want, parsed.Filter(reading(t)))
	}
	f(filter.NoFilter)
	f(filter.Pass, eu)
	f(filter.Fail, high)
	f(filter.Fail, eu, high)
	f(filter.Pass, eu, filter.Spec{Not: &high})
}

func TestParseAttributes_Verdicts(t *testing.T) {
	t.Parallel()
	f := func(entries map[string]string, onFull, onBare filter.Verdict) {
		t.Helper()
		parsed, err := filter.ParseAttributes(entries)
		require.NoError(t, err)
		require.Equal(t, onFull, parsed.Filter(reading(t)), "%v on the full event", entries)
		require.Equal(t, onBare, parsed.Filter(bare()), "%v on the bare event", entries)
	}
	const pass, fail = filter.Pass, filter.Fail

	f(nil, filter.NoFilter, filter.NoFilter)
	f(map[string]string{}, pass, pass)
	f(one("type", "com.example.climate"), pass, fail)
	f(one("subject", ""), pass, fail)
	f(one("region", ""), pass, fail)
	f(one("nothing", ""), fail, fail) // There, but set to nothing.
	f(one("level", ""), pass, fail)
	f(one("level", "5"), fail, fail) // A number is not a string.
	f(one("time", ""), pass, pass)
	f(map[string]string{"type": "", "region": "eu-west"}, pass, fail)
	f(map[string]string{"type": "", "region": "us-east"}, fail, fail)
}

func TestFilter_OldSpecVersion(t *testing.T) {
	t.Parallel()
	e := ce.New(ce.CloudEventsVersionV03)
	e.SetID("1")
	e.SetType("t")
	e.SetSource("/s")
	e.SetDataContentEncoding("base64")
	e.SetExtension("region", "eu-west")
	for name, want := range map[string]string{"specversion": "0.3", "datacontentencoding": "base64", "region": "eu-west"} {
		require.Equal(t, filter.Pass, parse(t, filter.Spec{Exact: one(name, want)}).Filter(&e), name)
	}
}

func TestFilter_EventWithoutContext(t *testing.T) {
	t.Parallel()
	for _, spec := range []filter.Spec{{Exact: one("type", "t")}, {Prefix: one("region", "eu")}, {CESQL: "type = 't'"}} {
		require.Equal(t, filter.Fail, parse(t, spec).Filter(&event.Event{}), "%+v", spec)
	}
}

func TestFilter_KeepsNothingOfSpec(t *testing.T) {
	t.Parallel()
	spec := filter.Spec{All: []filter.Spec{{Exact: one("region", "eu-west")}, {Prefix: one("type", "com.")}}}
	parsed := parse(t, spec)
	spec.All[0].Exact["region"] = "us-east"
	spec.All[1] = filter.Spec{Exact: one("type", "x")}
	require.Equal(t, filter.Pass, parsed.Filter(reading(t)))
}

// TestFilter_Concurrent parses and evaluates from many goroutines, for the race
// detector.
func TestFilter_Concurrent(t *testing.T) {
	t.Parallel()
	spec := filter.Spec{Any: []filter.Spec{{CESQL: "level > 9"}, {Not: &filter.Spec{Prefix: one("type", "org.")}}}}
	shared, e := parse(t, spec), reading(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				own, err := filter.Parse(spec)
				if err != nil || own.Filter(e) != filter.Pass || shared.Filter(e) != filter.Pass {
					t.Errorf("verdicts differ between goroutines: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestFilter_Laws states what must hold of all, any and not, whatever they are
// made of.
func TestFilter_Laws(t *testing.T) {
	t.Parallel()
	events := []*event.Event{reading(t), bare()}
	leaf := rapid.SampledFrom([]filter.Spec{
		{Exact: one("region", "eu-west")},
		{Prefix: one("type", "com.example.d")},
		{Suffix: one("source", "r")},
		{CESQL: "level > 4"},
		{CESQL: "EXISTS subject"},
		{CESQL: "INT(region) = 1"},
	})
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(leaf, 1, 5).Draw(t, "parts")
		negated := make([]filter.Spec, len(parts))
		for i := range parts {
			negated[i] = filter.Spec{Not: &parts[i]}
		}
		e := rapid.SampledFrom(events).Draw(t, "event")
		verdict := func(spec filter.Spec) filter.Verdict {
			f, err := filter.Parse(spec)
			require.NoError(t, err)
			return f.Filter(e)
		}
		passes := 0
		for _, part := range parts {
			if verdict(part) == filter.Pass {
				passes++
			}
		}
		want := map[bool]filter.Verdict{true: filter.Pass, false: filter.Fail}
		require.Equal(t, want[passes == len(parts)], verdict(filter.Spec{All: parts}))
		require.Equal(t, want[passes > 0], verdict(filter.Spec{Any: parts}))
		require.Equal(t, want[passes == 0], verdict(filter.Spec{All: negated}))
		require.Equal(t, want[passes < len(parts)], verdict(filter.Spec{Any: negated}))
	})
}

func TestVerdict_String(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Pass Fail NoFilter",
		filter.Pass.String()+" "+filter.Fail.String()+" "+filter.NoFilter.String())
	var zero filter.Verdict
	require.Equal(t, filter.Fail, zero, "the zero verdict must drop")
}

// TestFilter_NoAllocation holds the hot path to its promise. It is not
// parallel since it counts the allocations of the whole process.
func TestFilter_NoAllocation(t *testing.T) {
	e := reading(t)
	for _, spec := range []filter.Spec{
		{Exact: one("type", "com.example.climate")},
		{Exact: map[string]string{"region": "eu-west", "urgent": "true"}},
		{Prefix: one("subject", "hall/")},
		{Suffix: one("datamediatype", "json")},
	} {
		f := parse(t, spec)
		require.Zero(t, testing.AllocsPerRun(100, func() { f.Filter(e) }), "%+v", spec)
	}
}
