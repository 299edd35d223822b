package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// filters is the table: filters lists in JSON, those that both sides accept and
// those that both refuse.
var filters = []string{
	// No filter.
	`[]`,
	// Exact.
	`[{"exact":{"type":"com.example.climate"}}]`,
	`[{"exact":{"type":"COM.EXAMPLE.CLIMATE"}}]`,
	`[{"exact":{"specversion":"1.0"}}]`,
	`[{"exact":{"specversion":"0.3"}}]`,
	`[{"exact":{"id":"1"}}]`,
	`[{"exact":{"source":"/devices/d"}}]`,
	`[{"exact":{"source":"https://example.com/a%20b?c=d#f"}}]`,
	`[{"exact":{"subject":"hall"}}]`,
	`[{"exact":{"subject":" "}}]`,
	`[{"exact":{"dataschema":"https://example.com/s.json"}}]`,
	`[{"exact":{"schemaurl":"https://example.com/s.json"}}]`,
	`[{"exact":{"datacontenttype":"application/json"}}]`,
	`[{"exact":{"datamediatype":"text/plain"}}]`,
	`[{"exact":{"datacontentencoding":"base64"}}]`,
	`[{"exact":{"datacontentencoding":"x"}}]`,
	`[{"exact":{"time":"2026-03-01T12:00:00Z"}}]`,
	`[{"exact":{"time":"2026-03-01T12:00:00.123456789Z"}}]`,
	`[{"exact":{"time":"2026-03-01T06:30:00-05:30"}}]`,
	`[{"exact":{"time":"0001-01-01T00:00:00Z"}}]`,
	`[{"exact":{"region":"eu-west"}}]`,
	`[{"exact":{"region":"<nil>"}}]`,
	`[{"exact":{"region":"[]"}}]`,
	`[{"exact":{"region":"2026-03-01T12:00:00Z"}}]`,
	`[{"exact":{"region":"2026-03-01T11:00:00Z"}}]`,
	`[{"exact":{"region":"https://example.com/a%20b?c=d"}}]`,
	`[{"exact":{"level":"5"}}]`,
	`[{"exact":{"level":"-2147483648"}}]`,
	`[{"exact":{"level":"[1 2 255]"}}]`,
	`[{"exact":{"level":"AQL/"}}]`,
	`[{"exact":{"urgent":"true"}}]`,
	`[{"exact":{"urgent":"false"}}]`,
	`[{"exact":{"nosuch":"x"}}]`,
	`[{"exact":{"region":"eu-west","level":"5"}}]`,
	`[{"exact":{"region":"eu-west","level":"6"}}]`,
	// Prefix.
	`[{"prefix":{"type":"com.example."}}]`,
	`[{"prefix":{"type":"Com."}}]`,
	`[{"prefix":{"source":"//selvedge.dev/projects/p/"}}]`,
	`[{"prefix":{"time":"2026-03"}}]`,
	`[{"prefix":{"time":"0001"}}]`,
	`[{"prefix":{"level":"-"}}]`,
	`[{"prefix":{"region":"{{https"}}]`,
	`[{"prefix":{"type":"com.","region":"eu"}}]`,
	// Suffix.
	`[{"suffix":{"type":".door"}}]`,
	`[{"suffix":{"source":"/d"}}]`,
	`[{"suffix":{"urgent":"e"}}]`,
	`[{"suffix":{"datacontenttype":"utf-8"}}]`,
	`[{"suffix":{"type":"climate","source":"/x"}}]`,
	// All, any, not.
	`[{"all":[{"exact":{"region":"eu-west"}}]}]`,
	`[{"all":[{"exact":{"region":"eu-west"}},{"exact":{"level":"5"}},{"prefix":{"type":"com."}}]}]`,
	`[{"all":[{"all":[{"exact":{"id":"1"}},{"exact":{"id":"1"}}]},{"any":[{"exact":{"id":"2"}},{"exact":{"id":"1"}}]}]}]`,
	`[{"any":[{"exact":{"type":"org.example.door"}},{"prefix":{"region":"EU"}}]}]`,
	`[{"any":[{"exact":{"type":"x"}},{"exact":{"type":"y"}}]}]`,
	`[{"not":{"exact":{"type":"com.example.climate"}}}]`,
	`[{"not":{"exact":{"nosuch":"x"}}}]`,
	`[{"not":{"not":{"prefix":{"type":"com."}}}}]`,
	`[{"not":{"any":[{"exact":{"region":"eu-west"}},{"cesql":"level > 4"}]}}]`,
	`[{"any":[{"all":[{"prefix":{"type":"com."}},{"not":{"suffix":{"source":"d"}}}]},{"cesql":"EXISTS subject"}]}]`,
	`[{"exact":{"type":"com.example.climate"}},{"not":{"exact":{"level":"5"}}}]`,
	`[{"prefix":{"type":"com."}},{"suffix":{"type":"climate"}},{"any":[{"exact":{"id":"1"}}]}]`,
	// CESQL.
	`[{"cesql":"TRUE"}]`,
	`[{"cesql":"FALSE"}]`,
	`[{"cesql":"type = 'com.example.climate'"}]`,
	`[{"cesql":"TYPE = \"com.example.climate\""}]`,
	`[{"cesql":"type <> 'com.example.climate'"}]`,
	`[{"cesql":"type LIKE 'com.%.climate'"}]`,
	`[{"cesql":"region like 'eu_west'"}]`,
	`[{"cesql":"region NOT LIKE '%50\\%\\_'"}]`,
	`[{"cesql":"region = 'it\\'s \"it\"\\\\'"}]`,
	`[{"cesql":"region IN ('eu-west', 'eu-east')"}]`,
	`[{"cesql":"level NOT IN (4, '5', TRUE)"}]`,
	`[{"cesql":"EXISTS region"}]`,
	`[{"cesql":"EXISTS time AND NOT EXISTS subject"}]`,
	`[{"cesql":"EXISTS Level"}]`,
	`[{"cesql":"level > 4"}]`,
	`[{"cesql":"level = '5'"}]`,
	`[{"cesql":"level + 1 = 6 OR level * -1 > 2147483646"}]`,
	`[{"cesql":"level / 0 = 1"}]`,
	`[{"cesql":"-level < 0"}]`,
	`[{"cesql":"urgent = TRUE"}]`,
	`[{"cesql":"NOT urgent"}]`,
	`[{"cesql":"urgent XOR FALSE"}]`,
	`[{"cesql":"BOOL(urgent)"}]`,
	`[{"cesql":"IS_BOOL(urgent) AND IS_INT(level)"}]`,
	`[{"cesql":"INT(level) % 2 = 1"}]`,
	`[{"cesql":"ABS(level) = 5"}]`,
	`[{"cesql":"INT(region) = 5"}]`,
	`[{"cesql":"STRING(level) = '5'"}]`,
	`[{"cesql":"LENGTH(TRIM(level)) = 1"}]`,
	`[{"cesql":"CONCAT(region, '/', type) = 'eu-west/com.example.climate'"}]`,
	`[{"cesql":"CONCAT_WS('-', 'eu', 'west') = region"}]`,
	`[{"cesql":"LOWER(region) = 'eu-west' AND UPPER(region) = 'EU-WEST'"}]`,
	`[{"cesql":"LEFT(region, 2) = 'eu' AND RIGHT(region, 4) = 'west'"}]`,
	`[{"cesql":"LEFT(region, -1) = ''"}]`,
	`[{"cesql":"SUBSTRING(region, 4) = 'west' OR SUBSTRING(region, -4, 2) = 'we'"}]`,
	`[{"cesql":"time = '2026-03-01T12:00:00Z'"}]`,
	`[{"cesql":"dataschema LIKE 'https://%'"}]`,
	`[{"cesql":"datacontenttype = 'application/json'"}]`,
	`[{"cesql":"specversion = '0.3'"}]`,
	`[{"cesql":"nosuch = 'x'"}]`,
	`[{"cesql":"nosuch = 'x' OR TRUE"}]`,
	`[{"cesql":"TRUE OR nosuch = 'x'"}]`,
	`[{"cesql":"NOSUCH(type) = 'x'"}]`,
	`[{"cesql":"ABS(1, 2) = 1"}]`,
	`[{"not":{"cesql":"level > 4"}}]`,
	`[{"not":{"cesql":"INT(region) = 5"}}]`,
	`[{"cesql":"((((level))) > (4))"}]`,
	// Refused by both.
	`[{"exact":{"Type":"x"}}]`,
	`[{"exact":{"1type":"x"}}]`,
	`[{"exact":{"my-ext":"x"}}]`,
	`[{"exact":{"":"x"}}]`,
	`[{"prefix":{"my_ext":"x"}}]`,
	`[{"suffix":{"é":"x"}}]`,
	`[{"exact":{"type":"x"},"prefix":{"type":"x"}}]`,
	`[{"exact":{"type":"x"},"cesql":"TRUE"}]`,
	`[{"all":[{"exact":{"type":"x"}}],"any":[{"exact":{"type":"x"}}]}]`,
	`[{"not":{"exact":{"type":"x"}},"suffix":{"type":"x"}}]`,
	`[{"not":{"exact":{"Type":"x"}}}]`,
	`[{"all":[{"any":[{"not":{"prefix":{"Type":"x"}}}]}]}]`,
	`[{"exact":{"type":"x"}},{"cesql":"type ="}]`,
	`[{"cesql":" "}]`,
	`[{"cesql":"type == 'x'"}]`,
	`[{"cesql":"type = 'x"}]`,
	`[{"cesql":"(type = 'x'"}]`,
	`[{"cesql":"type = 'x')"}]`,
	`[{"cesql":"type LIKE subject"}]`,
	`[{"cesql":"type IN ()"}]`,
	`[{"cesql":"level = 2147483648"}]`,
	`[{"cesql":"a.b = 'c'"}]`,
	`[{"cesql":"!(type = 'x')"}]`,
}

