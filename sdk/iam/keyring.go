package iam

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource/readcache"
)

const (
	// cachedKeys bounds the keys that are checked without a look into the
	// store. One takes about 400 bytes.
	cachedKeys = 1 << 16
	// maxDisplayName bounds a display name, in bytes.
	maxDisplayName = 128
)

// Keyring makes, revokes and checks keys. It must be the only one that writes
// its store.
type Keyring struct {
	keys  Keys
	cache *readcache.Cache[string, proof]
	// stretching holds a token while a stretched hash is compared, so that
	// guesses take one processor at most.
	stretching chan struct{}
	// rounds is how much new hashes are stretched.
	rounds int
}

var _ Authenticator = (*Keyring)(nil)

// proof is what is kept of a key that was checked: enough to check it again.
type proof struct {
	principal Principal
	sum       [sha256.Size]byte
	expire    time.Time
}

// NewKeyring makes the keyring of a store.
func NewKeyring(keys Keys) *Keyring {
	return &Keyring{
		keys: keys, cache: readcache.New[string, proof](cachedKeys, 0),
		stretching: make(chan struct{}, 1), rounds: stretchRounds,
	}
}

// Make makes a key for the principal p and returns it. Nothing can tell it
// again. A zero expire is never.
func (k *Keyring) Make(ctx context.Context, p Principal, displayName string, expire time.Time) (key string, r Record, err error) {
	const op = "iam.Make"
	now := time.Now()
	if !expire.IsZero() {
		expire = expire.UTC().Truncate(time.Millisecond) // as fine as stores keep it
	}
	switch {
	case p.Kind != Admin && p.Kind != Project && p.Kind != Device:
		return "", Record{}, &fault.Error{Op: op, Kind: fault.Invalid, Field: "principal", Err: errors.New("a key is for an administrator, a project or a device: a service account has keys of its own")}
	case len(displayName) > maxDisplayName || !utf8.ValidString(displayName):
		return "", Record{}, &fault.Error{Op: op, Kind: fault.Invalid, Field: "displayName", Err: fmt.Errorf("displayName must be at most %d bytes of UTF-8", maxDisplayName)}
	case !expire.IsZero() && !expire.After(now):
		return "", Record{}, &fault.Error{Op: op, Kind: fault.Invalid, Field: "expireTime", Err: errors.New("expireTime must be in the future")}
	}
	id, secret := newKey()
	r = Record{
		ID: id, Principal: p.Name, DisplayName: displayName, Hash: hashMade(secret),
		CreateTime: now.UTC().Truncate(time.Millisecond), ExpireTime: expire,
	}
	if err := k.keys.Create(ctx, r); err != nil {
		return "", Record{}, fmt.Errorf("make key: %w", err)
	}
	return formatKey(id, secret), r, nil
}

// Revoke ends the key of that id; NotFound when there is none. When it returns
// without an error no request is let in by that key any more.
func (k *Keyring) Revoke(ctx context.Context, id string) error {
	// Dropped whatever happened: a store that reports an error may still have
	// deleted, and a key too many in the cache is the one thing to avoid.
	defer k.cache.Drop(id)
	if err := k.keys.Delete(ctx, id); err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	return nil
}

// RevokeAll ends every key of the principal of that name: of a device that is
// about to be deleted, say.
func (k *Keyring) RevokeAll(ctx context.Context, principal string) error {
	return k.RevokeBefore(ctx, principal, time.Time{})
}

// RevokeBefore is RevokeAll of the keys that were made before that time, or of
// all if it is zero.
func (k *Keyring) RevokeBefore(ctx context.Context, principal string, made time.Time) error {
	records, err := k.keys.List(ctx, Query{Principal: principal})
	if err != nil {
		return fmt.Errorf("revoke keys of %s: %w", principal, err)
	}
	for _, r := range records {
		if !made.IsZero() && r.CreateTime.After(made) {
			continue
		}
		if err := k.Revoke(ctx, r.ID); err != nil && fault.KindOf(err) != fault.NotFound {
			return fmt.Errorf("revoke keys of %s: %w", principal, err)
		}
	}
	return nil
}

// Key returns the record of that id, or NotFound.
func (k *Keyring) Key(ctx context.Context, id string) (Record, error) { return k.keys.Key(ctx, id) }

// List returns the records that q asks for, sorted by id.
func (k *Keyring) List(ctx context.Context, q Query) ([]Record, error) { return k.keys.List(ctx, q) }

// Authenticate implements [Authenticator] for "Bearer KEY". A key that was
// checked before is checked again without the store; only a wrong or a new one
// costs a look into it.
func (k *Keyring) Authenticate(ctx context.Context, authorization string) (Principal, error) {
	if authorization == "" {
		return Principal{}, nil
	}
	key, ok := Bearer(authorization)
	if !ok {
		return Principal{}, unauthenticated("MALFORMED_CREDENTIALS", `want "Authorization: Bearer KEY"`)
	}
	id, secret, ok := splitKey(key)
	if !ok {
		id, secret = bootstrapID, key
	}
	p, known, err := k.cache.Get(id)
	if !known {
		id = strings.Clone(id) // the cache must not keep the header
		p, err = k.cache.Load(id, func() (proof, error) { return k.prove(ctx, id, secret) })
	}
	if err != nil {
		return Principal{}, err
	}
	if sum := digest(secret); subtle.ConstantTimeCompare(sum[:], p.sum[:]) != 1 {
		return Principal{}, unknown()
	}
	if !p.expire.IsZero() && !time.Now().Before(p.expire) {
		return Principal{}, unauthenticated("KEY_EXPIRED", "the key expired at "+p.expire.UTC().Format(time.RFC3339))
	}
	return p.principal, nil
}

// prove checks a secret against the store.
func (k *Keyring) prove(ctx context.Context, id, secret string) (proof, error) {
	r, err := k.keys.Key(ctx, id)
	switch {
	case err == nil:
	case fault.KindOf(err) == fault.NotFound:
		return proof{}, unknown()
	default:
		return proof{}, fmt.Errorf("authenticate: %w", err)
	}
	ok, err := k.matches(ctx, r, secret)
	if err != nil {
		return proof{}, fmt.Errorf("authenticate: key %s: %w", id, err)
	}
	if !ok {
		return proof{}, unknown()
	}
	return proofOf(r, secret)
}

// proofOf is the proof by a secret that was found to be that of the record.
func proofOf(r Record, secret string) (proof, error) {
	p, err := ParsePrincipal(r.Principal)
	if err != nil {
		return proof{}, &fault.Error{Op: "iam.Authenticate", Kind: fault.Internal, Err: fmt.Errorf("stored key %s: %w", r.ID, err)}
	}
	p.KeyID = r.ID
	return proof{principal: p, sum: digest(secret), expire: r.ExpireTime}, nil
}

// matches compares a secret with a record, one stretched hash at a time.
func (k *Keyring) matches(ctx context.Context, r Record, secret string) (bool, error) {
	if isStretched(r.Hash) {
		select {
		case k.stretching <- struct{}{}:
			defer func() { <-k.stretching }()
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return matches(r.Hash, secret)
}

// unknown is the fault of a key that proves nothing. It does not say whether
// the id is known.
func unknown() error {
	return unauthenticated("UNKNOWN_KEY", "the key is not known here, or was revoked")
}

// unauthenticated is the fault of credentials that prove nothing.
func unauthenticated(reason, text string) error {
	return &fault.Error{Op: "iam.Authenticate", Kind: fault.Unauthenticated, Reason: reason, Err: errors.New(text)}
}
