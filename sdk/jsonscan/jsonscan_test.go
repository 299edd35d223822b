package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/jsonscan"
)

// tokens is what a descent through text finds, one line per bracket, name and
// scalar. Names and strings are in quotes.
func tokens(text []byte) ([]string, error) {
	s := jsonscan.New(text)
	var got []string
	add := func(token string) { got = append(got, token) }
	var value func() error
	value = func() error {
		switch c := s.Peek(); c {
		case '{':
			add("{")
			defer add("}")
			return s.Object(func(name []byte) error {
				add(fmt.Sprintf("%q:", name))
				return value()
			})
		case '[':
			add("[")
			defer add("]")
			return s.Array(value)
		}
		v, err := s.Scalar()
		switch {
		case err != nil:
			return err
		case v.Kind == jsonscan.String:
			add(fmt.Sprintf("string %q", jsonscan.Unquote(v.Raw)))
		default:
			add([...]string{"null", "bool", "number"}[v.Kind] + " " + string(v.Raw))
		}
		return nil
	}
	if err := value(); err != nil {
		return nil, err
	}
	return got, s.End()
}

// oracle is what tokens should say by encoding/json, and how deep the text,
// which must be valid, is nested.
func oracle(t require.TestingT, text []byte) (want []string, depth int) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	next := func() json.Token {
		tok, err := dec.Token()
		require.NoError(t, err, "%q", text)
		return tok
	}
	add := func(format string, v any) { want = append(want, fmt.Sprintf(format, v)) }
	var value func(level int)
	value = func(level int) {
		switch tok := next().(type) {
		case json.Delim:
			depth = max(depth, level)
			add("%s", tok)
			for dec.More() {
				if tok == '{' {
					add("%q:", next())
				}
				value(level + 1)
			}
			add("%s", next())
		case string:
			add("string %q", tok)
		case json.Number:
			add("number %s", tok)
		case bool:
			add("bool %t", tok)
		default:
			want = append(want, "null null")
		}
	}
	value(1)
	return want, depth
}

// check holds a descent through text, and Value, to encoding/json.
func check(t require.TestingT, text []byte) {
	got, err := tokens(text)
	s := jsonscan.New(text)
	value, skipped := s.Value()
	if skipped == nil {
		skipped = s.End()
	}
	if !json.Valid(text) {
		require.Error(t, err, "%q", text)
		require.Error(t, skipped, "%q", text)
		return
	}
	want, depth := oracle(t, text)
	if depth > jsonscan.MaxDepth {
		require.ErrorContains(t, err, "nested deeper", "%q", text)
		require.ErrorContains(t, skipped, "nested deeper", "%q", text)
		return
	}
	require.NoError(t, err, "%q", text)
	require.Equal(t, want, got, "%q", text)
	require.NoError(t, skipped, "%q", text)
	require.Equal(t, string(bytes.Trim(text, " \t\r\n")), string(value))
}

// texts are well and ill formed, some of them only just.
var texts = []string{
	`{}`, ` {"a" : 1 , "b":[ ] } `, `{"a":{"b":{"c":[1,[2,{"d":3}]]}}}`,
	`{"temperature":21.53,"wind":{"speed":3.4,"direction":271},"battery":{"volts":3.71,"low":false},"station":"north"}`,
	`{"a":0,"b":-0,"c":0.5,"d":1e3,"e":1E+3,"f":-1.25e-7,"g":123456789012345678901234567890,"h":1e400,"i":4.9e-324,"j":2e-400}`,
	`{"a":true,"b":false,"c":null,"d":"text"}`, `{"":1,"a":{"":2}}`, `{"a/b":1,"a":{"b":2}}`, `{"a":1,"a":2}`,
	`{"\u0041\n\"\\\/\b\f\r\t":1,"é":2,"\u00e9":3,"\ud83d\ude00":4,"\ud83d":5,"\ude00\ud83d":6,"\ud83dx":7,"\ud83d\u0041":8}`,
	"{\"\xff\":1,\"a\xc3\":2,\"\xe2\x82\":\"\xed\xa0\x80\"}",
	"[\"\x7f\"]", `[]`, `[1,2]`, `[[[]], -0.0e-1, "\ud800"]`, `1`, `"a"`, ` null`, `true `,
	``, ` `, `{`, `}`, `[`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{"a":1}}`, `{"a":1} x`, `[1`, `[1,]`, `[1] 2`, `[1 2]`,
	`{a:1}`, `{'a':1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":[1}`, `{"a":{1]}`, `{1:2}`, `{null:1}`,
	`{"a":01}`, `{"a":-}`, `{"a":+1}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":1e+}`, `{"a":0x1}`, `{"a":1_000}`, `{"a":NaN}`, `{"a":Infinity}`, `{"a":-Infinity}`,
	`{"a":tru}`, `{"a":True}`, `{"a":nul}`, `{"a":falsey}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12g4"}`, `{"a":"\`, `{"a":"`, "{\"a\":\"\n\"}", "{\"a\":\"\x00\"}", "{\"a\x00\":1}",
	"\ufeff{}", "{\"a\":1\v}", "{\"a\":1}\x00", "\x00",
	strings.Repeat(`{"a":`, 64) + `1` + strings.Repeat(`}`, 64), strings.Repeat(`{"a":`, 65) + `1` + strings.Repeat(`}`, 65),
	`[` + strings.Repeat(`[[],`, 63) + `1` + strings.Repeat(`]`, 64), `[` + strings.Repeat(`[[],`, 62) + `1` + strings.Repeat(`]`, 63),
	`{"a":` + strings.Repeat(`[`, 100_000), `{"a":` + strings.Repeat(`[`, 100_000) + strings.Repeat(`]`, 100_000) + `}`,
}

func TestScanner_AgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, text := range texts {
		check(t, []byte(text))
	}
}

func TestScanner_AgreesWithEncodingJSONOnDamagedText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.SampledFrom(texts[:15]).Draw(t, "text"))
		for range rapid.IntRange(1, 3).Draw(t, "damages") {
			i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
			text[i] = rapid.SampledFrom([]byte("{}[]\",:\\u0123456789abcdefEtrulsn.-+ \x00\x1f\x80\xff")).Draw(t, "byte")
		}
		check(t, text)
	})
}