// TestFilters_Table compares every filter on every event.
func TestFilters_Table(t *testing.T) {
	t.Parallel()
	table := events()
	seen := map[outcome]int{}
	for _, text := range filters {
		specs := parseSpecs(t, text)
		theirs, our := newKnative(t, specs), newOurs(specs)
		for _, name := range names(table) {
			want := theirs.on(table[name])
			require.Equal(t, want, our.on(table[name]), "%s on event %q (%v)", text, name, our.err)
			seen[want]++
		}
		theirs.close()
	}
	t.Logf("%d filters on %d events: %v", len(filters), len(table), seen)
	require.NotZero(t, seen["Pass"])
	require.NotZero(t, seen["Fail"])
	require.NotZero(t, seen["NoFilter"])
	require.NotZero(t, seen[refused])
	require.Zero(t, seen[panics], "a filter that makes Knative panic is a difference: move it to difference_test.go")
}

// TestAttributes_Table compares the older filter.attributes map.
func TestAttributes_Table(t *testing.T) {
	t.Parallel()
	table := events()
	seen := map[outcome]int{}
	values := []string{"", "com.example.climate", "eu-west", "5", "true", "1.0", "1", "hall", "<nil>", "base64", "2026-03-01T12:00:00Z"}
	for _, name := range []string{
		"specversion", "type", "source", "subject", "id", "time", "dataschema", "schemaurl", "datacontenttype", "datamediatype",
		"datacontentencoding", "region", "level", "urgent", "nosuch", "Type", "my-ext",
	} {
		for _, value := range values {
			for _, entries := range []map[string]string{{name: value}, {name: value, "type": ""}, {name: value, "level": "5"}} {
				for _, on := range names(table) {
					theirs, our := attributesOutcomes(entries, table[on])
					require.Equal(t, theirs, our, "%v on event %q", entries, on)
					seen[our]++
				}
			}
		}
	}
	for _, entries := range []map[string]string{nil, {}} {
		theirs, our := attributesOutcomes(entries, made())
		require.Equal(t, theirs, our)
		seen[our]++
	}
	t.Logf("verdicts: %v", seen)
	require.Len(t, seen, 4, "Pass, Fail, NoFilter and refused must all have come up")
}
