package feed

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
)

// Directory is the accounts, with their keys, as a [Feed] knows them.
type Directory struct {
	// mu guards what follows.
	mu       sync.RWMutex
	accounts map[string]iam.Account
	// keys are the keys of service accounts by their ids, and idOf their ids by
	// name.
	keys map[string]iam.AccountKey
	idOf map[resource.Name]string
	// byEmail and byIdentity are the names of users, identities the inverse.
	byEmail    map[string]string
	byIdentity map[Identity]string
	identities map[string][]Identity
	passwords  map[string]string
	// signing are the platform's own keys.
	signing Ring
	// now is the clock.
	now func() time.Time
}

// Identity is who a user is to a provider.
type Identity struct{ Issuer, Subject string }

var _ iam.Accounts = (*Directory)(nil)

// newDirectory is an empty one.
func newDirectory() *Directory {
	return &Directory{
		accounts: map[string]iam.Account{}, keys: map[string]iam.AccountKey{}, idOf: map[resource.Name]string{},
		byEmail: map[string]string{}, byIdentity: map[Identity]string{}, identities: map[string][]Identity{}, passwords: map[string]string{}, now: time.Now,
	}
}

// follow sets the clock.
func (d *Directory) follow(now func() time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = now
}

// Key implements [iam.Accounts].
func (d *Directory) Key(id string) (iam.AccountKey, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	k, ok := d.keys[id]
	return k, ok
}

// Account implements [iam.Accounts].
func (d *Directory) Account(name string) (iam.Account, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	a, ok := d.accounts[name]
	return a, ok
}

// SigningKey implements [iam.Accounts].
func (d *Directory) SigningKey(id string) (ed25519.PublicKey, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, k := range d.signing.Published(d.now()) {
		if k.ID == id {
			public, ok := k.Private.Public().(ed25519.PublicKey)
			return public, ok
		}
	}
	return nil, false
}

// SigningKeys are the keys of the platform.
func (d *Directory) SigningKeys() Ring {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.signing
}

// UserByEmail is the name of a user, with the hash of the password.
func (d *Directory) UserByEmail(email string) (name, passwordHash string, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	name, ok = d.byEmail[email]
	return name, d.passwords[name], ok
}

// UserByIdentity is the name of the user who is that to a provider.
func (d *Directory) UserByIdentity(i Identity) (name string, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	name, ok = d.byIdentity[i]
	return name, ok
}

// setUser adds or replaces a user; nil removes it.
func (d *Directory) setUser(name resource.Name, u *iamv1.User) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := string(name)
	if old, ok := d.accounts[key]; ok && d.byEmail[old.Email] == key {
		delete(d.byEmail, old.Email)
	}
	for _, i := range d.identities[key] {
		if d.byIdentity[i] == key {
			delete(d.byIdentity, i)
		}
	}
	delete(d.identities, key)
	delete(d.accounts, key)
	delete(d.passwords, key)
	if u == nil {
		return
	}
	d.accounts[key] = iam.Account{Email: u.GetEmail(), Disabled: u.GetState() == iamv1.User_DISABLED}
	d.byEmail[u.GetEmail()] = key
	for _, i := range u.GetIdentities() {
		at := Identity{i.GetIssuer(), i.GetSubject()}
		d.byIdentity[at], d.identities[key] = key, append(d.identities[key], at)
	}
	if h := u.GetPasswordHash(); h != "" {
		d.passwords[key] = h
	}
}

// setServiceAccount adds or replaces a service account; nil removes it.
func (d *Directory) setServiceAccount(name resource.Name, a *iamv1.ServiceAccount) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a == nil {
		delete(d.accounts, string(name))
		return
	}
	d.accounts[string(name)] = iam.Account{Disabled: a.GetDisabled()}
}

// setKey adds or replaces a key; nil removes it. One that is none lets nobody
// in.
func (d *Directory) setKey(name resource.Name, k *iamv1.ServiceAccountKey) error {
	made := iam.AccountKey{Account: string(name.Parent()), Hash: k.GetHash()}
	if k.GetNotBefore() != nil {
		made.NotBefore = k.GetNotBefore().AsTime()
	}
	if k.GetNotAfter() != nil {
		made.NotAfter = k.GetNotAfter().AsTime()
	}
	var err error
	if k.GetPublicKey() != "" {
		made.Public, err = ParsePublicKey(k.GetPublicKey())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.keys, d.idOf[name])
	delete(d.idOf, name)
	if k == nil || err != nil {
		return err
	}
	d.keys[k.GetKeyId()], d.idOf[name] = made, k.GetKeyId()
	return nil
}

// setSigningKey adds or replaces a key of the platform; nil removes it.
func (d *Directory) setSigningKey(name resource.Name, k *iamv1.SigningKey) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	others := slices.DeleteFunc(slices.Clone(d.signing), func(k SigningKey) bool { return k.ID == name.ID() })
	if k == nil {
		d.signing = others
		return nil
	}
	private, err := x509.ParsePKCS8PrivateKey(k.GetPrivateKey())
	if err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	ed, ok := private.(ed25519.PrivateKey)
	if !ok {
		return errors.New("signing key: it is no Ed25519 key")
	}
	d.signing = others.With(SigningKey{ID: name.ID(), Private: ed, Made: k.GetCreateTime().AsTime()})
	return nil
}

// ParsePublicKey reads the PEM of an RSA key.
func ParsePublicKey(text string) (any, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(rest) > 0 {
		return nil, errors.New("want one PEM block PUBLIC KEY")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}
