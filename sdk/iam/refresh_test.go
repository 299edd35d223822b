package iam

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A refresh token is that of one session, by its hash and no other, and is no key.
func TestRefresh_Tokens(t *testing.T) {
	t.Parallel()
	id, hash, token := NewRefresh()
	got, ok := RefreshID(token)
	require.True(t, ok)
	require.Equal(t, id, got)
	require.True(t, IsRefresh(token, hash))
	next, other := NextRefresh(id)
	require.True(t, IsRefresh(other, next))
	require.False(t, IsRefresh(token, next))
	require.False(t, IsRefresh(other, hash))
	_, _, isKey := splitKey(token)
	require.False(t, isKey)
	_, _, key := NewAccountKey()
	_, ok = RefreshID(key)
	require.False(t, ok)
	stretched, err := hashChosen(token, 1)
	require.NoError(t, err)
	for _, bad := range []string{"", "sha256:", "sha256:00", stretched, "x"} {
		require.False(t, IsRefresh(token, bad))
	}
}

// FuzzRefreshID: nothing but what is built like one is a refresh token, and no
// text has the hash of another.
func FuzzRefreshID(f *testing.F) {
	_, hash, token := NewRefresh()
	for _, s := range []string{"", "svr_", token, token[:68] + "1", formatKey(token[4:16], token[17:])} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := RefreshID(s)
		require.Equal(t, s == token, IsRefresh(s, hash))
		require.Equal(t, ok, id != "")
		if ok {
			require.Equal(t, refreshPrefix, s[:4])
			require.True(t, ValidKeyID(id))
		}
	})
}
