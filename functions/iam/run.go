package iam

import (
	"context"
	"log/slog"
	"time"

	"selvedge.dev/sdk/iam/feed"
)

// maintainEvery is how often Run looks after keys and sessions: some times while a
// key is published that does not sign yet.
const maintainEvery = feed.Announced / 3

// Run gives the signing key a successor when it is time, learns of those that
// other processes made, and clears away keys and sessions that are over, until ctx
// ends. Every process of a platform runs it: one key comes of it.
func (a *Accounts) Run(ctx context.Context) error {
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		for _, f := range []func(context.Context) error{a.feed.Learn, a.rotateDue, a.retire, a.sweep} {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				a.log.WarnContext(ctx, "signing keys and sessions are looked after later", slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// rotateDue gives the signing key a successor when it is time.
func (a *Accounts) rotateDue(ctx context.Context) error {
	due := func(r feed.Ring) bool { return r.Due(a.store.Now(), a.options.KeyLife) }
	if !due(a.feed.Accounts().SigningKeys()) {
		return nil
	}
	_, _, err := a.rotate(ctx, due)
	return err
}
