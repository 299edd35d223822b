package filter_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/filter"
)

// sentences are the decisive clauses of an explanation and why they are.
func sentences(x filter.Explanation) string {
	var out []string
	for _, d := range x.Decisive() {
		out = append(out, d.Clause+": "+d.Why)
	}
	return strings.Join(out, " | ")
}

func TestExplain_EveryDialect(t *testing.T) {
	t.Parallel()
	full := reading(t)
	f := func(spec filter.Spec, passed bool, want string) {
		t.Helper()
		x := filter.Explain(parse(t, spec), full)
		require.Equal(t, passed, x.Passed)
		require.Equal(t, want, sentences(x))
	}
	climate, door := filter.Spec{Exact: one("type", "com.example.climate")}, filter.Spec{Exact: one("type", "door")}
	f(climate, true, `exact type "com.example.climate": type is "com.example.climate"`)
	f(door, false, `exact type "door": type is "com.example.climate"`)
	f(filter.Spec{Prefix: one("subject", "hall")}, true, `prefix subject "hall": subject is "hall/north"`)
	f(filter.Spec{Suffix: one("site", "x")}, false, `suffix site "x": the event has no attribute site`)
	f(filter.Spec{Exact: map[string]string{"type": "com.example.climate", "region": "us"}}, false,
		`exact region "us": region is "eu-west"`)
	f(filter.Spec{All: []filter.Spec{climate, door}}, false, `exact type "door": type is "com.example.climate"`)
	f(filter.Spec{Any: []filter.Spec{climate, door}}, true, `exact type "com.example.climate": type is "com.example.climate"`)
	f(filter.Spec{Not: &climate}, false, `exact type "com.example.climate": type is "com.example.climate"`)

	f(filter.Spec{CESQL: "level > 4"}, true, `level > 4: true; level is "5"`)
	f(filter.Spec{CESQL: "type = 'x' AND (level > 4 OR EXISTS region)"}, false, `type = 'x': false; type is "com.example.climate"`)
	f(filter.Spec{CESQL: "region LIKE 'us%' OR level = 6"}, false, `region LIKE 'us%': false; region is "eu-west" | level = 6: false; level is "5"`)
	f(filter.Spec{CESQL: "NOT (level = 5)"}, false, `level = 5: true; level is "5"`)
	f(filter.Spec{CESQL: "level"}, false, `level: 5, which is not a boolean; level is "5"`)

	x := filter.Explain(parse(t, filter.Spec{CESQL: "site = 'a'"}), full)
	require.Contains(t, x.Why, "cannot be evaluated")
	require.Contains(t, x.Why, "the event has no attribute site")
	require.Equal(t, "site", x.Attribute)
	require.Nil(t, x.Have)
}

func TestExplain_OlderAttributesAndNone(t *testing.T) {
	t.Parallel()
	full := reading(t)
	f := func(entries map[string]string, passed bool, want string) {
		t.Helper()
		parsed, err := filter.ParseAttributes(entries)
		require.NoError(t, err)
		x := filter.Explain(parsed, full)
		require.Equal(t, passed, x.Passed)
		require.Equal(t, want, sentences(x))
	}
	f(nil, true, "no filter: the trigger has no filter")
	f(one("region", ""), true, `attribute region, any value: region is "eu-west"`)
	f(one("region", "us"), false, `attribute region "us": region is "eu-west"`)
	f(one("site", ""), false, `attribute site, any value: the event has no attribute site`)
	f(one("level", "5"), false, `attribute level "5": level is not a string, and the older filter.attributes match strings only`)
	f(map[string]string{"region": "us", "type": ""}, false, `attribute region "us": region is "eu-west"`)
	f(map[string]string{}, true, `attributes: `)
}

// The verdict of an explanation is that of the filter, whatever the filter.
func TestExplain_SameVerdict(t *testing.T) {
	t.Parallel()
	events := []*event.Event{reading(t), bare()}
	leaf := rapid.SampledFrom([]filter.Spec{
		{Exact: one("type", "com.example.climate")},
		{Prefix: one("type", "com.")},
		{Suffix: one("subject", "north")},
		{Exact: map[string]string{"type": "com.example.door", "id": "8"}},
		{CESQL: "level > 4 AND NOT urgent"},
		{CESQL: "site = 'x' OR type LIKE '%door'"},
		{CESQL: "TRUE XOR (level = 5)"},
		{CESQL: "SUBSTRING(type, -100) = ''"},
		{CESQL: "NOT EXISTS level"},
		{CESQL: "id IN ('7', '8')"},
	})
	var spec func(depth int) *rapid.Generator[filter.Spec]
	spec = func(depth int) *rapid.Generator[filter.Spec] {
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf,
			rapid.Map(rapid.SliceOfN(spec(depth-1), 1, 3), func(s []filter.Spec) filter.Spec { return filter.Spec{All: s} }),
			rapid.Map(rapid.SliceOfN(spec(depth-1), 1, 3), func(s []filter.Spec) filter.Spec { return filter.Spec{Any: s} }),
			rapid.Map(spec(depth-1), func(s filter.Spec) filter.Spec { return filter.Spec{Not: &s} }))
	}
	rapid.Check(t, func(t *rapid.T) {
		f, err := filter.Parse(spec(3).Draw(t, "spec"))
		require.NoError(t, err)
		e := rapid.SampledFrom(events).Draw(t, "event")
		x := filter.Explain(f, e)
		require.Equal(t, f.Filter(e) != filter.Fail, x.Passed)
		require.NotEmpty(t, x.Decisive())
	})
}

// An expression of thousands of parts is explained in no time, as a whole.
func TestExplain_IsBounded(t *testing.T) {
	t.Parallel()
	f := func(text string, most int) {
		t.Helper()
		x := filter.Explain(parse(t, filter.Spec{CESQL: text}), reading(t))
		require.True(t, x.Passed)
		require.LessOrEqual(t, len(x.Decisive()), most)
		require.NotEmpty(t, sentences(x))
	}
	f("level = 5"+strings.Repeat(" AND level = 5", 1000), 1)
	f("level = 5"+strings.Repeat(" AND level = 5", 130), 101)
	f(strings.Repeat("NOT ", 400)+"(level = 5)", 1)
}
