package object_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/object"
)

// parse is an object from JSON.
func parse(t testing.TB, text string) object.Object {
	t.Helper()
	o, err := object.Parse([]byte(text))
	require.NoError(t, err)
	return o
}

func TestParse_KeepsNumbers(t *testing.T) {
	t.Parallel()
	o := parse(t, `{"spec":{"big":9007199254740993,"fraction":1.50}}`)
	again, err := object.From(o)
	require.NoError(t, err)
	require.True(t, object.Same(o, again))
	require.EqualValues(t, 9007199254740993, o.Int("spec", "big"))
	for _, bad := range []string{``, `[]`, `{`, `{} {}`, `null x`, `"a"`} {
		_, err := object.Parse([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestObject_CloneIsApart(t *testing.T) {
	t.Parallel()
	o := parse(t, `{"a":{"b":[{"c":"1"}]}}`)
	c := o.Clone()
	o.Get("a", "b").([]any)[0].(map[string]any)["c"] = "2"
	require.JSONEq(t, `{"a":{"b":[{"c":"1"}]}}`, text(t, c))
	require.Nil(t, object.Object(nil).Clone())
}

// text is an object as JSON.
func text(t testing.TB, o object.Object) string {
	t.Helper()
	var s jsonText
	require.NoError(t, object.Object{"o": o}.Into(&s))
	return string(s.O)
}

// jsonText takes the JSON of a field.
type jsonText struct{ O rawJSON }

// rawJSON is JSON as it is written.
type rawJSON []byte

// UnmarshalJSON implements json.Unmarshaler.
func (r *rawJSON) UnmarshalJSON(b []byte) error { *r = append((*r)[:0], b...); return nil }

func TestObject_SetMakesTheWay(t *testing.T) {
	t.Parallel()
	o := object.Object{}
	o.Set("v", "a", "b", "c")
	o.Set("w", "a", "d")
	o.Unset("a", "b", "c")
	o.Unset("x", "y")
	require.JSONEq(t, `{"a":{"b":{},"d":"w"}}`, text(t, o))
	require.Empty(t, o.Text("a", "d", "e"))
	require.Zero(t, o.Int("a"))
}

func TestObject_ConditionsKeepTheirTime(t *testing.T) {
	t.Parallel()
	o := object.Object{}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	o.SetConditions(at, object.Condition{Type: "Ready", Status: "Unknown"}, object.Condition{Type: "A", Status: "True"})
	o.SetConditions(at.Add(time.Minute), object.Condition{Type: "Ready", Status: "False", Reason: "No", Message: "no"}, object.Condition{Type: "A", Status: "True"})
	require.Equal(t, object.Condition{Type: "Ready", Status: "False", Reason: "No", Message: "no", LastTransitionTime: "2026-01-02T03:05:05Z"}, o.Condition("Ready"))
	require.Equal(t, "2026-01-02T03:04:05Z", o.Condition("A").LastTransitionTime)
	require.Equal(t, object.Condition{Type: "B"}, o.Condition("B"))
	list, ok := o.Get("status", "conditions").([]any)
	require.True(t, ok)
	require.Len(t, list, 2)
}

func TestSelector(t *testing.T) {
	t.Parallel()
	o := parse(t, `{"metadata":{"name":"a","labels":{"app":"x","tier":"front","a.b/c":""}},"status":{"phase":"Running","n":3}}`)
	f := func(labels, fields string, want bool) {
		t.Helper()
		s, err := object.ParseSelector(labels, fields)
		require.NoError(t, err, labels)
		require.Equal(t, want, s.Matches(o), "%s %s", labels, fields)
	}
	f("", "", true)
	f("app=x", "", true)
	f("app==x,tier=front", "", true)
	f("app=y", "", false)
	f("app!=y,other!=x", "", true)
	f("app in (x, y),tier notin (back)", "", true)
	f("app in (y)", "", false)
	f("other notin (y)", "", true)
	f("a.b/c", "", true)
	f("a.b/c=", "", true)
	f("!app", "", false)
	f("!other", "", true)
	f("other", "", false)
	f("", "metadata.name=a,status.phase!=Pending", true)
	f("", "metadata.name=b", false)
	f("", "status.n=3", true)
	f("", "spec.none=", true)
	for _, bad := range []string{"=x", "a=b=c", "a b", "a,,b", "a in x", "!", "(a)", "a=(b)"} {
		_, err := object.ParseSelector(bad, "")
		require.Error(t, err, bad)
	}
	_, err := object.ParseSelector("", "metadata.name in (a)")
	require.Error(t, err)
}

func FuzzParseSelector(f *testing.F) {
	for _, seed := range []string{"app=x,tier in (a,b)", "!a", "a!=b", "a in (", ")", "a,b,", "x=y=z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := object.ParseSelector(text, "")
		if err == nil {
			s.Matches(object.Object{})
		}
		if s, err = object.ParseSelector("", text); err == nil {
			s.Matches(object.Object{"metadata": map[string]any{"name": "a"}})
		}
	})
}
