package jsonscan_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/jsonscan"
)

func TestUnquote_Means(t *testing.T) {
	t.Parallel()
	f := func(raw, want string) {
		t.Helper()
		require.Equal(t, want, string(jsonscan.Unquote([]byte(raw))), raw)
	}
	f(``, "")
	f(`a\"\\\/\b\f\n\r\t`, "a\"\\/\b\f\n\r\t")
	f(`\u0041\u00e9\u20aC`, "Aé€")
	f(`\ud83d\ude00!`, "😀!")
	f(`\ud83d`, "\ufffd")
	f(`\ud83dx`, "\ufffdx")
	f(`\ude00\ud83d`, "\ufffd\ufffd")
	f(`\ud83d\u0041`, "\ufffdA")
	f(`\ud83d\ud83d\ude00`, "\ufffd😀")
	f("a\xffb\xe2\x82", "a\ufffdb\ufffd\ufffd")
}

func TestUnquote_LeavesPlainTextWhereItIs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"temperature", "Außentemperatur €😀"} {
		raw := []byte(text)
		require.Same(t, &raw[0], &jsonscan.Unquote(raw)[0], text)
	}
}

// FuzzUnquote checks what stands between two quotes: whether that is a string,
// and which.
func FuzzUnquote(f *testing.F) {
	for _, raw := range []string{`temperature`, `\u00e9\n\/`, `\ud83d\ude00`, `\ud83d\u0041`, "a\xffb\xed\xa0\x80", `a"b`, `\`, "\n"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		text := append(append([]byte{'"'}, raw...), '"')
		s := jsonscan.New(text)
		v, err := s.Scalar()
		if err == nil {
			err = s.End()
		}
		var want string
		if json.Unmarshal(text, &want) != nil {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, raw, append([]byte{}, v.Raw...))
		require.Equal(t, want, string(jsonscan.Unquote(v.Raw)))
	})
}
