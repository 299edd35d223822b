package iam_test

import (
	"crypto"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	sdkiam "selvedge.dev/sdk/iam"
)

// What proves to a function who calls it is signed by the platform, is for that
// function and for a minute, and proves nothing to the platform.
func TestCallerToken_IsForTheFunctionAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ada", "ada@example.com")
	ada := sdkiam.Principal{Kind: sdkiam.User, Name: "users/ada", Email: "ada@example.com"}
	token, err := w.CallerToken(ada, sdkiam.FunctionAudience("default/orders"))
	require.NoError(t, err)
	claims, err := sdkiam.Verify(token, func(id string) (crypto.PublicKey, bool) {
		key, ok := w.feed.Accounts().SigningKey(id)
		return key, ok
	})
	require.NoError(t, err)
	require.Equal(t, []string{issuer, "users/ada", "ada@example.com"}, []string{claims.Issuer, claims.Subject, claims.Email})
	require.Equal(t, []string{"functions/default/orders"}, []string(claims.Audience))
	require.WithinDuration(t, time.Now().Add(time.Minute), time.Unix(claims.Expires, 0), 5*time.Second)

	_, err = w.who.Authenticate(t.Context(), "Bearer "+token)
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "%v", err)
}

// A token of the platform itself says for which service it is, and no other token
// does.
func TestOwnToken_SaysForWhom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, err := w.OwnToken("inventory.example.com")
	require.NoError(t, err)
	require.Equal(t, "inventory.example.com", w.OwnTokenFor(own))
	caller, err := w.CallerToken(sdkiam.Principal{Kind: sdkiam.Admin, Name: "admin"}, "inventory.example.com")
	require.NoError(t, err)
	for _, token := range []string{"", "a.b.c", caller, own[:len(own)-4] + "AAAA"} {
		require.Empty(t, w.OwnTokenFor(token))
	}
}
