package iam

import (
	"context"
	"fmt"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
)

const (
	// bootstrapID is the id of a bootstrap key that is no made key.
	bootstrapID = "bootstrap"
	// bootstrapName is the display name of bootstrap keys.
	bootstrapName = "bootstrap administrator"

	// minChosen is the least length of a key that the operator chose: under
	// it, guessing becomes thinkable.
	minChosen = 16
	// maxChosen is the greatest: it must fit a header.
	maxChosen = 512
)

// Bootstrap makes sure that there is an administrator's key.
//
// Given a key, that one works from here on, and the one that was given before
// does not, if it was another. It may be any text that fits a header: 16 to 512
// printable ASCII characters without a space at either end. Given none, a key
// is made if no administrator's key works, and returned, to be shown once.
//
// It is for the start of the platform, before anybody authenticates.
func (k *Keyring) Bootstrap(ctx context.Context, key string) (made string, err error) {
	admins, err := k.keys.List(ctx, Query{Principal: adminName})
	if err != nil {
		return "", fmt.Errorf("bootstrap: %w", err)
	}
	if key == "" {
		return k.bootstrapMade(ctx, admins)
	}
	return "", k.bootstrapGiven(ctx, admins, key)
}

// bootstrapMade makes a key unless one of admins works.
func (k *Keyring) bootstrapMade(ctx context.Context, admins []Record) (string, error) {
	for _, r := range admins {
		if !r.expired(time.Now()) {
			return "", nil
		}
	}
	made, _, err := k.Make(ctx, Principal{Kind: Admin, Name: adminName}, bootstrapName, time.Time{})
	if err != nil {
		return "", fmt.Errorf("bootstrap: %w", err)
	}
	return made, nil
}

// bootstrapGiven makes key the bootstrap key.
func (k *Keyring) bootstrapGiven(ctx context.Context, admins []Record, key string) error {
	if err := checkChosen(key); err != nil {
		return err
	}
	id, secret, shaped := splitKey(key)
	if !shaped {
		id, secret = bootstrapID, key
	}
	var working *Record
	for _, r := range admins {
		same := false
		if r.ID == id {
			ok, err := k.matches(ctx, r, secret)
			if err != nil {
				return fmt.Errorf("bootstrap: key %s: %w", r.ID, err)
			}
			same = ok && !r.expired(time.Now())
		}
		switch {
		case same:
			working = &r
		case r.Bootstrap:
			if err := k.Revoke(ctx, r.ID); err != nil {
				return fmt.Errorf("bootstrap: %w", err)
			}
		}
	}
	if working == nil {
		r, err := k.newBootstrap(id, secret, shaped)
		if err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		if err := k.keys.Create(ctx, r); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		working = &r
	}
	// Known from now on, so that nobody waits for the stretching.
	_, err := k.cache.Load(id, func() (proof, error) { return proofOf(*working, secret) })
	return err
}

// newBootstrap is the record of a given key. One that has the form of a made
// key is taken for one, perhaps of another installation, whose secret needs no
// stretching.
func (k *Keyring) newBootstrap(id, secret string, shaped bool) (Record, error) {
	hash := hashMade(secret)
	if !shaped {
		var err error
		if hash, err = hashChosen(secret, k.rounds); err != nil {
			return Record{}, err
		}
	}
	return Record{
		ID: id, Principal: adminName, DisplayName: bootstrapName, Hash: hash, Bootstrap: true,
		CreateTime: time.Now().UTC().Truncate(time.Millisecond),
	}, nil
}

// checkChosen checks that a key can be sent in a header and is not too short
// to be one.
func checkChosen(key string) error {
	printable := strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) < 0
	if len(key) < minChosen || len(key) > maxChosen || !printable || strings.Trim(key, " ") != key {
		return &fault.Error{
			Op: "iam.Bootstrap", Kind: fault.Invalid, Reason: "INVALID_KEY", Field: "key",
			Err: fmt.Errorf("the administrator's key must be %d to %d printable ASCII characters without a space at either end", minChosen, maxChosen),
		}
	}
	return nil
}
