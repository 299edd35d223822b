package chain

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
)

// keyDomain is the domain of endorsements.
const keyDomain = "selvedge.dev/audit/key/v1"

// algorithm is the byte that says Ed25519 in the keys of signed notes.
const algorithm = 1

// Key is a public key that checkpoints are signed with.
type Key struct {
	// Key is the key in the form of c2sp.org/signed-note: NAME+HASH+BASE64.
	Key string `json:"key"`
	// From and Until bound the times of the checkpoints that it is good for;
	// a zero Until is no bound.
	From  time.Time `json:"from"`
	Until time.Time `json:"until,omitzero"`
	// By is the id of the key before it, and Endorsement that key's signature:
	// who trusts one key can trust the next.
	By          string `json:"by,omitempty"`
	Endorsement []byte `json:"endorsement,omitempty"`
}

// KeyID is the id of the key that a platform called name signs with: the name
// and the beginning of a hash, which a checkpoint's signature has too.
func KeyID(name string, public ed25519.PublicKey) string {
	sum := sha256.Sum256(append([]byte(name+"\n"), append([]byte{algorithm}, public...)...))
	return name + "+" + hex.EncodeToString(sum[:4])
}

// keyHash is the hash in an id.
func keyHash(id string) ([]byte, error) {
	return hex.DecodeString(id[strings.LastIndexByte(id, '+')+1:])
}

// NewKey is the public key of a platform called name, in use from a time on.
func NewKey(name string, public ed25519.PublicKey, from time.Time) Key {
	return Key{
		Key:  KeyID(name, public) + "+" + base64.StdEncoding.EncodeToString(append([]byte{algorithm}, public...)),
		From: from.UTC().Truncate(time.Second),
	}
}

// ID is the key's id.
func (k Key) ID() string {
	name, rest, _ := strings.Cut(k.Key, "+")
	hash, _, _ := strings.Cut(rest, "+")
	return name + "+" + hash
}

// Public is the key itself.
func (k Key) Public() (ed25519.PublicKey, error) {
	parts := strings.SplitN(k.Key, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("key %q is not NAME+HASH+BASE64", k.Key)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != algorithm {
		return nil, fmt.Errorf("key %q is none of Ed25519", k.Key)
	}
	if public := ed25519.PublicKey(raw[1:]); KeyID(parts[0], public) == k.ID() {
		return public, nil
	}
	return nil, fmt.Errorf("key %q has another hash", k.Key)
}

// endorsed is what the key before it signs.
func (k Key) endorsed() []byte {
	b := appendString(nil, keyDomain)
	b = appendString(b, k.Key)
	b = appendString(b, k.From.UTC().Format(time.RFC3339))
	return appendString(b, k.By)
}

// Endorse says, with the private key before it, that the key is the next.
func (k *Key) Endorse(before ed25519.PrivateKey, name string) {
	k.By = KeyID(name, before.Public().(ed25519.PublicKey))
	k.Endorsement = ed25519.Sign(before, k.endorsed())
}

// Keys are the public keys of a platform, the oldest first.
type Keys []Key

// keyFile is the JSON form of keys.
type keyFile struct {
	Keys Keys `json:"keys"`
}

// ParseKeys reads keys in JSON, as Keys.JSON writes them.
func ParseKeys(text []byte) (Keys, error) {
	var f keyFile
	err := json.Unmarshal(text, &f)
	if err == nil && len(f.Keys) == 0 {
		err = errors.New("no keys")
	}
	for _, k := range f.Keys {
		if _, bad := k.Public(); bad != nil {
			err = errors.Join(err, bad)
		}
	}
	if err != nil {
		return nil, &fault.Error{Op: "chain.ParseKeys", Kind: fault.Invalid, Reason: "AUDIT_KEYS_INVALID", Err: err}
	}
	return f.Keys, nil
}

// JSON is the keys as a file.
func (k Keys) JSON() []byte {
	text, err := json.MarshalIndent(keyFile{k}, "", "  ")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return append(text, '\n')
}

// find is the key of an id.
func (k Keys) find(id string) (Key, bool) {
	i := slices.IndexFunc(k, func(k Key) bool { return k.ID() == id })
	if i < 0 {
		return Key{}, false
	}
	return k[i], true
}

// Extend adds those of others that are endorsed by a key that is there, or that
// was added so, which ends the period of the key that endorses. Keys that nobody
// vouches for count for nothing.
func (k Keys) Extend(others Keys) Keys {
	all := slices.Clone(k)
	for again := true; again; {
		again = false
		for _, o := range others {
			if _, have := all.find(o.ID()); have {
				continue
			}
			i := slices.IndexFunc(all, func(k Key) bool { return k.ID() == o.By })
			if i < 0 {
				continue
			}
			by := &all[i]
			public, err := by.Public()
			if _, bad := o.Public(); err != nil || bad != nil || !ed25519.Verify(public, o.endorsed(), o.Endorsement) {
				continue
			}
			if by.Until.IsZero() || o.From.Before(by.Until) {
				by.Until = o.From // it said so itself
			}
			all, again = append(all, o), true
		}
	}
	return all
}

// Check is an error unless the checkpoint is signed with one of the keys, at a
// time when it was in use.
func (k Keys) Check(c *Checkpoint) error {
	key, ok := k.find(c.KeyID)
	if !ok {
		return fmt.Errorf("it is signed with the key %s, which is none of the known ones", c.KeyID)
	}
	public, err := key.Public()
	switch {
	case err != nil:
		return err
	case !ed25519.Verify(public, []byte(c.Text()), c.Signature):
		return fmt.Errorf("its signature with the key %s is wrong", c.KeyID)
	case c.Time.Before(key.From) || !key.Until.IsZero() && c.Time.After(key.Until):
		return fmt.Errorf("it is of %s, when the key %s was not in use", c.Time.Format(time.RFC3339), c.KeyID)
	}
	return nil
}
