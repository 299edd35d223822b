package render_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/render"
)

// values are those of data as JSON.
func values(t testing.TB, data ...string) render.Values {
	t.Helper()
	items := make([]any, len(data))
	for i, d := range data {
		require.NoError(t, json.Unmarshal([]byte(d), &items[i]))
	}
	v, err := render.New(items...)
	require.NoError(t, err)
	return v
}

func TestText(t *testing.T) {
	t.Parallel()
	v := values(t, `{"device":"a","value":1.5}`, `{"device":"<b>","value":2,"tags":["x","y"]}`)
	f := func(want, template string) {
		t.Helper()
		got, err := render.Text(template, v)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("plain", "plain")
	f("<b> 2.00", "{{.Data.device}} {{fixed 2 .Data.value}}")
	f("", "{{.Data.nothing}}")
	f("?", `{{.Data.nothing | default "?"}}`)
	f("2: a=1.5;<b>=2;", `{{.Count}}: {{range .Items}}{{.device}}={{.value}};{{end}}`)
	f("x-y X", `{{join .Data.tags "-"}} {{upper (index .Data.tags 0)}}`)
	f("hot", `{{if gt .Data.value 1.0}}hot{{else}}cold{{end}}`)
	f("0x1y", `{{range $i, $tag := .Data.tags}}{{$i}}{{$tag}}{{end}}`)
	got, err := render.HTML(`<a title="{{.Data.device}}">{{.Data.device}}</a>`, v)
	require.NoError(t, err)
	require.Equal(t, `<a title="&lt;b&gt;">&lt;b&gt;</a>`, got)
}

// What takes long or makes much is refused before it runs.
func TestText_Refuses(t *testing.T) {
	t.Parallel()
	v := values(t, `{"list":[1,2],"n":1000000000}`)
	for _, bad := range []string{
		"{{", "{{.Data.list.x.y}}", `{{printf "%999999d" 1}}`, `{{range 1000000000}}{{end}}`, `{{range len .Data.list}}{{end}}`, `{{$x := 1000000000}}{{range $x}}{{end}}`,
		`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`, `{{range .Data.list}}{{range $.Data.list}}{{range $.Data.list}}{{end}}{{end}}{{end}}`,
		`{{fixed 99 1.0}}`, `{{html "x"}}`, `{{if (print 1)}}{{end}}`, strings.Repeat("x", render.MaxTemplate+1), `{{range .Data.list}}{{$y := 1000000000}}{{range $y}}{{end}}{{end}}`,
		`{{with $x := 1000000000}}{{range .}}{{end}}{{end}}`, `{{with 1000000000}}{{range .}}{{end}}{{end}}`, `{{range .Data.list | default 1000000000}}{{end}}`, `{{with and 1 1000000000}}{{range .}}{{end}}{{end}}`,
	} {
		_, err := render.Text(bad, v)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%.80s", bad)
		_, err = render.HTML(bad, v)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%.80s", bad)
	}
	items := make([]any, render.MaxValues+1)
	_, err := render.New(items...)
	require.Equal(t, "TOO_MANY_VALUES", fault.ReasonOf(err))
	v = values(t, `{"list":[`+strings.Repeat("1,", 1000)+`1]}`)
	_, err = render.Text(`{{range .Data.list}}{{range $.Data.list}}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{{end}}{{end}}`, v)
	require.Equal(t, "TEMPLATE_FAILED", fault.ReasonOf(err))
}

// FuzzText: no template panics, or is loud.
func FuzzText(f *testing.F) {
	f.Add(`{{range .Items}}{{.a}}{{end}}`, `{"a":1}`)
	f.Add(`{{fixed 2 .Data.a | default 1}}`, `{"a":[1,{"b":null}]}`)
	f.Fuzz(func(t *testing.T, template, data string) {
		var v any
		if json.Unmarshal([]byte(data), &v) != nil {
			return
		}
		values, err := render.New(v)
		if err != nil {
			return
		}
		for _, fill := range []func(string, render.Values) (string, error){render.Text, render.HTML} {
			got, err := fill(template, values)
			require.LessOrEqual(t, len(got), render.MaxText)
			if err != nil {
				require.Equal(t, fault.Invalid, fault.KindOf(err))
			}
		}
	})
}
