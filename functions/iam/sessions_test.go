package iam_test

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/functions/iam"
	iamv1 "selvedge.dev/functions/iam/v1"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/store"
)

// refresh exchanges a refresh token.
func refresh(t testing.TB, w *world, token string) answer {
	t.Helper()
	return post(t, w, "/v1/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// spent requires that a refresh token is no good.
func spent(t testing.TB, w *world, token string) {
	t.Helper()
	require.Equal(t, "INVALID_REFRESH_TOKEN", refresh(t, w, token).reason())
}

// stored are the bodies of the sessions in the database.
func stored(t testing.TB, w *world) (out []string) {
	t.Helper()
	snapshot, _, err := w.driver.Snapshot(t.Context())
	require.NoError(t, err)
	require.NoError(t, snapshot.Scan(t.Context(), store.Scan{Type: "iam.selvedge.dev/Session"}, func(r *store.Record) bool {
		out = append(out, string(r.Body))
		return true
	}))
	require.NoError(t, snapshot.Close())
	return out
}

// A refresh token is good once, in any process, and gives a token of the same
// person and the next refresh token. Whoever uses one twice ends the session for
// everybody who has a token of it. The database has hashes.
func TestSessions_Refresh(t *testing.T) {
	t.Parallel()
	w := withAda(t)
	first := ada(t, w)
	require.Equal(t, int64(3600), first.ExpiresIn)
	other := ada(t, w)
	tokens := []string{first.RefreshToken}
	for range 3 {
		w = over(t, w.driver) // a restart
		next := refresh(t, w, tokens[len(tokens)-1])
		require.Empty(t, next.reason())
		p, err := w.who.Authenticate(t.Context(), "Bearer "+next.AccessToken)
		require.NoError(t, err)
		require.Equal(t, []string{"users/ada", "ada@example.com"}, []string{p.Name, p.Email})
		require.NotContains(t, tokens, next.RefreshToken)
		tokens = append(tokens, next.RefreshToken)
	}
	for _, body := range stored(t, w) {
		for _, token := range append(tokens, other.RefreshToken) {
			require.NotContains(t, body, token[strings.LastIndexByte(token, '_')+1:])
		}
	}
	require.Len(t, stored(t, w), 2)
	_, err := w.who.Authenticate(t.Context(), "Bearer "+tokens[0])
	require.Error(t, err, "it opens nothing itself")

	spent(t, w, tokens[1])
	for _, token := range tokens {
		spent(t, w, token)
	}
	require.Len(t, stored(t, w), 1)
	require.Empty(t, refresh(t, w, other.RefreshToken).reason(), "another session goes on")
	for _, bad := range []string{"", "svr_", "svk" + other.RefreshToken[3:], other.RefreshToken + "x", strings.ToUpper(other.RefreshToken), first.AccessToken} {
		spent(t, w, bad)
	}
	require.Len(t, stored(t, w), 1)

	// A service account has its key.
	account := w.account(t, "p", "robot")
	key, id := rsaKey(t, w, account)
	require.Empty(t, post(t, w, "/v1/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion(t, key, id, account)}}).RefreshToken)
}

// Of several who come at once with the same token one at most gets another one,
// and that one is no good, since somebody else had it too.
func TestSessions_AtOnce(t *testing.T) {
	t.Parallel()
	w := withAda(t)
	token := ada(t, w).RefreshToken
	var good atomic.Int64
	var next atomic.Value
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if a := refresh(t, w, token); a.reason() == "" {
				good.Add(1)
				next.Store(a.RefreshToken)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(1), good.Load())
	spent(t, w, next.Load().(string))
	require.Empty(t, stored(t, w))
}

// A session is over when it was long enough, however often it was refreshed, and
// its last token with it. What is over is cleared away.
func TestSessions_Expire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		short := func(o *iam.AccountsOptions) { o.SessionLife = 2 * time.Hour }
		w := overWith(t, withAda(t).driver, short)
		a := ada(t, w)
		for range 7 {
			time.Sleep(17 * time.Minute)
			a = refresh(t, w, a.RefreshToken)
			require.Empty(t, a.reason())
		}
		a = refresh(t, overWith(t, w.driver, short), a.RefreshToken)
		require.Equal(t, int64(60), a.ExpiresIn)
		time.Sleep(59 * time.Second)
		_, err := w.who.Authenticate(t.Context(), "Bearer "+a.AccessToken)
		require.NoError(t, err)
		require.Len(t, stored(t, w), 1)
		time.Sleep(time.Second)
		_, err = w.who.Authenticate(t.Context(), "Bearer "+a.AccessToken)
		require.Error(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		synctest.Wait()
		require.Empty(t, stored(t, w))
		cancel()
		require.NoError(t, <-done)
		spent(t, w, a.RefreshToken)
	})
}

// Whatever takes a person's right to be there takes the sessions.
func TestSessions_End(t *testing.T) {
	t.Parallel()
	w := withAda(t)
	admin := as(t, "admin")
	set := func(s iamv1.User_State) {
		t.Helper()
		_, err := call[*iamv1.User](admin, w, "UpdateUser", &iamv1.UpdateUserRequest{User: &iamv1.User{Name: "users/ada", State: s}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"state"}}})
		require.NoError(t, err)
	}
	for name, end := range map[string]func(token string){
		"sign-out":            func(token string) { post(t, w, "/v1/token/revoke", url.Values{"token": {token}}) },
		"disabled for a time": func(token string) { set(iamv1.User_DISABLED); spent(t, w, token); set(iamv1.User_ACTIVE) },
		"another password": func(string) {
			_, err := call[*iamv1.User](as(t, "user:ada@example.com"), w, "SetPassword", &iamv1.SetPasswordRequest{Name: "users/ada", Password: password, OldPassword: password})
			require.NoError(t, err)
		},
		"another person of that name": func(string) {
			_, err := call[*resourcev1.DeletionPlan](admin, w, "DeleteUser", &iamv1.DeleteUserRequest{Name: "users/ada"})
			require.NoError(t, err)
			w.user(t, "ada", "ada@example.com")
			_, err = call[*iamv1.User](admin, w, "SetPassword", &iamv1.SetPasswordRequest{Name: "users/ada", Password: password})
			require.NoError(t, err)
		},
	} {
		token := ada(t, w).RefreshToken
		end(token)
		spent(t, w, token)
		require.Empty(t, stored(t, w), name)
	}
	post(t, w, "/v1/token/revoke", url.Values{"token": {"nothing"}})

	// Nobody has more than a hundred.
	var tokens []string
	for range 102 {
		tokens = append(tokens, ada(t, w).RefreshToken)
	}
	require.Len(t, stored(t, w), 100)
	spent(t, w, tokens[1])
	require.Empty(t, refresh(t, w, tokens[2]).reason())
}
