package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// The files of a keyring: the public keys, which anybody may have, and the
// private key of the last of them, which only the owner can read.
const (
	publicFile    = "keys.json"
	privatePrefix = "signing-"
	privateSuffix = ".pem"
)

var _ Signer = (*Keyring)(nil)

// Keyring is a signing key in a folder, and the public keys of all before it.
type Keyring struct {
	dir, name string
	now       func() time.Time

	mu      sync.Mutex
	private ed25519.PrivateKey
	keys    chain.Keys
	signed  time.Time // the time of the latest checkpoint since it was opened
}

// OpenKeyring opens the keyring in a folder; what is missing is made. name is
// the platform's, the origin of its checkpoints, such as
// "audit.example.com/plant-7": no spaces and no plus. A nil now means time.Now.
func OpenKeyring(dir, name string, now func() time.Time) (*Keyring, error) {
	const op = "audit.OpenKeyring"
	if name == "" || len(name) > 200 || strings.ContainsAny(name, " +\t\r\n") || strings.HasSuffix(name, "/") {
		return nil, &fault.Error{Op: op, Kind: fault.Invalid, Field: "name", Err: fmt.Errorf("%q is empty, too long, or has a space or a plus in it", name)}
	}
	if now == nil {
		now = time.Now
	}
	k := &Keyring{dir: dir, name: name, now: now}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, wrap(op, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, publicFile))
	if errors.Is(err, fs.ErrNotExist) {
		return k, wrap(op, k.rotate())
	}
	if err != nil {
		return nil, wrap(op, err)
	}
	if k.keys, err = chain.ParseKeys(text); err != nil {
		return nil, wrap(op, err)
	}
	last := k.keys[len(k.keys)-1]
	if k.private, err = readPrivate(k.privateFile(last)); err != nil {
		return nil, wrap(op, err)
	}
	if id := chain.KeyID(name, k.private.Public().(ed25519.PublicKey)); id != last.ID() {
		return nil, &fault.Error{Op: op, Kind: fault.Precondition, Reason: "AUDIT_KEY_MISMATCH", Err: fmt.Errorf("the signing key in %s is %s, and the last public key %s", dir, id, last.ID())}
	}
	return k, nil
}

// KeyringName is the name that the keyring in a folder was made with, "" if there
// is none.
func KeyringName(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, publicFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", wrap("audit.KeyringName", err)
	}
	keys, err := chain.ParseKeys(text)
	if err != nil {
		return "", wrap("audit.KeyringName", err)
	}
	name, _, _ := strings.Cut(keys[0].Key, "+")
	return name, nil
}

// privateFile is the file of the private key of k.
func (k *Keyring) privateFile(key chain.Key) string {
	id := key.ID()
	return filepath.Join(k.dir, privatePrefix+id[strings.LastIndexByte(id, '+')+1:]+privateSuffix)
}

// readPrivate reads a private key in PKCS #8. One that others can read is
// refused, as ssh does.
func readPrivate(file string) (ed25519.PrivateKey, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, &fault.Error{Name: file, Kind: fault.Precondition, Reason: "AUDIT_KEY_READABLE", Err: fmt.Errorf("others can read the signing key %s: chmod 600 it, and rotate it if they may have", file)}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s has no key in PEM", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s has a key of type %T instead of Ed25519", file, key)
	}
	return private, nil
}

// Name implements Signer.
func (k *Keyring) Name() string { return k.name }

// Keys implements Signer.
func (k *Keyring) Keys() chain.Keys {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.keys)
}

// Sign implements Signer.
func (k *Keyring) Sign(c *Checkpoint) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if from := k.keys[len(k.keys)-1].From; c.Time.Before(from) {
		c.Time = from
	}
	if err := c.Sign(k.private); err != nil {
		return err
	}
	if c.Time.After(k.signed) {
		k.signed = c.Time
	}
	return nil
}

// Rotate makes a new signing key, which the one before it vouches for, and
// removes that one's private key: whoever finds the folder later cannot sign
// for the past.
func (k *Keyring) Rotate() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return wrap("audit.Rotate", k.rotate())
}

// rotate is Rotate with mu held.
func (k *Keyring) rotate() error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	keys := slices.Clone(k.keys)
	key := chain.NewKey(k.name, private.Public().(ed25519.PublicKey), k.now())
	var old string
	if n := len(keys); n > 0 {
		before := &keys[n-1]
		for _, t := range []time.Time{before.From, k.signed} { // where the clock was set back
			if key.From.Before(t) {
				key.From = t
			}
		}
		before.Until, old = key.From, k.privateFile(*before)
		key.Endorse(k.private, k.name)
	}
	keys = append(keys, key)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	// The private key first: public keys without it could not be signed with.
	if err := replaceFile(k.privateFile(key), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(k.dir, publicFile), keys.JSON(), 0o644); err != nil {
		return err
	}
	k.private, k.keys = private, keys
	if old != "" {
		return os.Remove(old)
	}
	return nil
}

// replaceFile writes a file durably, whole or not at all.
func replaceFile(name string, text []byte, mode fs.FileMode) error {
	temp := name + temporarySuffix
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
