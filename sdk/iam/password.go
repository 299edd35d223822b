package iam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
)

const (
	// minPassword is NIST's least length of a password that is the only factor,
	// in characters.
	minPassword = 15
	// maxPassword bounds one, in bytes.
	maxPassword = 256
)

// Passwords makes and checks the hashes of passwords, one at a time, so that
// guesses take one processor at most, and no faster than a person mistypes.
type Passwords struct {
	stretching chan struct{}
	rounds     int
	guesses    *throttle
}

// NewPasswords makes one, whose new hashes are stretched by so many rounds; 0 is
// what is advised, and anything less is for tests.
func NewPasswords(rounds int) *Passwords {
	return &Passwords{stretching: make(chan struct{}, 1), rounds: cmp.Or(rounds, stretchRounds), guesses: newThrottle()}
}

// turn waits for the one turn to stretch; done ends it.
func (p *Passwords) turn(ctx context.Context) (done func(), err error) {
	select {
	case p.stretching <- struct{}{}:
		return func() { <-p.stretching }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Hash is the hash of a password, to be stored. A password that is too short or
// too long is an Invalid fault.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	if n := utf8.RuneCountInString(password); n < minPassword || len(password) > maxPassword || !utf8.ValidString(password) {
		return "", &fault.Error{
			Op: "iam.Hash", Kind: fault.Invalid, Reason: "INVALID_PASSWORD", Field: "password",
			Err: fmt.Errorf("a password has at least %d characters, and at most %d bytes", minPassword, maxPassword),
		}
	}
	done, err := p.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	return hashChosen(password, p.rounds)
}

// Check is nil if a password has that hash. Otherwise it is an Unauthenticated
// fault, or Exhausted after too many wrong ones of the same user or from the
// same address. Without a hash it takes as long to find out that nothing is
// right.
func (p *Passwords) Check(ctx context.Context, user, address, hash, password string) error {
	var wait time.Duration
	for _, who := range []string{user, address} {
		wait = max(wait, p.guesses.wait(who))
	}
	if wait > 0 {
		return &fault.Error{Op: "iam.Check", Kind: fault.Exhausted, Reason: "TOO_MANY_WRONG_PASSWORDS", Err: throttled{wait}}
	}
	done, err := p.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	if hash == "" || len(password) > maxPassword {
		_, err = hashChosen("", p.rounds)
	} else if ok, bad := matches(hash, password); ok && bad == nil {
		return nil
	} else {
		err = bad
	}
	if err != nil {
		return err
	}
	p.guesses.count(user)
	p.guesses.count(address)
	return &fault.Error{Op: "iam.Check", Kind: fault.Unauthenticated, Reason: "WRONG_PASSWORD", Err: errors.New("the user or the password is wrong")}
}
