package remote

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
)

const (
	// keysFresh is how long the platform's keys are believed, keysPause how soon
	// they are asked for again because of one that is not known.
	keysFresh = time.Minute
	keysPause = time.Second
	// maxKeys bounds what the platform answers, in bytes.
	maxKeys = 1 << 20
)

// AllowPlatform is nil if it is the platform itself that calls: by a token of
// its own (issuer and subject are the platform) for this service. It has the
// form of Allow, for the doors that only the platform may use.
func (p *Platform) AllowPlatform(ctx context.Context, permission string, name resource.Name) error {
	wrong := func(err error) error {
		return &fault.Error{Op: "remote.AllowPlatform", Name: string(name), Kind: fault.Denied, Reason: "PERMISSION_DENIED", Field: permission, Err: err}
	}
	token := cmp.Or(credentials(ctx), incomingOf(ctx).platform)
	if claims := claimsOf(token); p.o.Audience == "" || !slices.Contains(claims.Audience, p.o.Audience) {
		return wrong(fmt.Errorf("the permission %s is for the platform alone", permission))
	}
	issuer, keys, err := p.keys.get(ctx, token)
	if err != nil {
		return asked(err)
	}
	claims, err := iam.Verify(token, func(id string) (crypto.PublicKey, bool) { k, ok := keys[id]; return k, ok })
	switch {
	case err != nil:
		return err
	case claims.Issuer != issuer || claims.Subject != issuer:
		return wrong(fmt.Errorf("the token is not of the platform itself, which alone has the permission %s", permission))
	}
	return nil
}

// Issuer is whom the platform's tokens are from, which tells platforms apart.
func (p *Platform) Issuer(ctx context.Context) (string, error) {
	issuer, _, err := p.keys.get(ctx, "")
	if err != nil {
		return "", asked(err)
	}
	return issuer, nil
}

// keys are the keys that the platform signs with, as it publishes them.
type keys struct {
	url  string
	http *http.Client
	now  func() time.Time

	mu     sync.Mutex
	at     time.Time
	issuer string
	byID   map[string]crypto.PublicKey
}

// get is the platform's issuer and its keys, new enough for a token.
func (k *keys) get(ctx context.Context, token string) (issuer string, byID map[string]crypto.PublicKey, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known := false
	_, _ = iam.Verify(token, func(id string) (crypto.PublicKey, bool) {
		key, ok := k.byID[id]
		known = ok
		return key, ok
	})
	if age := k.now().Sub(k.at); age < keysPause || known && age < keysFresh {
		return k.issuer, k.byID, nil // what else is wrong with the token the caller finds out
	}
	var configuration struct {
		Issuer string `json:"issuer"`
	}
	var set struct {
		Keys []struct {
			Type  string `json:"kty"`
			Curve string `json:"crv"`
			ID    string `json:"kid"`
			X     string `json:"x"`
		} `json:"keys"`
	}
	now := k.now()
	if err := k.read(ctx, "/.well-known/openid-configuration", &configuration); err != nil {
		return "", nil, err
	}
	if err := k.read(ctx, "/.well-known/jwks.json", &set); err != nil {
		return "", nil, err
	}
	k.at, k.issuer, k.byID = now, configuration.Issuer, map[string]crypto.PublicKey{}
	for _, key := range set.Keys {
		if x, err := base64.RawURLEncoding.DecodeString(key.X); err == nil && len(x) == ed25519.PublicKeySize && key.Type == "OKP" && key.Curve == "Ed25519" {
			k.byID[key.ID] = ed25519.PublicKey(x)
		}
	}
	return k.issuer, k.byID, nil
}

// read reads a document of the platform.
func (k *keys) read(ctx context.Context, path string, to any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := k.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it is read
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, resp.Status)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxKeys)).Decode(to); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}
