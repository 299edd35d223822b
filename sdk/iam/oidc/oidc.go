// Package oidc signs people in at an OpenID Connect provider (OpenID Connect
// Core 1.0): by the authorization code flow with PKCE (RFC 7636), as a
// confidential or a public client.
//
// A [Provider] is asked where its doors are when it is first needed, and again
// now and then. It is believed what its ID tokens say if they are signed by one
// of its keys, from it, for this client, and of this sign-in. It may be used
// concurrently; it keeps no sign-ins: who begins one keeps what it needs to end.
package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// Options configure a Provider.
type Options struct {
	// Issuer is the provider's: an https address, or an http one of this
	// machine.
	Issuer string
	// ClientID and ClientSecret are what the provider calls this client; a public
	// client has no secret.
	ClientID, ClientSecret string
	// RedirectURL is where the provider sends people back to.
	RedirectURL string
	// Transport makes the requests; nil is http.DefaultTransport.
	Transport http.RoundTripper
}

const (
	// timeout bounds a request to a provider, maxAnswer what it answers.
	timeout   = 10 * time.Second
	maxAnswer = 1 << 20
	// fresh is how long it is known what a provider said of itself; refetch is
	// how soon its keys may be asked for again for one that is not known.
	fresh   = time.Hour
	refetch = 10 * time.Second
)

// Provider is a provider.
type Provider struct {
	options Options
	http    *http.Client

	// mu guards what follows, and is held while the provider is asked.
	mu    sync.Mutex
	asked time.Time
	at    configuration
	keys  map[string]crypto.PublicKey
}

// configuration is what a provider says of itself.
type configuration struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Keys          string `json:"jwks_uri"`
}

// New makes a provider. It asks it nothing yet.
func New(o Options) (*Provider, error) {
	u, err := url.Parse(o.Issuer)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the issuer %q is no address", o.Issuer)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLocal(u.Hostname())):
		return nil, fmt.Errorf("the issuer %q does not speak TLS", o.Issuer)
	case o.ClientID == "" || o.RedirectURL == "":
		return nil, errors.New("a provider needs a client's id and an address to come back to")
	}
	return &Provider{options: o, http: &http.Client{Transport: o.Transport, Timeout: timeout}}, nil
}

// isLocal reports whether a host is this machine.
func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Issuer is the provider's name.
func (p *Provider) Issuer() string { return p.options.Issuer }

// SignIn is a sign-in that has begun: what the one who ends it must know.
type SignIn struct {
	// State comes back with the person, Nonce in the ID token; Verifier proves
	// that it is the same client that asks for the token.
	State, Nonce, Verifier string
}

// Begin begins a sign-in, and returns where to send the person.
func (p *Provider) Begin(ctx context.Context) (SignIn, string, error) {
	at, _, err := p.discover(ctx, "")
	if err != nil {
		return SignIn{}, "", err
	}
	s := SignIn{State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text()}
	sum := sha256.Sum256([]byte(s.Verifier))
	to, err := url.Parse(at.Authorization)
	if err != nil {
		return SignIn{}, "", unavailable(err)
	}
	q := to.Query()
	for k, v := range map[string]string{
		"response_type": "code", "client_id": p.options.ClientID, "redirect_uri": p.options.RedirectURL, "scope": "openid email profile",
		"state": s.State, "nonce": s.Nonce, "code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",
	} {
		q.Set(k, v)
	}
	to.RawQuery = q.Encode()
	return s, to.String(), nil
}

