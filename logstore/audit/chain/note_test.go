package chain_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

func TestNote_RoundTrip(t *testing.T) {
	t.Parallel()
	c := made(t, "acme/eu:1", 3).last
	got, err := chain.ParseNote(c.Note())
	require.NoError(t, err)
	require.Equal(t, c, got)
	require.NoError(t, keys('a').Check(&got))

	witnessed := c.Note() + "— witness.example AAAAAAAA\n"
	got, err = chain.ParseNote(witnessed)
	require.NoError(t, err)
	require.Equal(t, c, got, "signatures of others are passed over")

	two, err := chain.ReadNotes(strings.NewReader(c.Note() + "\n" + witnessed + made(t, "q", 3).last.Note()))
	require.NoError(t, err)
	require.Len(t, two, 3)
	require.Equal(t, "q", two[2].Project)
	none, err := chain.ReadNotes(strings.NewReader("\n"))
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = chain.ReadNotes(strings.NewReader("something else\n"))
	require.Error(t, err)
}

func TestNote_Refused(t *testing.T) {
	t.Parallel()
	good := made(t, "p", 3).last.Note()
	f := func(name, old, new string) {
		t.Helper()
		require.Contains(t, good, old)
		_, err := chain.ParseNote(strings.Replace(good, old, new, 1))
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
	}
	f("no project", "/p\n", "/\n")
	f("another origin", "selvedge.dev/audit/p", "selvedge.org/audit/p")
	f("size", "\n3\n", "\n03\n")
	f("a line more", "\n\n", "\nmore\n\n")
	f("no signature", "—", "-")
	f("time of another zone", "Z\n", "+00:00\n")
}

func TestKeys_Rotation(t *testing.T) {
	t.Parallel()
	trusted := keys('a')
	next := chain.NewKey(origin, signer('b').Public().(ed25519.PublicKey), noon)
	next.Endorse(signer('a'), origin)
	third := chain.NewKey(origin, signer('c').Public().(ed25519.PublicKey), noon.Add(time.Hour))
	third.Endorse(signer('b'), origin)
	foreign := chain.NewKey(origin, signer('x').Public().(ed25519.PublicKey), noon)
	foreign.Endorse(signer('y'), origin)
	liar := chain.NewKey(origin, signer('z').Public().(ed25519.PublicKey), noon)
	liar.By, liar.Endorsement = trusted[0].ID(), next.Endorsement
	moved := third
	moved.From = noon

	require.Len(t, trusted.Extend(chain.Keys{third, next, foreign, liar}), 3)
	require.Len(t, trusted.Extend(chain.Keys{moved, next}), 2, "what is endorsed is the time too")

	text := trusted.Extend(chain.Keys{next}).JSON()
	got, err := chain.ParseKeys(text)
	require.NoError(t, err)
	require.Equal(t, trusted.Extend(chain.Keys{next}), got)
	for _, bad := range []string{``, `{}`, `{"keys":[{"key":"a+b"}]}`, strings.Replace(string(text), "+", "+0", 1)} {
		_, err := chain.ParseKeys([]byte(bad))
		require.Equal(t, fault.Invalid, fault.KindOf(err), bad)
	}
}

// FuzzParseNote: what is accepted is written as it was read.
func FuzzParseNote(f *testing.F) {
	f.Add(made(f, "p", 3).last.Note())
	f.Fuzz(func(t *testing.T, text string) {
		c, err := chain.ParseNote(text)
		if err != nil {
			return
		}
		body, _, _ := strings.Cut(text, "\n\n")
		require.Equal(t, body+"\n", c.Text())
		again, err := chain.ParseNote(c.Note())
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}
