package iam

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/feed"
)

const (
	// ownLife is how long the platform proves itself by a token: a call.
	ownLife = time.Minute
	// maxForm bounds a request for a token.
	maxForm = 16 << 10
)

// The grants of OAuth 2 that the token endpoint knows.
const (
	grantPassword  = "password"
	grantAssertion = "urn:ietf:params:oauth:grant-type:jwt-bearer" // RFC 7523
	grantRefresh   = "refresh_token"
)

// Routes adds the doors of tokens:
//
//	POST /v1/token                          a token for a password, an assertion or a refresh token (RFC 6749)
//	POST /v1/token/revoke                   sign-out: the end of a refresh token's session (RFC 7009)
//	GET  /.well-known/jwks.json             the keys that tokens are signed with (RFC 7517)
//	GET  /.well-known/openid-configuration  where these are, and the issuer
//	GET  /v1/signin, /v1/signin/callback    sign-in at the provider, if there is one
func (a *Accounts) Routes(r chi.Router) {
	r.Post("/v1/token", a.serveToken)
	r.Post("/v1/token/revoke", a.serveSignOut)
	r.Get("/.well-known/jwks.json", a.serveKeys)
	r.Get("/.well-known/openid-configuration", a.serveConfiguration)
	if a.options.Provider != nil {
		r.Get(SignInPath, a.serveSignIn)
		r.Get(CallbackPath, a.serveCallback)
	}
}

// writeJSON answers with a value that nobody keeps.
func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the client went away
}

// tokenAnswer is the answer of the token endpoint.
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	// RefreshToken is that of a person's session.
	RefreshToken string `json:"refresh_token,omitempty"`
}

// readForm reads the form of a request, and answers one that has none.
func readForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	if err != nil {
		fault.Write(w, &fault.Error{Op: "iam.Token", Kind: fault.Invalid, Reason: "INVALID_BODY", Err: fmt.Errorf("want a form: %w", err)})
	}
	return err == nil
}

// serveToken answers who proves himself with a token.
func (a *Accounts) serveToken(w http.ResponseWriter, r *http.Request) {
	if !readForm(w, r) {
		return
	}
	var s session
	var err error
	switch grant := r.PostForm.Get("grant_type"); grant {
	case grantPassword:
		if s.who, err = a.byPassword(r.Context(), r.PostForm.Get("username"), r.PostForm.Get("password"), r.RemoteAddr); err == nil {
			s, err = a.begin(r.Context(), s.who)
		}
	case grantRefresh:
		s, err = a.refresh(r.Context(), r.PostForm.Get("refresh_token"))
	case grantAssertion:
		s.who, err = iam.NewAccountAuthenticator(a.feed.Accounts(), a.options.Issuer, nil).Token(r.PostForm.Get("assertion"))
	default:
		err = &fault.Error{
			Op: "iam.Token", Kind: fault.Invalid, Reason: "INVALID_GRANT_TYPE", Field: "grant_type",
			Err: fmt.Errorf("grant_type is %q, %q or %q", grantPassword, grantRefresh, grantAssertion),
		}
	}
	a.answer(w, s, err)
}

// answer answers with a token for an account, unless there is a fault, and with
// the refresh token of its session, if it has one.
func (a *Accounts) answer(w http.ResponseWriter, s session, err error) {
	life := feed.TokenLife
	if !s.expire.IsZero() {
		life = min(life, s.expire.Sub(a.store.Now()))
	}
	var token string
	if err == nil {
		token, err = a.token(s.who, life)
	}
	if err != nil {
		fault.Write(w, err)
		return
	}
	writeJSON(w, tokenAnswer{token, "Bearer", int64(life / time.Second), s.token})
}

// serveSignOut ends a session. Whether there was one nobody is told.
func (a *Accounts) serveSignOut(w http.ResponseWriter, r *http.Request) {
	if !readForm(w, r) {
		return
	}
	if err := a.signOut(r.Context(), r.PostForm.Get("token")); err != nil {
		fault.Write(w, err)
		return
	}
	writeJSON(w, struct{}{})
}