// End ends a sign-in by the code that the person came back with, and returns
// what the provider says of the person.
func (p *Provider) End(ctx context.Context, s SignIn, code string) (iam.Claims, error) {
	at, _, err := p.discover(ctx, "")
	if err != nil {
		return iam.Claims{}, err
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.options.RedirectURL},
		"client_id": {p.options.ClientID}, "code_verifier": {s.Verifier},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return iam.Claims{}, unavailable(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.options.ClientSecret != "" {
		req.SetBasicAuth(url.QueryEscape(p.options.ClientID), url.QueryEscape(p.options.ClientSecret))
	}
	var answer struct {
		IDToken string `json:"id_token"`
	}
	if err := p.do(req, &answer); err != nil {
		return iam.Claims{}, err
	}
	c, err := p.verify(ctx, answer.IDToken)
	if err != nil {
		return iam.Claims{}, err
	}
	if c.Nonce != s.Nonce {
		return iam.Claims{}, refused("the ID token is of another sign-in")
	}
	return c, nil
}

// verify reads an ID token.
func (p *Provider) verify(ctx context.Context, text string) (iam.Claims, error) {
	var failed error
	c, err := iam.Verify(text, func(id string) (crypto.PublicKey, bool) {
		_, keys, err := p.discover(ctx, id)
		failed = err
		k, ok := keys[id]
		return k, ok
	})
	switch {
	case failed != nil:
		return iam.Claims{}, failed
	case err != nil:
		return iam.Claims{}, fmt.Errorf("ID token: %w", err)
	case c.Issuer != p.options.Issuer, !slices.Contains(c.Audience, p.options.ClientID), c.Subject == "":
		return iam.Claims{}, refused("the ID token is from or for another")
	}
	return c, nil
}

// discover is what the provider says of itself, and its keys: one of that id
// among them if the provider has one; "" is none in particular.
func (p *Provider) discover(ctx context.Context, key string) (configuration, map[string]crypto.PublicKey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	age := time.Since(p.asked)
	if _, known := p.keys[key]; !p.asked.IsZero() && age < fresh && (key == "" || known || age < refetch) {
		return p.at, p.keys, nil
	}
	var at configuration
	if err := p.get(ctx, strings.TrimSuffix(p.options.Issuer, "/")+"/.well-known/openid-configuration", &at); err != nil {
		return at, nil, err
	}
	if at.Issuer != p.options.Issuer {
		return at, nil, unavailable(fmt.Errorf("it says that it is %q", at.Issuer))
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := p.get(ctx, at.Keys, &set); err != nil {
		return at, nil, err
	}
	keys := map[string]crypto.PublicKey{}
	for _, k := range set.Keys {
		if public := k.public(); public != nil {
			keys[k.ID] = public
		}
	}
	p.asked, p.at, p.keys = time.Now(), at, keys
	return at, keys, nil
}

// jwk is a public key (RFC 7517).
type jwk struct {
	Type  string `json:"kty"`
	Use   string `json:"use"`
	ID    string `json:"kid"`
	N     string `json:"n"`
	E     string `json:"e"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// public is the key, nil if it is none that is known here.
func (k *jwk) public() crypto.PublicKey {
	number := func(s string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			return new(big.Int)
		}
		return new(big.Int).SetBytes(b)
	}
	const least, most = 2048, 8192 // bits of an RSA key
	switch {
	case k.Use != "" && k.Use != "sig":
	case k.Type == "RSA":
		n, e := number(k.N), number(k.E)
		if n.BitLen() >= least && n.BitLen() <= most && e.IsInt64() && e.Int64() > 1 && e.Int64() < 1<<31 {
			return &rsa.PublicKey{N: n, E: int(e.Int64())}
		}
	case k.Type == "EC" && k.Curve == "P-256":
		const size = 32 // bytes of a coordinate
		point := make([]byte, 1+2*size)
		point[0] = 4 // uncompressed
		x, y := number(k.X), number(k.Y)
		if x.BitLen() > 8*size || y.BitLen() > 8*size {
			return nil
		}
		x.FillBytes(point[1 : 1+size])
		y.FillBytes(point[1+size:])
		if key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point); err == nil { // it is on the curve
			return key
		}
	}
	return nil
}

// get reads a JSON document.
func (p *Provider) get(ctx context.Context, address string, to any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return unavailable(err)
	}
	return p.do(req, to)
}

// do makes a request whose answer is a JSON document. A refusal of the provider
// is one of the sign-in.
func (p *Provider) do(req *http.Request, to any) error {
	req.Header.Set("Accept", "application/json")
	resp, err := p.http.Do(req)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return unavailable(err)
	case resp.StatusCode/100 == 4 && req.Method == http.MethodPost:
		var why struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(body, &why) // what is not there is ""
		return refused(fmt.Sprintf("the provider refuses: %.100s", why.Error))
	case resp.StatusCode != http.StatusOK:
		return unavailable(fmt.Errorf("%s answers %d", req.URL.Redacted(), resp.StatusCode))
	}
	if err := json.Unmarshal(body, to); err != nil {
		return unavailable(err)
	}
	return nil
}

// unavailable is the fault of a provider that cannot be asked.
func unavailable(err error) error {
	return &fault.Error{Op: "iam/oidc", Kind: fault.Unavailable, Reason: "PROVIDER_UNAVAILABLE", Err: fmt.Errorf("the OpenID Connect provider: %w", err)}
}

// refused is the fault of a sign-in that proves nothing.
func refused(text string) error {
	return &fault.Error{Op: "iam/oidc", Kind: fault.Unauthenticated, Reason: "SIGN_IN_REFUSED", Err: errors.New(text)}
}