func FuzzScanner(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { check(t, text) })
}

func TestScanner_SaysWhatItWanted(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		_, err := tokens([]byte(text))
		require.EqualError(t, err, want, text)
		s := jsonscan.New([]byte(text))
		if err = s.Skip(); err == nil {
			err = s.End()
		}
		require.EqualError(t, err, want, text)
	}
	f(`{"a": 01}`, `unexpected '1' in the JSON, want ',' or '}'`)
	f(`[1}`, `unexpected '}' in the JSON, want ',' or ']'`)
	f(`{"a" 1}`, `unexpected '1' in the JSON, want ':'`)
	f(`{1}`, `unexpected '1' in the JSON, want a string`)
	f(`{"a": x}`, `unexpected 'x' in the JSON, want a value`)
	f(`-x`, `unexpected 'x' in the JSON, want a digit`)
	f(`"\x"`, `unexpected 'x' in the JSON, want an escape`)
	f(`"\u12x"`, `unexpected 'x' in the JSON, want a hexadecimal digit`)
	f("\"\n\"", `unexpected '\n' in the JSON, want a character of a string`)
	f(`1 2`, `unexpected '2' in the JSON, want the end`)
	f(`{"a": `, `unexpected end of JSON, want a value`)
	f(strings.Repeat("[", 65), `JSON nested deeper than 64`)
}

func TestScanner_SaysThatTheTextEnds(t *testing.T) {
	t.Parallel()
	whole := `{"a\u00e9": [1.5, "b"]}`
	for i := range whole {
		_, err := tokens([]byte(whole[:i]))
		require.ErrorIs(t, err, jsonscan.ErrEnd, whole[:i])
	}
}

func TestScanner_WantsTheBracketThatIsAskedFor(t *testing.T) {
	t.Parallel()
	s := jsonscan.New([]byte(`[]`))
	err := s.Object(func([]byte) error { return nil })
	require.EqualError(t, err, `unexpected '[' in the JSON, want '{'`)
	s = jsonscan.New([]byte(` {}`))
	require.EqualError(t, s.Array(func() error { return nil }), `unexpected '{' in the JSON, want '['`)
}

func TestScanner_EndsWithTheErrorOfTheCaller(t *testing.T) {
	t.Parallel()
	stop, calls := errors.New("stop"), 0
	s := jsonscan.New([]byte(`{"a":1,"b":2}`))
	require.Equal(t, stop, s.Object(func([]byte) error { calls++; return stop }))
	s = jsonscan.New([]byte(`[1,2]`))
	require.Equal(t, stop, s.Array(func() error { calls++; return stop }))
	require.Equal(t, 2, calls)
}

func TestScanner_ConsumesOnlyWhatIsThere(t *testing.T) {
	t.Parallel()
	s := jsonscan.New([]byte(" ,\x00"))
	require.False(t, s.Consume(':'))
	require.True(t, s.Consume(','))
	require.True(t, s.Consume(0))
	require.Zero(t, s.Peek())
	require.False(t, s.Consume(0), "the end is no byte")
	require.NoError(t, s.End())
}

func TestScanner_BoundsDepthNotNumber(t *testing.T) {
	t.Parallel()
	check(t, []byte("["+strings.Repeat("[[]],", 100)+"{}]"))
}

func TestValue_IsPartOfTheText(t *testing.T) {
	t.Parallel()
	text := []byte(` [ {"a" : [1, 2]} , "x,]" ] `)
	s := jsonscan.New(text)
	var got []string
	require.NoError(t, s.Array(func() error {
		value, err := s.Value()
		got = append(got, string(value))
		require.Same(t, &text[bytes.Index(text, value)], &value[0])
		return err
	}))
	require.Equal(t, []string{`{"a" : [1, 2]}`, `"x,]"`}, got)
}

func TestSkip_CostsNoMemory(t *testing.T) {
	text := []byte(`{"\u00e9":[1,"\n",{"é":true}],"a":null}`)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		s := jsonscan.New(text)
		if s.Skip() != nil {
			t.Fail()
		}
	}))
}
