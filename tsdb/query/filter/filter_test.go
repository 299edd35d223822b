package filter_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query/filter"
)

// climate is the series that the tests filter.
var climate = &tsdb.Series{
	Project: "p", Metric: "com.example.climate/temperature", Resource: "device",
	MetricLabels:   tsdb.Labels{{Name: "code", Value: "404"}, {Name: "empty", Value: ""}, {Name: "room", Value: "Living Room"}, {Name: "with.dot", Value: "w"}},
	ResourceLabels: tsdb.Labels{{Name: "device_id", Value: "d1"}, {Name: "project_id", Value: "p"}},
}

func TestMatch(t *testing.T) {
	t.Parallel()
	f := func(text string, want bool) {
		t.Helper()
		parsed, err := filter.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, parsed.Match(climate), text)
		again, err := filter.Parse(parsed.String())
		require.NoError(t, err, parsed.String())
		require.Equal(t, want, again.Match(climate), parsed.String())
	}
	f(``, true)
	f(`  `, true)
	// Fields.
	f(`project = "p"`, true)
	f(`project = "q"`, false)
	f(`metric.type = "com.example.climate/temperature"`, true)
	f(`metric.type = com.example.climate/temperature`, true)
	f(`metric.type="com.example.climate"`, false)
	f(`resource.type = device`, true)
	f(`resource.labels.device_id = "d1"`, true)
	f(`resource.label.device_id = 'd1'`, true)
	f(`resource.labels."device_id" = d1`, true)
	f(`metric.label."room"="Living Room"`, true)
	f(`metric.labels.device_id = "d1"`, false)
	f(`metric.labels.with.dot = w`, true)
	f(`metric.labels."with.dot" = w`, true)
	// = and != are opposites, also for a label that is not there.
	f(`resource.labels.device_id != "d1"`, false)
	f(`resource.labels.device_id != "d2"`, true)
	f(`metric.labels.none = ""`, true)
	f(`metric.labels.none != ""`, false)
	f(`metric.labels.none != "x"`, true)
	f(`metric.labels.room = "living room"`, false)
	// Functions.
	f(`metric.type = starts_with("com.example.")`, true)
	f(`metric.type = starts_with("example")`, false)
	f(`metric.type != starts_with("example")`, true)
	f(`metric.type = ends_with("/temperature")`, true)
	f(`metric.type = ends_with("com")`, false)
	f(`metric.labels.room = has_substring("ing Ro")`, true)
	f(`metric.labels.room = has_substring("ING")`, false)
	f(`resource.labels.device_id = one_of("d0", "d1")`, true)
	f(`resource.labels.device_id = one_of("d0")`, false)
	f(`resource.labels.device_id != one_of("d0","d2")`, true)
	f(`resource.labels.device_id = monitoring.regex.full_match("d[0-9]")`, true)
	f(`resource.labels.device_id = monitoring.regex.full_match("d")`, false)
	f(`resource.labels.device_id = monitoring.regex.full_match("x|d")`, false)
	f(`resource.labels.device_id = monitoring.regex.full_match("(?i)D\\d")`, true)
	f(`metric.labels.none = monitoring.regex.full_match(".*")`, true)
	// Has.
	f(`metric.labels.room:"living"`, true)
	f(`metric.labels.room:kitchen`, false)
	f(`metric.labels.room:*`, true)
	f(`metric.labels.room:"*"`, false)
	f(`metric.labels.empty:*`, true)
	f(`metric.labels.none:*`, false)
	f(`metric.labels:room`, true)
	f(`resource.label:"room"`, false)
	// Numbers are compared as numbers.
	f(`metric.labels.code >= 400 AND metric.labels.code < 500`, true)
	f(`metric.labels.code > 404`, false)
	f(`metric.labels.code <= "404.0"`, true)
	f(`metric.labels.code > 50`, true)
	f(`metric.labels.code > -1e3`, true)
	f(`metric.labels.room > 0`, false)
	f(`NOT metric.labels.room > 0`, true)
	f(`metric.labels.none < 1`, false)
	// Metadata are labels that no series has.
	f(`metadata.user_labels.team = "ops"`, false)
	f(`metadata.user_labels.team = ""`, true)
	f(`metadata.system_labels."machine type":*`, false)
	f(`metadata.user_label.team != "ops"`, true)
	f(`metadata.system_labels:x`, false)
	// Operators: NOT over OR over AND, and no operator is AND.
	f(`project=p AND resource.type=device`, true)
	f(`project=p resource.type=device`, true)
	f(`project=p resource.type=x`, false)
	f("project=p\n\tresource.type=device", true)
	f(`project=q OR resource.type=device`, true)
	f(`project=q AND resource.type=device OR resource.type=device`, false)
	f(`resource.type=device OR resource.type=device AND project=q`, false)
	f(`(project=q AND resource.type=device) OR resource.type=device`, true)
	f(`NOT project=q OR project=q`, true)
	f(`NOT (project=q OR project=p)`, false)
	f(`-project=q`, true)
	f(`- project=p`, false)
	f(`-(project=p)`, false)
	f(`NOT NOT project=p`, true)
	f(`NOT -project=p`, true)
	f(`project=p -resource.type=x NOT metric.type=x`, true)
	f(`((project=p))`, true)
}

