package ingest

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// visited is a scalar with its path, as text.
type visited struct{ path, kind, text string }

// scan is what a walker makes of text.
func scan(data []byte) ([]visited, error) {
	var got []visited
	w := walker{scanner: scanner{text: data}}
	err := w.walk(func(path []byte, v scalar) {
		s := visited{path: string(path), kind: [...]string{"null", "bool", "number", "text"}[v.kind], text: string(v.raw)}
		switch v.kind {
		case kindText:
			s.text = string(unquote(v.raw))
		case kindNumber:
			s.text = strconv.FormatFloat(v.value().number, 'g', -1, 64)
		}
		got = append(got, s)
	})
	return got, err
}

// oracle is what encoding/json says that scan should say; ok is false when it
// refuses the text or the text is no object.
func oracle(data []byte) (want []visited, depth int, ok bool) {
	if !json.Valid(data) {
		return nil, 0, false
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var value func(path string, level int) bool
	value = func(path string, level int) bool {
		tok, err := dec.Token()
		if err != nil {
			return false
		}
		leaf := func(kind, text string) bool {
			want = append(want, visited{path, kind, text})
			return level > 0
		}
		switch tok := tok.(type) {
		case json.Delim:
			depth = max(depth, level+1)
			for i := 0; dec.More(); i++ {
				name := strconv.Itoa(i)
				if tok == '{' {
					key, err := dec.Token()
					if err != nil {
						return false
					}
					name = key.(string)
				}
				if level > 0 {
					name = path + "/" + name
				}
				value(name, level+1)
			}
			_, err := dec.Token()
			return err == nil && (level > 0 || tok == '{')
		case string:
			return leaf("text", tok)
		case json.Number:
			f, _ := strconv.ParseFloat(string(tok), 64)
			return leaf("number", strconv.FormatFloat(f, 'g', -1, 64))
		case bool:
			return leaf("bool", strconv.FormatBool(tok))
		}
		return leaf("null", "null")
	}
	ok = value("", 0)
	return want, depth, ok
}

// check compares scan with the oracle.
func check(t require.TestingT, data []byte) {
	got, err := scan(data)
	want, depth, ok := oracle(data)
	if !ok || depth > maxDepth {
		require.Error(t, err, "%q", data)
		return
	}
	require.NoError(t, err, "%q", data)
	require.Equal(t, want, got, "%q", data)
}

// texts are well and ill formed, some of them only just.
var texts = []string{
	`{}`, ` {"a" : 1 , "b":[ ] } `, `{"a":{"b":{"c":[1,[2,{"d":3}]]}}}`,
	`{"temperature":21.53,"wind":{"speed":3.4,"direction":271},"battery":{"volts":3.71,"low":false},"station":"north"}`,
	`{"a":0,"b":-0,"c":0.5,"d":1e3,"e":1E+3,"f":-1.25e-7,"g":123456789012345678901234567890,"h":1e400,"i":4.9e-324,"j":2e-400}`,
	`{"a":true,"b":false,"c":null,"d":"text"}`, `{"":1,"a":{"":2}}`, `{"a/b":1,"a":{"b":2}}`, `{"a":1,"a":2}`,
	`{"\u0041\n\"\\\/\b\f\r\t":1,"é":2,"\u00e9":3,"\ud83d\ude00":4,"\ud83d":5,"\ude00\ud83d":6,"\ud83dx":7,"\ud83d\u0041":8}`,
	"{\"\xff\":1,\"a\xc3\":2,\"\xe2\x82\":\"\xed\xa0\x80\"}", "{\"a\":\"\x7f\"}",
	`[]`, `[1,2]`, `1`, `"a"`, `null`, `true`, ``, ` `, `{`, `}`, `[`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{"a":1}}`, `{"a":1} x`,
	`{a:1}`, `{'a':1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":[1}`, `{"a":{1]}`, `{1:2}`, `{null:1}`,
	`{"a":01}`, `{"a":-}`, `{"a":+1}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":1e+}`, `{"a":0x1}`, `{"a":1_000}`, `{"a":NaN}`, `{"a":Infinity}`, `{"a":-Infinity}`,
	`{"a":tru}`, `{"a":True}`, `{"a":nul}`, `{"a":falsey}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12g4"}`, `{"a":"\`, `{"a":"`, "{\"a\":\"\n\"}", "{\"a\":\"\x00\"}", "{\"a\x00\":1}",
	"\ufeff{}", "{\"a\":1\v}", "{\"a\":1}\x00", "\x00",
	strings.Repeat(`{"a":`, 64) + `1` + strings.Repeat(`}`, 64), strings.Repeat(`{"a":`, 65) + `1` + strings.Repeat(`}`, 65),
	`{"a":` + strings.Repeat(`[`, 100_000), `{"a":` + strings.Repeat(`[`, 100_000) + strings.Repeat(`]`, 100_000) + `}`,
}

func TestWalk_AgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, text := range texts {
		check(t, []byte(text))
	}
}

func TestWalk_AgreesWithEncodingJSONOnDamagedText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.SampledFrom(texts[:11]).Draw(t, "text"))
		for range rapid.IntRange(1, 3).Draw(t, "damages") {
			i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
			text[i] = rapid.SampledFrom([]byte("{}[]\",:\\u0123456789abcdefEtrulsn.-+ \x00\x1f\x80\xff")).Draw(t, "byte")
		}
		check(t, text)
	})
}

func FuzzWalk(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) { check(t, data) })
}

func TestWalk_NamesThePlaceOfAnError(t *testing.T) {
	t.Parallel()
	_, err := scan([]byte(`{"a": 01}`))
	require.EqualError(t, err, `unexpected '1' at byte 7 of the JSON, want ',' or '}'`)
	_, err = scan([]byte(`{"a": `))
	require.EqualError(t, err, `unexpected end of JSON, want a value`)
	_, err = scan([]byte(`[1]`))
	require.ErrorIs(t, err, errNoObject)
	_, err = scan([]byte(`[1`))
	require.ErrorIs(t, err, errEnd)
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

func TestUnquote_LeavesPlainTextWhereItIs(t *testing.T) {
	t.Parallel()
	raw := []byte("temperature")
	require.Same(t, &raw[0], &unquote(raw)[0])
}
