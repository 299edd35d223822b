package iam_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	sdkiam "selvedge.dev/sdk/iam"
)

// form posts to the token endpoint; the answer is the token, or the status and
// the reason.
func form(t testing.TB, w *world, values url.Values) (token, reason string) {
	t.Helper()
	a := post(t, w, "/v1/token", values)
	return a.AccessToken, a.reason()
}

// answer is what the token endpoint answers.
type answer struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int64  `json:"expires_in"`
	Error        struct {
		Details []struct{ Reason string }
	}
}

// reason is why there is no token, "" if there is one.
func (a answer) reason() string {
	if len(a.Error.Details) == 0 {
		return ""
	}
	return a.Error.Details[0].Reason
}

// post posts a form.
func post(t testing.TB, w *world, path string, values url.Values) (body answer) {
	t.Helper()
	r := chi.NewRouter()
	w.Routes(r)
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(values.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	out := httptest.NewRecorder()
	r.ServeHTTP(out, req)
	require.NoError(t, json.Unmarshal(out.Body.Bytes(), &body), "%s", out.Body)
	require.Equal(t, out.Code == http.StatusOK, body.reason() == "", "%s", out.Body)
	return body
}

// rsaKey makes an RSA key of a service account, and returns what is needed to
// sign with it.
func rsaKey(t testing.TB, w *world, account string) (*rsa.PrivateKey, string) {
	t.Helper()
	k, err := w.key(as(t, "admin"), account, "rsa", &iamv1.ServiceAccountKey{Algorithm: iamv1.ServiceAccountKey_RSA_2048})
	require.NoError(t, err)
	require.Contains(t, k.GetPublicKey(), "BEGIN PUBLIC KEY")
	block, _ := pem.Decode([]byte(k.GetSecret()))
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return private.(*rsa.PrivateKey), k.GetKeyId()
}

// assertion is a token that a service account signs.
func assertion(t testing.TB, key *rsa.PrivateKey, id, account string) string {
	t.Helper()
	now := time.Now().Unix()
	token, err := sdkiam.Sign(key, id, sdkiam.Claims{Issuer: account, Subject: account, Audience: []string{issuer}, IssuedAt: now, Expires: now + 600})
	require.NoError(t, err)
	return token
}

// A token that a service account signs proves it, if it is of the account, for
// the platform, signed by a key that works, and good for an hour at most.
func TestTokens_OfAServiceAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	account := w.account(t, "p", "robot")
	key, id := rsaKey(t, w, account)
	now := time.Now().Unix()
	good := sdkiam.Claims{Issuer: account, Subject: account, Audience: []string{issuer}, IssuedAt: now, Expires: now + 600}
	f := func(reason string, change func(c *sdkiam.Claims)) {
		t.Helper()
		c := good
		change(&c)
		token, err := sdkiam.Sign(key, id, c)
		require.NoError(t, err)
		p, err := w.who.Authenticate(t.Context(), "Bearer "+token)
		if reason != "" {
			refused(t, err, fault.Unauthenticated, reason)
			_, got := form(t, w, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {token}})
			require.Equal(t, reason, got)
			return
		}
		require.NoError(t, err)
		require.Equal(t, account, p.Name)
	}
	f("", func(*sdkiam.Claims) {})
	f("", func(c *sdkiam.Claims) { c.Audience = []string{"other", issuer} })
	f("INVALID_TOKEN", func(c *sdkiam.Claims) { c.Audience = []string{"other"} })
	f("INVALID_TOKEN", func(c *sdkiam.Claims) { c.Audience = nil })
	f("INVALID_TOKEN", func(c *sdkiam.Claims) { c.Issuer = "projects/p/serviceAccounts/other" })
	f("INVALID_TOKEN", func(c *sdkiam.Claims) { c.Subject = "users/ada" })
	f("INVALID_TOKEN", func(c *sdkiam.Claims) { c.Expires = 0 })
	f("INVALID_TOKEN", func(c *sdkiam.Claims) { c.Expires = now + 3601 })
	f("INVALID_TOKEN", func(c *sdkiam.Claims) { c.IssuedAt = 0 })
	f("INVALID_TOKEN", func(c *sdkiam.Claims) { c.IssuedAt, c.Expires = now+600, now+900 })
	f("TOKEN_EXPIRED", func(c *sdkiam.Claims) { c.IssuedAt, c.Expires = now-600, now-1 })
	f("TOKEN_EXPIRED", func(c *sdkiam.Claims) { c.IssuedAt, c.Expires = 1, 2 })

	// What it is exchanged for is the platform's, and lasts an hour.
	token, err := sdkiam.Sign(key, id, good)
	require.NoError(t, err)
	access, _ := form(t, w, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {token}})
	p, err := w.who.Authenticate(t.Context(), "Bearer "+access)
	require.NoError(t, err)
	require.Equal(t, account, p.Name)

	// A token is signed by the algorithm of its key, and not by what it says.
	_, other := rsaKeyPair(t)
	forged, err := sdkiam.Sign(other, id, good)
	require.NoError(t, err)
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"`+id+`"}`)) + "." + strings.Split(token, ".")[1] + "."
	changed := strings.Split(token, ".")
	changed[1] = strings.Split(access, ".")[1]
	for _, bad := range []string{forged, none, strings.Join(changed, "."), token + "x", "eyJ.e.e", "eyJhIjoxfQ.eyJhIjoxfQ."} {
		_, err := w.who.Authenticate(t.Context(), "Bearer "+bad)
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "%v", err)
	}

	_, err = call[proto.Message](as(t, "admin"), w, "DeleteServiceAccountKey", &iamv1.DeleteServiceAccountKeyRequest{Name: account + "/serviceAccountKeys/rsa"})
	require.NoError(t, err)
	_, err = w.who.Authenticate(t.Context(), "Bearer "+token)
	refused(t, err, fault.Unauthenticated, "INVALID_TOKEN")
	_, err = call[proto.Message](as(t, "admin"), w, "UpdateServiceAccount", &iamv1.UpdateServiceAccountRequest{ServiceAccount: &iamv1.ServiceAccount{Name: account, Disabled: true}})
	require.NoError(t, err)
	_, err = w.who.Authenticate(t.Context(), "Bearer "+access)
	refused(t, err, fault.Unauthenticated, "ACCOUNT_DISABLED")
}

// rsaKeyPair is a key of nobody's.
func rsaKeyPair(t testing.TB) (crypto.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	return public, private
}

// A key pair that somebody made himself works too, and nothing secret is made.
func TestTokens_OwnPublicKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	account := w.account(t, "p", "robot")
	_, id := rsaKey(t, w, account)
	stored, err := call[*iamv1.ServiceAccountKey](as(t, "admin"), w, "GetServiceAccountKey", &iamv1.GetServiceAccountKeyRequest{Name: account + "/serviceAccountKeys/rsa"})
	require.NoError(t, err)
	require.Equal(t, id, stored.GetKeyId())
	own, err := w.key(as(t, "admin"), account, "own", &iamv1.ServiceAccountKey{Algorithm: iamv1.ServiceAccountKey_RSA_2048, PublicKey: stored.GetPublicKey()})
	require.NoError(t, err)
	require.Empty(t, own.GetSecret())
	for _, bad := range []*iamv1.ServiceAccountKey{
		{PublicKey: stored.GetPublicKey()},
		{Algorithm: iamv1.ServiceAccountKey_RSA_4096, PublicKey: stored.GetPublicKey()},
		{Algorithm: iamv1.ServiceAccountKey_RSA_2048, PublicKey: "x"},
		{Algorithm: iamv1.ServiceAccountKey_RSA_2048, PublicKey: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
	} {
		_, err := w.key(as(t, "admin"), account, "bad", bad)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
	}
}

// A person signs in with a password, which he changes himself; a guess is not
// told what was wrong, and too many have to wait.
func TestTokens_ByPassword(t *testing.T) {
	t.Parallel()
	w, admin := newWorld(t), as(t, "admin")
	w.user(t, "ada", "Ada@Example.com")
	const first, second = "correct horse battery", "staple staple staple"
	set := func(ctx string, password, old string) error {
		_, err := call[*iamv1.User](as(t, ctx), w, "SetPassword", &iamv1.SetPasswordRequest{Name: "users/ada", Password: password, OldPassword: old})
		return err
	}
	signIn := func(user, password string) (string, string) {
		t.Helper()
		return form(t, w, url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}})
	}
	_, reason := signIn("ada@example.com", first)
	require.Equal(t, "WRONG_PASSWORD", reason)
	refused(t, set("admin", "short", ""), fault.Invalid, "INVALID_PASSWORD")
	require.NoError(t, set("admin", first, ""))
	token, _ := signIn("ADA@example.com", first)
	p, err := w.who.Authenticate(t.Context(), "Bearer "+token)
	require.NoError(t, err)
	require.Equal(t, sdkiam.Principal{Kind: sdkiam.User, Name: "users/ada", Email: "ada@example.com", KeyID: "first"}, p)
	_, wrong := signIn("ada@example.com", second)
	_, unknown := signIn("eve@example.com", second)
	require.Equal(t, wrong, unknown)

	refused(t, set("user:bob@example.com", second, first), fault.Denied, "PERMISSION_DENIED")
	refused(t, set("user:ada@example.com", second, second), fault.Unauthenticated, "WRONG_PASSWORD")
	require.NoError(t, set("user:ada@example.com", second, first))
	_, reason = signIn("ada@example.com", first)
	require.Equal(t, "WRONG_PASSWORD", reason)
	got, err := call[*iamv1.User](admin, w, "UpdateUser", &iamv1.UpdateUserRequest{User: &iamv1.User{Name: "users/ada", State: iamv1.User_DISABLED}})
	require.NoError(t, err)
	require.Empty(t, got.GetPasswordHash())
	_, err = w.who.Authenticate(t.Context(), "Bearer "+token)
	refused(t, err, fault.Unauthenticated, "ACCOUNT_DISABLED")
	_, reason = signIn("ada@example.com", second)
	require.Equal(t, "ACCOUNT_DISABLED", reason)
	for range 12 {
		_, reason = signIn("ada@example.com", first)
	}
	require.Equal(t, "TOO_MANY_WRONG_PASSWORDS", reason)
	_, reason = form(t, w, url.Values{"grant_type": {"nothing"}})
	require.Equal(t, "INVALID_GRANT_TYPE", reason)
}

// The keys are there for everybody.
func TestTokens_Discovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := chi.NewRouter()
	w.Routes(r)
	get := func(path string) (out map[string]any) {
		t.Helper()
		rec := httptest.NewRecorder()
		r.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, rec.Code)
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &out))
		return out
	}
	require.Equal(t, issuer, get("/.well-known/openid-configuration")["issuer"])
	keys := get("/.well-known/jwks.json")["keys"].([]any)
	require.Len(t, keys, 1)
	require.Equal(t, "first", keys[0].(map[string]any)["kid"])
	require.NotContains(t, keys[0], "d", "a private key")
	over(t, w.driver)
	require.Equal(t, keys, get("/.well-known/jwks.json")["keys"], "another process has the same")
}