func TestString(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		parsed, err := filter.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, parsed.String())
	}
	f("", "")
	f(`metric.type=x resource.label.device_id=d1`, `metric.type = "x" AND resource.labels.device_id = "d1"`)
	f(`project=a AND project=b OR project=c`, `project = "a" AND (project = "b" OR project = "c")`)
	f(`(project=a AND project=b) OR project=c`, `(project = "a" AND project = "b") OR project = "c"`)
	f(`project=a (project=b project=c) (project=d OR (project=e OR project=f))`,
		`project = "a" AND project = "b" AND project = "c" AND (project = "d" OR project = "e" OR project = "f")`)
	f(`-(project=a project=b)`, `NOT (project = "a" AND project = "b")`)
	f(`metric.labels:"a b"`, `metric.labels."a b":*`)
	f(`metric.label.x : '*'`, `metric.labels.x:"*"`)
	f(`project = one_of( "a" ,'b')`, `project = one_of("a", "b")`)
	f(`project = "a\"\\\n\té\u0041\u0001"`, `project = "a\"\\\u000a\u0009éA\u0001"`)
	f(`metric.label.code>=400 -metadata.user_label.a:"b"`, `metric.labels.code >= "400" AND NOT metadata.user_labels.a:"b"`)
	f(`metric.labels.9a=x`, `metric.labels."9a" = "x"`)
}

func TestMetric(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		parsed, err := filter.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, parsed.Metric())
	}
	f(``, "")
	f(`metric.type="a/b"`, "a/b")
	f(`resource.type=device (metric.type="a/b" AND metric.labels.x=y)`, "a/b")
	f(`metric.type="a" OR metric.type="b"`, "")
	f(`NOT metric.type="a"`, "")
	f(`metric.type!="a"`, "")
	f(`metric.type:"a"`, "")
	f(`metric.type=starts_with("a")`, "")
	f(`metric.labels.type="a"`, "")
}

func TestParse_Errors(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		_, err := filter.Parse(text)
		require.Error(t, err, text)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.ErrorContains(t, err, want)
	}
	f(`metric.type`, `at position 12: the end is unexpected after metric.type`)
	f(`metric.type =`, `at position 14: the end is unexpected, a value is missing`)
	f(`metric.type = AND`, `at position 15: "AND" is unexpected, a value is missing`)
	f(`metric.kind = GAUGE`, `at position 1: "metric.kind" is no field`)
	f(`metric.type = a and project = p`, `at position 17: "and" is unexpected here; a field is missing, and operators are upper case`)
	f(`project = p AND`, `at position 16: the end is unexpected, a field is missing`)
	f(`OR project = p`, `at position 1: "OR" is unexpected here`)
	f(`project = p OR AND project = p`, `at position 16: "AND" is unexpected here`)
	f(`(project = p`, `at position 13: the end is unexpected, ) is missing`)
	f(`project = p)`, `at position 12: ")" is unexpected here`)
	f(`()`, `at position 2: ")" is unexpected, a field is missing`)
	f(`"x" = p`, `at position 1: the string "x" is unexpected, a field is missing`)
	f(`project > 3`, `at position 9: ">" is unexpected after project, which is compared with =, != or :`)
	f(`metric.type >= 3`, `">=" is unexpected after metric.type`)
	f(`metric.labels.x > abc`, `at position 19: > compares numbers, and "abc" is none`)
	f(`metric.labels.x > inf`, `> compares numbers`)
	f(`metric.labels.x <= starts_with("1")`, `<= compares numbers`)
	f(`metric.labels.x =~ "1"`, `which is compared with =, !=, :, <, <=, > or >=`)
	f(`group.id = "g"`, `at position 1: "group.id" cannot be filtered by: there are no groups`)
	f(`metric.type = "a" AND group = "g"`, `there are no groups`)
	f(`metadata.labels.x = "g"`, `"metadata.labels.x" is no field`)
	f(`project =~ "x"`, `at position 9: "=~" is unexpected after project`)
	f(`project = "x`, `at position 11: the string without an end is unexpected`)
	f(`project = "\d"`, `at position 11: the escape \d is unexpected`)
	f(`project = "\ud800"`, `at position 11: the escape \u is unexpected`)
	f(`project = é$`, `at position 12: the character '$' is unexpected`)
	f(`metric.labels. = x`, `at position 16: a label's name is missing after metric.labels.`)
	f(`metric.labels. "x" = x`, `a label's name is missing`)
	f(`metric.labels."" = x`, `a label's name is missing`)
	f(`metric.labels = x`, `a . and a label's name or a : is missing`)
	f(`metric.labels:`, `a label's name is missing`)
	f(`project = begins_with("x")`, `at position 11: there is no function "begins_with"`)
	f(`project = starts_with(x)`, `at position 23: "x" is unexpected, starts_with takes quoted strings`)
	f(`project = starts_with()`, `takes quoted strings`)
	f(`project = starts_with("a", "b")`, `starts_with takes one string, not 2`)
	f(`project = one_of("a",)`, `takes quoted strings`)
	f(`project = one_of("a" "b")`, `, or ) is missing`)
	f(`project : starts_with("a")`, `a function is compared with = or !=`)
	f(`project = monitoring.regex.full_match("(")`, `at position 11: monitoring.regex.full_match: error parsing regexp`)
	f(`project = monitoring.regex.full_match("a)|(b")`, `error parsing regexp`)
	f("project = \"\xff\"", `not valid UTF-8`)
	f(strings.Repeat(" ", filter.MaxLength+1), `longer than`)
	_, err := filter.Parse(strings.Repeat("x", filter.MaxLength))
	require.Less(t, len(err.Error()), 500, "an error does not repeat all of a filter")
}

