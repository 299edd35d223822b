package feed

import (
	"cmp"
	"crypto/ed25519"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// TokenLife is how long a token is good for. The account is looked at each
	// time that it is used, so one that is disabled or has fewer roles does not
	// wait for the end of that.
	TokenLife = time.Hour
	// Announced is how long a key is published before it signs: until then every
	// process of the platform has learned of it, by [Feed.Learn], and whoever checks
	// tokens elsewhere has looked again.
	Announced = time.Minute
	// grace is how much longer than its tokens a key is published: clocks differ,
	// and a process may have been late to know of the next.
	grace = 5 * time.Minute
)

// SigningKey is a key of the platform.
type SigningKey struct {
	ID      string
	Private ed25519.PrivateKey
	Made    time.Time
}

// FirstKey is the id of the first key. The others are "k2", "k3" and so on, so
// that two processes that make the next one at the same time make one.
const FirstKey = "first"

// Number is which key it is, counted from 1.
func (k SigningKey) Number() int {
	if k.ID == FirstKey {
		return 1
	}
	n, _ := strconv.Atoi(strings.TrimPrefix(k.ID, "k"))
	return n
}

// Ring are the keys of the platform in their order, which is not that of the
// clock: it may have been wrong.
//
//	         made                signs            next signs        gone
//	first    ├───────────────────┼────────────────┤· · · · · · · · ·┤
//	k2                 ├─ 1 min ─┤────────────────────────── …
//	                  published, so that it is known     tokens expire
type Ring []SigningKey

// With is the Ring with one more key.
func (r Ring) With(k SigningKey) Ring {
	out := append(slices.Clone(r), k)
	slices.SortFunc(out, func(a, b SigningKey) int {
		return cmp.Or(cmp.Compare(a.Number(), b.Number()), strings.Compare(a.ID, b.ID))
	})
	return out
}

// Signs is when the key with that index began or begins to sign. The oldest one
// does at once: nobody knows another.
func (r Ring) Signs(i int) time.Time {
	if i == 0 {
		return time.Time{}
	}
	return r[i].Made.Add(Announced)
}

// Current is the key that signs now: the last one whose time has come.
func (r Ring) Current(now time.Time) (SigningKey, bool) {
	for i := len(r) - 1; i >= 0; i-- {
		if !r.Signs(i).After(now) {
			return r[i], true
		}
	}
	return SigningKey{}, false
}

// Published are the keys that somebody may have to know now: all but those whose
// last token has expired since another one signs.
func (r Ring) Published(now time.Time) Ring {
	for i := len(r) - 1; i > 0; i-- {
		if !r.Signs(i).Add(TokenLife + grace).After(now) {
			return r[i:]
		}
	}
	return r
}

// Due reports whether the last key is to have a successor: after that long, by a
// clock that may have been wrong when it was made.
func (r Ring) Due(now time.Time, life time.Duration) bool {
	return len(r) == 0 || now.Sub(r[len(r)-1].Made).Abs() >= life
}
