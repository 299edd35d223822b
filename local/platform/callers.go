package platform

import (
	"sync"
	"time"

	"selvedge.dev/sdk/iam"
)

const (
	// callerFresh is how long the proof of a caller is used again: half of its
	// life, so that it holds when it arrives.
	callerFresh = 30 * time.Second
	// maxCallers bounds the proofs in memory, at half a kilobyte each.
	maxCallers = 10_000
)

// callers are the proofs of who calls functions. Signing one takes as long as all
// else that the door does.
type callers struct {
	sign func(who iam.Principal, audience string) (string, error)
	now  func() time.Time

	mu   sync.Mutex
	kept map[caller]proof
}

// caller is who calls, and what.
type caller struct{ name, email, function string }

// proof is a token, and since when there is one.
type proof struct {
	token string
	at    time.Time
}

// callers are those of the platform's functions.
func (p *Platform) callers() *callers {
	return &callers{
		now: time.Now, kept: map[caller]proof{},
		sign: func(who iam.Principal, audience string) (string, error) { return p.accounts.CallerToken(who, audience) },
	}
}

// prove is what proves to a function who calls it.
func (c *callers) prove(who iam.Principal, function string) (string, error) {
	id := caller{who.Name, who.Email, function}
	now := c.now()
	c.mu.Lock()
	known, ok := c.kept[id]
	c.mu.Unlock()
	if ok && now.Sub(known.at) < callerFresh {
		return known.token, nil
	}
	token, err := c.sign(who, iam.FunctionAudience(function))
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) >= maxCallers {
		clear(c.kept)
	}
	c.kept[id] = proof{token, now}
	return token, nil
}
