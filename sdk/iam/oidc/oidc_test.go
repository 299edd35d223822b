package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/oidc"
)

// provider is a provider that lies as it is told. That the client works with one
// that is real is shown in tests/clients/oidc.
type provider struct {
	*httptest.Server
	key *rsa.PrivateKey
	// issuer and keys, if not "", are said in place of the truth.
	issuer, keys string
	// claims are those of the next ID token, and status that of its answer.
	claims iam.Claims
	status int
	// form is what was last asked for a token.
	form url.Values
}

// start starts a provider until the test ends.
func start(t testing.TB) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p := &provider{key: key, status: http.StatusOK}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		issuer := p.issuer
		if issuer == "" {
			issuer = p.URL
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "authorization_endpoint": p.URL + "/auth?tenant=1", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		text := p.keys
		if text == "" {
			n := base64.RawURLEncoding.EncodeToString(key.N.Bytes())
			e := base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())
			text = `{"keys":[{"kty":"oct","kid":"s","k":"AAAA"},{"kty":"RSA","use":"sig","kid":"k","n":"` + n + `","e":"` + e + `"}]}`
		}
		_, _ = w.Write([]byte(text))
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		p.form = r.PostForm
		token, _ := iam.Sign(key, "k", p.claims)
		w.WriteHeader(p.status)
		_ = json.NewEncoder(w).Encode(map[string]string{"id_token": token, "error": "invalid_grant"})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// client is a client of the provider.
func (p *provider) client(t testing.TB) *oidc.Provider {
	t.Helper()
	c, err := oidc.New(oidc.Options{Issuer: p.URL, ClientID: "us", RedirectURL: "https://example.com/back"})
	require.NoError(t, err)
	return c
}

// A sign-in ends with what the provider says of the person, if the token is of
// that sign-in, from the provider, and for this client.
func TestProvider_SignIn(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client(t)
	s, to, err := c.Begin(t.Context())
	require.NoError(t, err)
	u, err := url.Parse(to)
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(s.Verifier))
	for k, v := range map[string]string{
		"tenant": "1", "response_type": "code", "client_id": "us", "redirect_uri": "https://example.com/back", "state": s.State, "nonce": s.Nonce,
		"code_challenge_method": "S256", "code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]),
	} {
		require.Equal(t, v, u.Query().Get(k), k)
	}
	good := iam.Claims{
		Issuer: p.URL, Subject: "ada", Audience: []string{"us"}, Nonce: s.Nonce, Email: "ada@example.com", EmailVerified: true,
		IssuedAt: time.Now().Unix(), Expires: time.Now().Add(time.Minute).Unix(),
	}
	p.claims = good
	got, err := c.End(t.Context(), s, "code")
	require.NoError(t, err)
	require.Equal(t, good, got)
	require.Equal(t, []string{"code", s.Verifier, "us"}, []string{p.form.Get("code"), p.form.Get("code_verifier"), p.form.Get("client_id")})

	f := func(reason string, change func(c *iam.Claims)) {
		t.Helper()
		p.claims = good
		change(&p.claims)
		_, err := c.End(t.Context(), s, "code")
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "%v", err)
		require.Equal(t, reason, fault.ReasonOf(err))
	}
	f("SIGN_IN_REFUSED", func(c *iam.Claims) { c.Nonce = "another" })
	f("SIGN_IN_REFUSED", func(c *iam.Claims) { c.Audience = []string{"them"} })
	f("SIGN_IN_REFUSED", func(c *iam.Claims) { c.Issuer = "https://other.example.com" })
	f("SIGN_IN_REFUSED", func(c *iam.Claims) { c.Subject = "" })
	f("TOKEN_EXPIRED", func(c *iam.Claims) { c.Expires = 1 })
	f("INVALID_TOKEN", func(c *iam.Claims) { c.Expires = 0 })
	p.status = http.StatusBadRequest
	f("SIGN_IN_REFUSED", func(*iam.Claims) {})
	p.status = http.StatusBadGateway
	_, err = c.End(t.Context(), s, "code")
	require.Equal(t, "PROVIDER_UNAVAILABLE", fault.ReasonOf(err))
}

// A provider that is another, or none, is not believed.
func TestProvider_Lies(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.issuer = "https://other.example.com"
	_, _, err := p.client(t).Begin(t.Context())
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	p.issuer, p.keys = "", "nothing"
	_, _, err = p.client(t).Begin(t.Context())
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	for _, issuer := range []string{"", "example.com", "http://example.com", "https://me:x@example.com", "ftp://example.com", "https://example.com?x"} {
		_, err := oidc.New(oidc.Options{Issuer: issuer, ClientID: "us", RedirectURL: "https://example.com"})
		require.Error(t, err, issuer)
	}
	_, err = oidc.New(oidc.Options{Issuer: "https://example.com"})
	require.Error(t, err)
}

// Whatever keys a provider has, none makes a token of somebody else's good.
func FuzzProvider_Keys(f *testing.F) {
	p := start(f)
	for _, seed := range []string{`{}`, `{"keys":[{}]}`, `{"keys":[{"kty":"RSA","kid":"k","n":"AQAB","e":"AQAB"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"AA","y":"AA"}]}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, keys string) {
		p.keys = keys + " " // never the truth, which nothing stands for
		p.claims = iam.Claims{Issuer: p.URL, Subject: "ada", Audience: []string{"us"}, Expires: time.Now().Add(time.Minute).Unix()}
		_, err := p.client(t).End(t.Context(), oidc.SignIn{}, "code")
		require.Error(t, err)
	})
}