func TestParseField(t *testing.T) {
	t.Parallel()
	f := func(text, want, value string) {
		t.Helper()
		field, err := filter.ParseField(text)
		require.NoError(t, err)
		require.Equal(t, want, field.String())
		require.Equal(t, value, field.Of(climate))
	}
	f(`metric.type`, `metric.type`, climate.Metric)
	f(`resource.type`, `resource.type`, "device")
	f(`project`, `project`, "p")
	f(`metric.label."room"`, `metric.labels.room`, "Living Room")
	f(`resource.labels.device_id`, `resource.labels.device_id`, "d1")
	f(`metric.labels.none`, `metric.labels.none`, "")
	for _, text := range []string{``, `room`, `metric.labels`, `metric.labels.`, `metric.labels.a b`, `"metric.type"`, `metric.labels.a=b`} {
		_, err := filter.ParseField(text)
		require.Error(t, err, text)
	}
	label, ok := mustField(t, `metric.labels.a`).MetricLabel()
	require.True(t, ok)
	require.Equal(t, "a", label)
	_, ok = mustField(t, `metric.labels.a`).ResourceLabel()
	require.False(t, ok)
}

// mustField parses a field that is one.
func mustField(t *testing.T, text string) filter.Field {
	t.Helper()
	field, err := filter.ParseField(text)
	require.NoError(t, err)
	return field
}

func TestOnly(t *testing.T) {
	t.Parallel()
	f := func(text string, want bool) {
		t.Helper()
		parsed, err := filter.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, parsed.Only(func(f filter.Field) bool { return f == filter.MetricType() }))
	}
	f(``, true)
	f(`metric.type=a OR NOT metric.type=b`, true)
	f(`metric.type=a resource.type=b`, false)
	f(`metric.type=a OR (metric.type=b AND NOT resource.type=b)`, false)
}

// FuzzParse checks that parsing never panics, and that what parses prints
// itself in a form that parses into the same, and matches the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `metric.type = "a/b" AND resource.labels.device_id = one_of("d1", 'd2')`,
		`-(metric.label."x y":* OR NOT project!=p) resource.type = ends_with("e")`,
		`metric.labels.code >= 400.5 metadata.user_labels."a b" < "-1e3"`, `group.id = "g"`,
		`metric.labels:x`, `project = monitoring.regex.full_match("a.*\\d")`, `project="\u00e9\n"`, `((((`, `metric.labels."`, `a AND b`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := filter.Parse(text)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		canonical := parsed.String()
		if len(canonical) > filter.MaxLength {
			return
		}
		again, err := filter.Parse(canonical)
		require.NoError(t, err)
		require.Equal(t, canonical, again.String())
		require.Equal(t, parsed.Match(climate), again.Match(climate))
		require.Equal(t, parsed.Metric(), again.Metric())
	})
}
