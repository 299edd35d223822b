package kubeapi

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/object"
)

// patched is what a patch makes of an object, or the error.
func patched(t testing.TB, media, from, patch string) (string, error) {
	t.Helper()
	o, err := object.Parse([]byte(from))
	require.NoError(t, err)
	apply, err := patcher(media, []byte(patch))
	if err != nil {
		return "", err
	}
	if o, err = apply(o); err != nil {
		return "", err
	}
	text, err := json.Marshal(o)
	return string(text), err
}

// The first cases are those of RFC 7386, appendix A, that leave an object.
func TestPatch_Merge(t *testing.T) {
	t.Parallel()
	f := func(from, patch, want string) {
		t.Helper()
		got, err := patched(t, "application/merge-patch+json", from, patch)
		require.NoError(t, err)
		require.JSONEq(t, want, got)
	}
	f(`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`)
	f(`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`)
	f(`{"a":"b"}`, `{"a":null}`, `{}`)
	f(`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`)
	f(`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`)
	f(`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`)
	f(`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`)
	f(`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`)
	f(`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`)
	f(`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`)
}

func TestPatch_Strategic(t *testing.T) {
	t.Parallel()
	f := func(from, patch, want string) {
		t.Helper()
		got, err := patched(t, "application/strategic-merge-patch+json", from, patch)
		require.NoError(t, err)
		require.JSONEq(t, want, got)
	}
	f(`{"env":[{"name":"a","value":"1"},{"name":"b","value":"2"}]}`, `{"env":[{"name":"b","value":"3"},{"name":"c","value":"4"}]}`,
		`{"env":[{"name":"a","value":"1"},{"name":"b","value":"3"},{"name":"c","value":"4"}]}`)
	f(`{"env":[{"name":"a"},{"name":"b"}]}`, `{"$setElementOrder/env":[{"name":"b"}],"env":[{"$patch":"delete","name":"a"}]}`, `{"env":[{"name":"b"}]}`)
	f(`{"list":[1,2]}`, `{"list":[3]}`, `{"list":[3]}`)
	f(`{"finalizers":["a","b"]}`, `{"$deleteFromPrimitiveList/finalizers":["a"]}`, `{"finalizers":["b"]}`)
	f(`{"a":{"x":1,"y":2}}`, `{"a":{"$patch":"replace","z":3}}`, `{"a":{"z":3}}`)
	f(`{"a":{"x":1,"y":2}}`, `{"a":{"$retainKeys":["x"],"x":4}}`, `{"a":{"x":4}}`)
	_, err := patched(t, "application/strategic-merge-patch+json", `{}`, `{"a":{"$patch":"what"}}`)
	require.Error(t, err)
	_, err = patched(t, "application/strategic-merge-patch+json", `{}`, `{"env":["a"]}`)
	require.Error(t, err)
}

// The cases are those of RFC 6902, appendix A, in an object.
func TestPatch_JSON(t *testing.T) {
	t.Parallel()
	f := func(from, patch, want string) {
		t.Helper()
		got, err := patched(t, "application/json-patch+json", from, patch)
		if want == "" {
			require.Error(t, err, patch)
			return
		}
		require.NoError(t, err, patch)
		require.JSONEq(t, want, got)
	}
	f(`{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux"}]`, `{"baz":"qux","foo":"bar"}`)
	f(`{"foo":["bar","baz"]}`, `[{"op":"add","path":"/foo/1","value":"qux"}]`, `{"foo":["bar","qux","baz"]}`)
	f(`{"baz":"qux","foo":"bar"}`, `[{"op":"remove","path":"/baz"}]`, `{"foo":"bar"}`)
	f(`{"foo":["bar","qux","baz"]}`, `[{"op":"remove","path":"/foo/1"}]`, `{"foo":["bar","baz"]}`)
	f(`{"baz":"qux"}`, `[{"op":"replace","path":"/baz","value":"boo"}]`, `{"baz":"boo"}`)
	f(`{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}`, `[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]`, `{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}`)
	f(`{"foo":["all","grass","cows","eat"]}`, `[{"op":"move","from":"/foo/1","path":"/foo/3"}]`, `{"foo":["all","cows","eat","grass"]}`)
	f(`{"baz":"qux","foo":["a",2,"c"]}`, `[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]`, `{"baz":"qux","foo":["a",2,"c"]}`)
	f(`{"baz":"qux"}`, `[{"op":"test","path":"/baz","value":"bar"}]`, ``)
	f(`{"foo":"bar"}`, `[{"op":"add","path":"/child","value":{"grandchild":{}}}]`, `{"foo":"bar","child":{"grandchild":{}}}`)
	f(`{"foo":"bar"}`, `[{"op":"add","path":"/baz/bat","value":"qux"}]`, ``)
	f(`{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":10}]`, `{"/":9,"~1":10}`)
	f(`{"foo":["bar"]}`, `[{"op":"add","path":"/foo/-","value":["abc","def"]}]`, `{"foo":["bar",["abc","def"]]}`)
	f(`{"foo":["bar"]}`, `[{"op":"copy","from":"/foo","path":"/baz"}]`, `{"foo":["bar"],"baz":["bar"]}`)
	f(`{"a":1}`, `[{"op":"remove","path":"/b"}]`, ``)
	f(`{"a":1}`, `[{"op":"replace","path":"/b","value":1}]`, ``)
	f(`{"a":[1]}`, `[{"op":"replace","path":"/a/1","value":1}]`, ``)
	f(`{"a":1}`, `[{"op":"add","path":"/b"}]`, ``)
	f(`{"a":1}`, `[{"op":"what","path":"/b"}]`, ``)
	f(`{"a":1}`, `[{"op":"add","path":"b","value":1}]`, ``)
	f(`{"a":1}`, `[{"op":"add","path":"","value":[]}]`, ``)
	f(`{"a":1}`, `{}`, ``)
}

func FuzzPatch(f *testing.F) {
	f.Add(`[{"op":"add","path":"/a/0/-","value":1}]`, `{"a":[[]]}`)
	f.Add(`[{"op":"move","from":"/a","path":"/a/b"}]`, `{"a":{}}`)
	f.Add(`{"$patch":"delete","a":[{"name":1}]}`, `{"a":null}`)
	f.Add(`{"env":[{}],"$deleteFromPrimitiveList/x":1}`, `{"env":[null]}`)
	f.Fuzz(func(t *testing.T, patch, from string) {
		o, err := object.Parse([]byte(from))
		if err != nil || o == nil {
			return
		}
		for _, media := range []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"} {
			if apply, err := patcher(media, []byte(patch)); err == nil {
				_, _ = apply(o.Clone())
			}
		}
	})
}

func FuzzProtobuf(f *testing.F) {
	f.Add([]byte("k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if o, err := parseProtobuf(data); err == nil {
			require.NotEmpty(t, o.KindName())
		}
	})
}
