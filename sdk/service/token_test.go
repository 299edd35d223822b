package service

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// TestTokens_ComeBack holds that a token gives the position and direction that
// it was made of, to the list that it was made for alone.
func TestTokens_ComeBack(t *testing.T) {
	t.Parallel()
	k, err := newTokens([]byte("key"))
	require.NoError(t, err)
	other, err := newTokens(nil)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "parts")
		p := &store.Position{
			Name:   resource.Name(rapid.String().Draw(t, "name")),
			Values: rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 20), 0, 4).Draw(t, "values"),
		}
		reverse := rapid.Bool().Draw(t, "reverse")
		token := k.seal(p, reverse, binding(parts...))
		got, back, err := k.open(token, binding(parts...))
		require.NoError(t, err)
		require.Equal(t, reverse, back)
		require.Equal(t, p.Name, got.Name)
		require.Len(t, got.Values, len(p.Values))
		for i := range p.Values {
			require.Equal(t, string(p.Values[i]), string(got.Values[i]))
		}
		for _, wrong := range [][]byte{binding(append(parts, "")...), binding(parts[1:]...), nil} {
			_, _, err := k.open(token, wrong)
			require.Equal(t, "INVALID_PAGE_TOKEN", fault.ReasonOf(err))
		}
		_, _, err = other.open(token, binding(parts...))
		require.Error(t, err)
	})
	require.Empty(t, k.seal(nil, false, nil))
}

// FuzzTokens holds that no text is more than refused, neither as a token nor as
// what is sealed in one.
func FuzzTokens(f *testing.F) {
	k, err := newTokens(nil)
	require.NoError(f, err)
	f.Add(k.seal(&store.Position{Name: "projects/p", Values: [][]byte{{1}}}, false, nil), []byte{forward, 1, 1, 'a', 'b'})
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, token string, sealed []byte) {
		if _, _, err := k.open(token, nil); err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
		}
		if p, ok := position(sealed); ok {
			require.LessOrEqual(t, len(p.Values), maxValues)
			require.LessOrEqual(t, len(p.Name), len(sealed))
		}
	})
}
