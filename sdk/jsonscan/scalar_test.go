package jsonscan_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/jsonscan"
)

// numbers are numbers in JSON, and what is almost one.
var numbers = []string{
	"0", "-0", "12", "-1.5e+3", "1E-7", "0.0", "1e400", "123456789012345678901234567890",
	"", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x1", "1_000", " 1", "1 ", "1,", "NaN", "Infinity", "null", "true", `"1"`, "[1]",
}

// checkNumber holds IsNumber to encoding/json, for which white space around a
// number is no part of it.
func checkNumber(t *testing.T, text []byte) {
	var n json.Number
	valid := json.Unmarshal(text, &n) == nil && n.String() == string(text)
	require.Equal(t, valid, jsonscan.IsNumber(text), "%q", text)
}

func TestIsNumber_AgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, text := range numbers {
		checkNumber(t, []byte(text))
	}
}

func FuzzIsNumber(f *testing.F) {
	for _, text := range numbers {
		f.Add([]byte(text))
	}
	f.Fuzz(checkNumber)
}

func TestScalar_IsPartOfTheText(t *testing.T) {
	t.Parallel()
	f := func(text string, kind jsonscan.Kind, raw string) {
		t.Helper()
		s := jsonscan.New([]byte(text))
		v, err := s.Scalar()
		require.NoError(t, err, text)
		require.Equal(t, jsonscan.Scalar{Kind: kind, Raw: []byte(raw)}, v, text)
	}
	f(` null`, jsonscan.Null, `null`)
	f(`true,`, jsonscan.Bool, `true`)
	f(`false]`, jsonscan.Bool, `false`)
	f(`-1.50}`, jsonscan.Number, `-1.50`)
	f(`"a\u0041" `, jsonscan.String, `a\u0041`)
	f(`""`, jsonscan.String, ``)
}