// byPassword is the user of an address and a password.
func (a *Accounts) byPassword(ctx context.Context, email, password, address string) (iam.Principal, error) {
	email = strings.ToLower(email)
	name, hash, _ := a.feed.Accounts().UserByEmail(email)
	if from, err := netip.ParseAddrPort(address); err == nil {
		address = from.Addr().String()
	}
	if err := a.passwords.Check(ctx, email, address, hash, password); err != nil {
		return iam.Principal{}, err
	}
	account, ok := a.feed.Accounts().Account(name)
	if !ok || account.Disabled {
		return iam.Principal{}, &fault.Error{Op: "iam.Token", Kind: fault.Unauthenticated, Reason: "ACCOUNT_DISABLED", Err: errors.New("the account is disabled or gone")}
	}
	return iam.Principal{Kind: iam.User, Name: name, Email: account.Email}, nil
}

// token makes a token of the platform for an account, which is good for so long.
func (a *Accounts) token(p iam.Principal, life time.Duration) (string, error) {
	id, key := a.signer()
	if key == nil {
		return "", &fault.Error{Op: "iam.Token", Kind: fault.Unavailable, Err: errors.New("there is no key to sign with")}
	}
	now := time.Now()
	return iam.Sign(key, id, iam.Claims{
		Issuer: a.options.Issuer, Subject: p.Name, Audience: []string{a.options.Issuer}, Email: p.Email,
		IssuedAt: now.Unix(), Expires: now.Add(life).Unix(),
	})
}

// OwnToken is a token of the platform itself for another service, which is known
// by its domain: the issuer is its subject. The platform takes no such token.
func (a *Accounts) OwnToken(domain string) (string, error) {
	id, key := a.signer()
	if key == nil {
		return "", &fault.Error{Op: "iam.OwnToken", Kind: fault.Unavailable, Err: errors.New("there is no key to sign with")}
	}
	now := time.Now()
	return iam.Sign(key, id, iam.Claims{
		Issuer: a.options.Issuer, Subject: a.options.Issuer, Audience: []string{domain}, IssuedAt: now.Unix(), Expires: now.Add(ownLife).Unix(),
	})
}

// OwnTokenFor is the domain of the service that a token of [Accounts.OwnToken] is
// for, "" if it is none.
func (a *Accounts) OwnTokenFor(token string) string {
	claims, err := iam.Verify(token, func(id string) (crypto.PublicKey, bool) {
		key, ok := a.feed.Accounts().SigningKey(id)
		return key, ok
	})
	if err != nil || claims.Issuer != a.options.Issuer || claims.Subject != a.options.Issuer || len(claims.Audience) != 1 {
		return ""
	}
	return claims.Audience[0]
}

// CallerToken is what proves to somebody else who calls: a token for that
// audience, which must not be the platform's issuer. It is good for as long as a
// call takes to begin.
func (a *Accounts) CallerToken(who iam.Principal, audience string) (string, error) {
	id, key := a.signer()
	if key == nil {
		return "", &fault.Error{Op: "iam.CallerToken", Kind: fault.Unavailable, Err: errors.New("there is no key to sign with")}
	}
	now := time.Now()
	return iam.Sign(key, id, iam.Claims{
		Issuer: a.options.Issuer, Subject: who.Name, Email: who.Email, Audience: []string{audience}, IssuedAt: now.Unix(), Expires: now.Add(ownLife).Unix(),
	})
}

// signer is the key of the platform that signs now.
func (a *Accounts) signer() (id string, key crypto.Signer) {
	k, ok := a.feed.Accounts().SigningKeys().Current(a.store.Now())
	if !ok {
		return "", nil
	}
	return k.ID, k.Private
}

// jwk is an Ed25519 key (RFC 8037).
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	X         string `json:"x"`
}

// serveKeys answers with the public keys.
func (a *Accounts) serveKeys(w http.ResponseWriter, _ *http.Request) {
	keys := []jwk{}
	for _, k := range a.feed.Accounts().SigningKeys().Published(a.store.Now()) {
		if public, ok := a.feed.Accounts().SigningKey(k.ID); ok {
			keys = append(keys, jwk{"OKP", "Ed25519", "sig", "EdDSA", k.ID, base64.RawURLEncoding.EncodeToString(public)})
		}
	}
	writeJSON(w, map[string]any{"keys": keys})
}

// serveConfiguration answers where the doors are.
func (a *Accounts) serveConfiguration(w http.ResponseWriter, r *http.Request) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	base := scheme + "://" + r.Host
	writeJSON(w, map[string]any{
		"issuer": a.options.Issuer, "jwks_uri": base + "/.well-known/jwks.json", "token_endpoint": base + "/v1/token",
		"revocation_endpoint":   base + "/v1/token/revoke",
		"grant_types_supported": []string{grantPassword, grantRefresh, grantAssertion}, "id_token_signing_alg_values_supported": []string{"EdDSA"},
	})
}
