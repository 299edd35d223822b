package iam

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

const (
	// keyLife is after how long a key has a successor by default.
	keyLife = 30 * 24 * time.Hour
	// announced is how long a key is published before it signs: until then every
	// process of the platform has learned of it, by [Accounts.Run], and whoever
	// checks tokens elsewhere has looked again.
	announced = time.Minute
	// grace is how much longer than its tokens a key is published: clocks differ,
	// and a process may have been late to know of the next.
	grace = 5 * time.Minute
	// maxKeys bounds the keys that are read at once. There are two or three.
	maxKeys = 1000
)

// signingKey is a key of the platform.
type signingKey struct {
	id      string
	private ed25519.PrivateKey
	made    time.Time
}

// firstKey is the id of the first key. The others are "k2", "k3" and so on, so
// that two processes that make the next one at the same time make one.
const firstKey = "first"

// number is which key it is, counted from 1.
func (k signingKey) number() int {
	if k.id == firstKey {
		return 1
	}
	n, _ := strconv.Atoi(strings.TrimPrefix(k.id, "k"))
	return n
}

// ring are the keys of the platform in their order, which is not that of the
// clock: it may have been wrong.
//
//	         made                signs            next signs        gone
//	first    ├───────────────────┼────────────────┤· · · · · · · · ·┤
//	k2                 ├─ 1 min ─┤────────────────────────── …
//	                  published, so that it is known     tokens expire
type ring []signingKey

// with is the ring with one more key.
func (r ring) with(k signingKey) ring {
	out := append(slices.Clone(r), k)
	slices.SortFunc(out, func(a, b signingKey) int {
		return cmp.Or(cmp.Compare(a.number(), b.number()), strings.Compare(a.id, b.id))
	})
	return out
}

// signs is when the key with that index began or begins to sign. The oldest one
// does at once: nobody knows another.
func (r ring) signs(i int) time.Time {
	if i == 0 {
		return time.Time{}
	}
	return r[i].made.Add(announced)
}

// current is the key that signs now: the last one whose time has come.
func (r ring) current(now time.Time) (signingKey, bool) {
	for i := len(r) - 1; i >= 0; i-- {
		if !r.signs(i).After(now) {
			return r[i], true
		}
	}
	return signingKey{}, false
}

// published are the keys that somebody may have to know now: all but those whose
// last token has expired since another one signs.
func (r ring) published(now time.Time) ring {
	for i := len(r) - 1; i > 0; i-- {
		if !r.signs(i).Add(tokenLife + grace).After(now) {
			return r[i:]
		}
	}
	return r
}

// due reports whether the last key is to have a successor: after that long, by a
// clock that may have been wrong when it was made.
func (r ring) due(now time.Time, life time.Duration) bool {
	return len(r) == 0 || now.Sub(r[len(r)-1].made).Abs() >= life
}

// rotate makes the next key if one is due by the keys that there are, and returns
// the last.
func (a *Accounts) rotate(ctx context.Context, due func(ring) bool) (last signingKey, signs time.Time, err error) {
	follows, err := a.policy(ctx)
	if err != nil {
		return last, signs, err
	}
	r, err := a.feed.typ(signingKeyType)
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
		var there ring
		for _, m := range page.Objects {
			if k, ok := m.(*iamv1.SigningKey); ok {
				there = there.with(signingKey{id: resource.Name(k.GetName()).ID(), made: k.GetCreateTime().AsTime()})
			}
		}
		if !due(there) {
			last = there[len(there)-1]
			signs = there.signs(len(there) - 1)
			return nil
		}
		last = signingKey{id: firstKey, made: a.store.Now()}
		if len(there) > 0 {
			last.id = "k" + strconv.Itoa(there[len(there)-1].number()+1)
		}
		there = append(there, last)
		signs = there.signs(len(there) - 1)
		return a.store.Save(ctx, &iamv1.SigningKey{
			Name: "signingKeys/" + last.id, PrivateKey: text, CreateTime: timestamppb.New(last.made),
		}, store.SaveOptions{Create: true})
	})
	if err == nil {
		a.log.InfoContext(ctx, "the key that tokens are signed with", slog.String("key", last.id), slog.Time("signs", signs))
	}
	return last, signs, err
}

// seedKey makes the first key, unless there is one.
func (a *Accounts) seedKey(ctx context.Context) error {
	if len(a.feed.accounts.signingKeys()) > 0 {
		return nil
	}
	last, _, err := a.rotate(ctx, func(r ring) bool { return len(r) == 0 })
	if err != nil {
		return err
	}
	return a.feed.refresh(ctx, signingKeyType, resource.Name("signingKeys/"+last.id)) // another process may have been faster
}

// rotateSigningKeys answers RotateSigningKeys.
func (a *Accounts) rotateSigningKeys(ctx context.Context, _ *iamv1.RotateSigningKeysRequest) (*iamv1.RotateSigningKeysResponse, error) {
	last, signs, err := a.rotate(ctx, func(ring) bool { return true })
	if err != nil {
		return nil, err
	}
	return &iamv1.RotateSigningKeysResponse{KeyId: last.id, SignTime: timestamppb.New(signs)}, nil
}

// retire deletes the keys that nobody has to know any more.
func (a *Accounts) retire(ctx context.Context) error {
	all, now := a.feed.accounts.signingKeys(), a.store.Now()
	gone := all[:len(all)-len(all.published(now))]
	if len(gone) == 0 {
		return nil
	}
	follows, err := a.policy(ctx)
	if err != nil {
		return err
	}
	r, err := a.feed.typ(signingKeyType)
	if err != nil {
		return err
	}
	return a.store.Run(policy.With(ctx, follows), store.Transaction, func(ctx context.Context) error {
		for _, k := range gone {
			if err := a.store.Delete(ctx, r, resource.Name("signingKeys/"+k.id), store.DeleteOptions{AllowMissing: true}); err != nil {
				return err
			}
		}
		return nil
	})
}
