package ingest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/jsonscan"
)

// visits is what a walker makes of text: "path=value" for every scalar, the
// strings in quotes.
func visits(text []byte) ([]string, error) {
	got := []string{}
	w := walker{Scanner: jsonscan.New(text)}
	err := w.walk(func(path []byte, v scalar) {
		value := string(v.Raw)
		if v.Kind == jsonscan.String {
			value = fmt.Sprintf("%q", v.text())
		}
		got = append(got, string(path)+"="+value)
	})
	return got, err
}

func TestWalk_Paths(t *testing.T) {
	t.Parallel()
	f := func(text string, want ...string) {
		t.Helper()
		got, err := visits([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, append([]string{}, want...), got, text)
	}
	f(`{}`)
	f(` {"a": {}, "b": [ ]} `)
	f(`{"a":1,"b":true,"c":null,"d":"x\u0079"}`, `a=1`, `b=true`, `c=null`, `d="xy"`)
	f(`{"a":{"b":{"c":[1,[2,{"d":3}]]}},"e":4}`, `a/b/c/0=1`, `a/b/c/1/0=2`, `a/b/c/1/1/d=3`, `e=4`)
	f(`{"a/b":1,"a":{"b":2}}`, `a/b=1`, `a/b=2`)
	f(`{"":1,"a":{"":2}}`, `=1`, `a/=2`)
	f(`{"\u00e9":1,"é":2}`, `é=1`, `é=2`)
}

func TestWalk_Refuses(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		_, err := visits([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
	for _, text := range []string{`[1]`, `1`, `"a"`, ` null `} {
		_, err := visits([]byte(text))
		require.ErrorIs(t, err, errNoObject, text)
	}
	for _, text := range []string{``, ` `, `[1`, `{`, `{"a":[1`} {
		_, err := visits([]byte(text))
		require.ErrorIs(t, err, jsonscan.ErrEnd, text)
	}
	f(`[1}`, `want ',' or ']'`)
	f(`[1] x`, `want the end`)
	f(`{"a":1} x`, `want the end`)
	f(`{"a":[1 2]}`, `want ',' or ']'`)
	f(`{"a":[1],}`, `want a string`)
}

func TestWalk_FindsWhatIsNested(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		var want []string
		names := rapid.StringMatching(`[a-z]{1,3}`)
		var value func(path string, depth int) any
		members := func(path string, depth int) map[string]any {
			object := map[string]any{}
			for _, name := range slices.Sorted(maps.Keys(rapid.MapOfN(names, rapid.Just(0), 0, 3).Draw(r, "names"))) {
				object[name] = value(path+name, depth+1)
			}
			return object
		}
		value = func(path string, depth int) any {
			switch shape := rapid.IntRange(0, 3).Draw(r, "shape"); {
			case shape == 0 && depth < 4:
				return members(path+"/", depth)
			case shape == 1 && depth < 4:
				array := make([]any, rapid.IntRange(0, 3).Draw(r, "elements"))
				for i := range array {
					array[i] = value(fmt.Sprintf("%s/%d", path, i), depth+1)
				}
				return array
			}
			n := rapid.Int32().Draw(r, "number")
			want = append(want, fmt.Sprintf("%s=%d", path, n))
			return n
		}
		text, err := json.Marshal(members("", 0))
		require.NoError(r, err)
		got, err := visits(text)
		require.NoError(r, err)
		require.ElementsMatch(r, want, got, "%s", text)
	})
}

func TestParseFloat_IsStrconvs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Float64().Draw(t, "f")
		if math.IsNaN(want) || math.IsInf(want, 0) {
			want = 0
		}
		text, err := json.Marshal(want)
		require.NoError(t, err)
		require.Equal(t, math.Float64bits(want), math.Float64bits(parseFloat(text)), "%s", text)
	})
}
