package filter_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/filter"
)

// refused asserts that err is fault.Invalid and names the path.
func refused(t *testing.T, err error, path string) {
	t.Helper()
	require.Error(t, err)
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, fault.Invalid, e.Kind)
	require.Equal(t, path, e.Field)
	require.Contains(t, err.Error(), path)
}

func TestParseAll_Refuses(t *testing.T) {
	t.Parallel()
	good := `{"exact":{"type":"t"}}`
	f := func(list, path string) {
		t.Helper()
		var specs []filter.Spec
		require.NoError(t, json.Unmarshal([]byte(list), &specs))
		parsed, err := filter.ParseAll(specs)
		require.Nil(t, parsed)
		refused(t, err, path)
	}
	f(`[{}]`, "filters[0]")
	f(`[`+good+`,{}]`, "filters[1]")
	f(`[{"all":[]}]`, "filters[0]")
	f(`[{"exact":{}}]`, "filters[0]")
	f(`[{"cesql":""}]`, "filters[0]")
	f(`[{"exact":{"type":"t"},"cesql":"TRUE"}]`, "filters[0]")
	f(`[{"not":`+good+`,"any":[`+good+`]}]`, "filters[0]")
	f(`[{"exact":{"type":""}}]`, "filters[0].exact.type")
	f(`[{"prefix":{"type":""}}]`, "filters[0].prefix.type")
	f(`[{"suffix":{"a":"x","type":""}}]`, "filters[0].suffix.type")
	f(`[{"exact":{"Type":"t"}}]`, "filters[0].exact")
	f(`[{"exact":{"":"t"}}]`, "filters[0].exact")
	f(`[{"exact":{"1a":"t"}}]`, "filters[0].exact")
	f(`[{"exact":{"my-ext":"t"}}]`, "filters[0].exact")
	f(`[{"exact":{"my_ext":"t"}}]`, "filters[0].exact")
	f(`[{"exact":{"é":"t"}}]`, "filters[0].exact")
	f(`[`+good+`,`+good+`,{"not":{"cesql":"type ="}}]`, "filters[2].not.cesql")
	f(`[{"not":{}}]`, "filters[0].not")
	f(`[{"all":[`+good+`,{"any":[`+good+`,{"prefix":{"A":"b"}}]}]}]`, "filters[0].all[1].any[1].prefix")
}

func TestParse_RefusesCESQL(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		" ", "(", ")", "type =", "1 +", "type = 'a", `type = "a\"`, "type == 'a'", "'a' LIKE type", "a.b = 'c'", "type IN ()",
		"99999999999 = 1", "type = 'a' type = 'b'",
		// Characters that the library's parser would skip.
		"$type = 'a'", "type = 'a' #", "_type = 'a'", "type = 'a' ~", "!(type = 'a')", "typé = 'a'", "type = 'a';",
		"((type = 'a')", "type = 'a')", "TRUE" + strings.Repeat(" AND TRUE", 2000),
	} {
		parsed, err := filter.Parse(filter.Spec{CESQL: text})
		require.Nil(t, parsed, text)
		refused(t, err, "cesql")
	}
}

func TestParseAttributes_Refuses(t *testing.T) {
	t.Parallel()
	_, err := filter.ParseAttributes(one("Type", "t"))
	refused(t, err, "filter.attributes")
}

// FuzzParse feeds elements as JSON: whatever is accepted must answer without a
// panic, and nothing else than fault.Invalid may come back.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"exact":{"type":"t"}}`, `{"not":{"prefix":{"a1":"b"}}}`, `{"cesql":"level + 1 > 4 OR NOT EXISTS x"}`,
		`{"all":[{"cesql":"SUBSTRING(type, 2, -5) LIKE '%'"},{"any":[{"suffix":{"id":"7"}}]}]}`, `{"cesql":"$type='a'"}`,
	} {
		f.Add([]byte(seed))
	}
	e := reading(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		var spec filter.Spec
		if json.Unmarshal(text, &spec) != nil {
			return
		}
		parsed, err := filter.Parse(spec)
		if err != nil {
			require.Nil(t, parsed)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		require.Contains(t, []filter.Verdict{filter.Pass, filter.Fail}, parsed.Filter(e))
		require.Equal(t, parsed.Filter(e) == filter.Pass, filter.Explain(parsed, e).Passed)
	})
}

// FuzzCESQL feeds expressions.
func FuzzCESQL(f *testing.F) {
	for _, seed := range []string{
		"type = 'a' AND level > 2", "LEFT(type, -1) = ''", "-(-2147483648) < 0", "CONCAT_WS(',', id, source) LIKE '_%\\%'",
		"region IN ('a', \"b\\\"\", 'c''')", "ABS(INT('-5')) % 3 <> 1 XOR urgent", "((((", "!a",
	} {
		f.Add(seed)
	}
	e := reading(f)
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := filter.Parse(filter.Spec{CESQL: text})
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		require.NotEqual(t, filter.NoFilter, parsed.Filter(e))
		require.Equal(t, parsed.Filter(e) == filter.Pass, filter.Explain(parsed, e).Passed)
	})
}
