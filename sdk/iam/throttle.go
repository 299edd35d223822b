package iam

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
)

const (
	// guessBurst wrong guesses are free; a person mistypes a few times.
	guessBurst = 10
	// guessEvery is how often one more is.
	guessEvery = time.Second
	// guessSlots is how many counters there are, 32 KiB of them. Addresses
	// share one by chance, which costs the innocent one a wait at worst.
	guessSlots = 4096
	// network6 is the part of an IPv6 address that one subscriber has.
	network6 = 64
)

// throttle bounds the rate of wrong guesses by address, in constant memory.
type throttle struct {
	start time.Time
	seed  maphash.Seed
	// debt is, for each slot, when its guesses will all be paid for, as the
	// time since start: every guess adds guessEvery (the generic cell rate
	// algorithm).
	debt [guessSlots]atomic.Int64
}

// newThrottle makes a throttle. Its hash is seeded, so that nobody can choose
// whose slot he shares.
func newThrottle() *throttle {
	return &throttle{start: time.Now(), seed: maphash.MakeSeed()}
}

// slot is the debt of the address of a connection.
func (t *throttle) slot(address string) *atomic.Int64 {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		a := ap.Addr().Unmap()
		bits := a.BitLen()
		if a.Is6() {
			bits = network6
		}
		if prefix, err := a.WithZone("").Prefix(bits); err == nil {
			address = prefix.String()
		}
	}
	return &t.debt[maphash.String(t.seed, address)%guessSlots]
}

// wait is how long the address must wait for its next guess, 0 if it need not.
func (t *throttle) wait(address string) time.Duration {
	free := time.Since(t.start) + (guessBurst-1)*guessEvery
	return max(0, time.Duration(t.slot(address).Load())-free)
}

// count counts a wrong guess of the address.
func (t *throttle) count(address string) {
	debt := t.slot(address)
	for {
		old := debt.Load()
		if debt.CompareAndSwap(old, max(old, int64(time.Since(t.start)))+int64(guessEvery)) {
			return
		}
	}
}

// throttled is the cause of a refusal to look at one more guess.
type throttled struct{ after time.Duration }

var _ fault.RetryAfter = throttled{}

// Error says what happened.
func (throttled) Error() string { return "too many wrong keys came from this address" }

// RetryAfter is when the next guess is free.
func (t throttled) RetryAfter() time.Duration { return t.after }
