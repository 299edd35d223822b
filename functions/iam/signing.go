package iam

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/iam/feed"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

const (
	// keyLife is after how long a key has a successor by default.
	keyLife = 30 * 24 * time.Hour
	// maxKeys bounds the keys that are read at once. There are two or three.
	maxKeys = 1000
)

// rotate makes the next key if one is due by the keys that there are, and returns
// the last.
func (a *Accounts) rotate(ctx context.Context, due func(feed.Ring) bool) (last feed.SigningKey, signs time.Time, err error) {
	follows, err := a.policy(ctx)
	if err != nil {
		return last, signs, err
	}
	r, err := a.feed.Type(iamv1.SigningKeyType)
	if err != nil {
		return last, signs, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return last, signs, fmt.Errorf("making a key: %w", err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return last, signs, fmt.Errorf("making a key: %w", err)
	}
	err = a.store.Run(policy.With(ctx, follows), store.Transaction, func(ctx context.Context) error {
		page, err := a.store.List(ctx, r, store.Query{Limit: maxKeys})
		if err != nil {
			return err
		}
		var there feed.Ring
		for _, m := range page.Objects {
			if k, ok := m.(*iamv1.SigningKey); ok {
				there = there.With(feed.SigningKey{ID: resource.Name(k.GetName()).ID(), Made: k.GetCreateTime().AsTime()})
			}
		}
		if !due(there) {
			last = there[len(there)-1]
			signs = there.Signs(len(there) - 1)
			return nil
		}
		last = feed.SigningKey{ID: feed.FirstKey, Made: a.store.Now()}
		if len(there) > 0 {
			last.ID = "k" + strconv.Itoa(there[len(there)-1].Number()+1)
		}
		there = append(there, last)
		signs = there.Signs(len(there) - 1)
		return a.store.Save(ctx, &iamv1.SigningKey{
			Name: "signingKeys/" + last.ID, PrivateKey: text, CreateTime: timestamppb.New(last.Made),
		}, store.SaveOptions{Create: true})
	})
	if err == nil {
		a.log.InfoContext(ctx, "the key that tokens are signed with", slog.String("key", last.ID), slog.Time("signs", signs))
	}
	return last, signs, err
}

// seedKey makes the first key, unless there is one.
func (a *Accounts) seedKey(ctx context.Context) error {
	if len(a.feed.Accounts().SigningKeys()) > 0 {
		return nil
	}
	last, _, err := a.rotate(ctx, func(r feed.Ring) bool { return len(r) == 0 })
	if err != nil {
		return err
	}
	return a.feed.Refresh(ctx, iamv1.SigningKeyType, resource.Name("signingKeys/"+last.ID)) // another process may have been faster
}

// rotateSigningKeys answers RotateSigningKeys.
func (a *Accounts) rotateSigningKeys(ctx context.Context, _ *iamv1.RotateSigningKeysRequest) (*iamv1.RotateSigningKeysResponse, error) {
	last, signs, err := a.rotate(ctx, func(feed.Ring) bool { return true })
	if err != nil {
		return nil, err
	}
	return &iamv1.RotateSigningKeysResponse{KeyId: last.ID, SignTime: timestamppb.New(signs)}, nil
}

// retire deletes the keys that nobody has to know any more.
func (a *Accounts) retire(ctx context.Context) error {
	all, now := a.feed.Accounts().SigningKeys(), a.store.Now()
	gone := all[:len(all)-len(all.Published(now))]
	if len(gone) == 0 {
		return nil
	}
	follows, err := a.policy(ctx)
	if err != nil {
		return err
	}
	r, err := a.feed.Type(iamv1.SigningKeyType)
	if err != nil {
		return err
	}
	return a.store.Run(policy.With(ctx, follows), store.Transaction, func(ctx context.Context) error {
		for _, k := range gone {
			if err := a.store.Delete(ctx, r, resource.Name("signingKeys/"+k.ID), store.DeleteOptions{AllowMissing: true}); err != nil {
				return err
			}
		}
		return nil
	})
}
