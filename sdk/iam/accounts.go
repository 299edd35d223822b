package iam

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"time"
)

// AccountKey is a key of a service account.
type AccountKey struct {
	// Account is the name of the service account.
	Account string
	// Hash is that of the secret of an API key, as [NewAccountKey] made it.
	Hash string
	// Public is the public key of a key that signs tokens.
	Public crypto.PublicKey
	// NotBefore and NotAfter are when the key works; zero is always.
	NotBefore, NotAfter time.Time
}

// Account is a user or a service account.
type Account struct {
	// Email is that of a user.
	Email string
	// Disabled is whether nothing lets it in.
	Disabled bool
}

// Accounts are the accounts of a platform, in memory. What it answers is as the
// last write left it.
type Accounts interface {
	// Key is the key of that id of a service account.
	Key(id string) (AccountKey, bool)
	// Account is the account of that name.
	Account(name string) (Account, bool)
	// SigningKey is the platform's own key of that id.
	SigningKey(id string) (ed25519.PublicKey, bool)
}

// NewAccountKey makes the API key of a service account: its id, the hash to be
// stored, and the key, which nothing can tell again.
func NewAccountKey() (id, hash, key string) {
	id, secret := newKey()
	return id, hashMade(secret), formatKey(id, secret)
}

// AccountAuthenticator knows users by tokens of the platform, and service
// accounts by those, by their API keys, and by tokens that they sign themselves.
type AccountAuthenticator struct {
	accounts Accounts
	issuer   string
	next     Authenticator
}

// NewAccountAuthenticator makes the authenticator of accounts; next is asked
// about all other credentials. The issuer is what the platform's tokens are from
// and whom all tokens are for.
func NewAccountAuthenticator(a Accounts, issuer string, next Authenticator) *AccountAuthenticator {
	return &AccountAuthenticator{a, issuer, next}
}

// Authenticate implements [Authenticator].
func (a *AccountAuthenticator) Authenticate(ctx context.Context, authorization string) (Principal, error) {
	key, ok := Bearer(authorization)
	if !ok {
		return a.next.Authenticate(ctx, authorization)
	}
	if id, secret, shaped := splitKey(key); shaped {
		if k, known := a.accounts.Key(id); known {
			return a.byKey(id, secret, k)
		}
	} else if isToken(key) {
		return a.Token(key)
	}
	return a.next.Authenticate(ctx, authorization)
}

// byKey is who proves himself with an API key.
func (a *AccountAuthenticator) byKey(id, secret string, k AccountKey) (Principal, error) {
	// Made secrets are hashed without salt, so that this is comparing digests.
	sum := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare([]byte(hashOf(sum)), []byte(k.Hash)) != 1 {
		return Principal{}, unknown()
	}
	if err := k.works(time.Now()); err != nil {
		return Principal{}, err
	}
	return a.principal(k.Account, id)
}

// works is why a key does not work now, nil if it does.
func (k *AccountKey) works(now time.Time) error {
	switch {
	case !k.NotAfter.IsZero() && !now.Before(k.NotAfter):
		return unauthenticated("KEY_EXPIRED", "the key expired at "+k.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(k.NotBefore):
		return unauthenticated("KEY_NOT_YET", "the key works from "+k.NotBefore.UTC().Format(time.RFC3339)+" on")
	}
	return nil
}

// principal is an account that proved itself with a key.
func (a *AccountAuthenticator) principal(name, keyID string) (Principal, error) {
	account, ok := a.accounts.Account(name)
	if !ok || account.Disabled {
		return Principal{}, unauthenticated("ACCOUNT_DISABLED", "the account is disabled or gone")
	}
	p, err := ParsePrincipal(name)
	p.Email, p.KeyID = account.Email, keyID
	return p, err
}

// Token is whom a token proves.
func (a *AccountAuthenticator) Token(text string) (Principal, error) {
	t, err := parseToken(text)
	if err != nil {
		return Principal{}, unauthenticated("MALFORMED_CREDENTIALS", err.Error())
	}
	id := t.header.KeyID
	wrong := unauthenticated("INVALID_TOKEN", "no key of the platform or of an account signed the token, or it is for another")
	if !slices.Contains(t.claims.Audience, a.issuer) {
		return Principal{}, wrong
	}
	if public, ok := a.accounts.SigningKey(id); ok {
		if t.claims.Issuer != a.issuer || !t.signedBy(public) {
			return Principal{}, wrong
		}
		if err := t.claims.holds(time.Now()); err != nil {
			return Principal{}, err
		}
		return a.principal(t.claims.Subject, id)
	}
	k, ok := a.accounts.Key(id)
	if !ok || t.claims.Issuer != k.Account || t.claims.Subject != k.Account || !t.signedBy(k.Public) {
		return Principal{}, wrong
	}
	now := time.Now()
	if err := k.works(now); err != nil {
		return Principal{}, err
	}
	if err := t.claims.holds(now); err != nil {
		return Principal{}, err
	}
	if issued := max(t.claims.IssuedAt, t.claims.NotBefore); time.Unix(t.claims.Expires, 0).Sub(time.Unix(issued, 0)) > maxAssertion {
		return Principal{}, unauthenticated("INVALID_TOKEN", "a token that a service account signs is good for an hour at most")
	}
	return a.principal(k.Account, id)
}
