package iam_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/iam"
	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
)

// keyIDs are the ids of the published keys.
func keyIDs(t testing.TB, w *world) (out []string) {
	t.Helper()
	r := chi.NewRouter()
	w.Routes(r)
	rec := httptest.NewRecorder()
	r.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
	var body struct {
		Keys []struct {
			ID string `json:"kid"`
		}
	}
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &body))
	for _, k := range body.Keys {
		out = append(out, k.ID)
	}
	return out
}

// keyOf is the id of the key that signed a token.
func keyOf(t testing.TB, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	require.NoError(t, err)
	var h struct {
		ID string `json:"kid"`
	}
	require.NoError(t, json.Unmarshal(text, &h))
	return h.ID
}

// running makes a world in which keys live for 90 minutes and which looks after
// them until the test ends.
func running(t *testing.T, from *world) *world {
	t.Helper()
	w := overWith(t, from.driver, func(o *iam.AccountsOptions) { o.KeyLife = 90 * time.Minute })
	w.run(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Accounts.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	return w
}

// ada signs in.
func ada(t testing.TB, w *world) answer {
	t.Helper()
	a := post(t, w, "/v1/token", url.Values{"grant_type": {"password"}, "username": {"ada@example.com"}, "password": {password}})
	require.Empty(t, a.reason())
	return a
}

// password is everybody's.
const password = "correct horse battery"

// withAda is a world with the user ada in it.
func withAda(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.user(t, "ada", "ada@example.com")
	_, err := call[*iamv1.User](as(t, "admin"), w, "SetPassword", &iamv1.SetPasswordRequest{Name: "users/ada", Password: password})
	require.NoError(t, err)
	return w
}

// The signing key has a successor when it is time, in one of several processes,
// and all agree on it, also one that starts later. What the former one signed is
// good as long as ever, and then its key goes.
func TestSigning_Rotates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := withAda(t)
		one, two := running(t, w), running(t, w)
		require.Equal(t, "first", keyOf(t, ada(t, one).AccessToken))
		time.Sleep(90*time.Minute - time.Second)
		require.Equal(t, []string{"first"}, keyIDs(t, one))
		time.Sleep(21 * time.Second) // they look after it every twenty
		synctest.Wait()
		for _, x := range []*world{one, two, over(t, w.driver)} {
			require.Equal(t, []string{"first", "k2"}, keyIDs(t, x))
			require.Equal(t, "first", keyOf(t, ada(t, x).AccessToken), "who checks tokens is yet to learn of the next")
		}
		time.Sleep(40*time.Second - time.Millisecond)
		last := ada(t, two).AccessToken
		require.Equal(t, "first", keyOf(t, last))
		time.Sleep(time.Second)
		for _, x := range []*world{one, two, over(t, w.driver)} {
			require.Equal(t, "k2", keyOf(t, ada(t, x).AccessToken))
		}
		time.Sleep(time.Hour - 2*time.Second)
		_, err := over(t, w.driver).who.Authenticate(t.Context(), "Bearer "+last)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		_, err = one.who.Authenticate(t.Context(), "Bearer "+last)
		refused(t, err, fault.Unauthenticated, "TOKEN_EXPIRED")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		_, err = one.who.Authenticate(t.Context(), "Bearer "+last)
		refused(t, err, fault.Unauthenticated, "INVALID_TOKEN")
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, x := range []*world{one, two, over(t, w.driver)} {
			require.Equal(t, []string{"k2"}, keyIDs(t, x))
			require.Equal(t, "k2", keyOf(t, ada(t, x).AccessToken))
		}
	})
}

// An administrator makes a new key at once; nobody else does.
func TestSigning_ByCommand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := withAda(t)
		for _, who := range []string{"user:ada@example.com", "projects/p"} {
			_, err := call[*iamv1.RotateSigningKeysResponse](as(t, who), w, "RotateSigningKeys", &iamv1.RotateSigningKeysRequest{})
			refused(t, err, fault.Denied, "PERMISSION_DENIED")
		}
		before := ada(t, w).AccessToken
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, err := call[*iamv1.RotateSigningKeysResponse](as(t, "admin"), w, "RotateSigningKeys", &iamv1.RotateSigningKeysRequest{})
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.Equal(t, []string{"first", "k2", "k3", "k4"}, keyIDs(t, w))
		made, err := call[*iamv1.RotateSigningKeysResponse](as(t, "admin"), w, "RotateSigningKeys", &iamv1.RotateSigningKeysRequest{})
		require.NoError(t, err)
		require.Equal(t, "k5", made.GetKeyId())
		require.Equal(t, time.Minute, time.Until(made.GetSignTime().AsTime()))
		time.Sleep(time.Minute)
		require.Equal(t, "k5", keyOf(t, ada(t, w).AccessToken))
		_, err = w.who.Authenticate(t.Context(), "Bearer "+before)
		require.NoError(t, err)
	})
}
