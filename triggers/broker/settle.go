package broker

import (
	"context"
	"errors"
	"time"

	"selvedge.dev/sdk/journal"
)

// settleEvery is how often Settle looks how far the triggers are.
const settleEvery = 5 * time.Millisecond

// Settle waits until what was published before the call is delivered, and so
// are the replies to it, and then saves the progress of every trigger: none of
// it is delivered again, also after a crash. When ctx ends before, the progress
// that there is is saved, and the error is that of ctx: what is then still
// waiting may be delivered again.
func (b *Broker) Settle(ctx context.Context) error {
	var late error
	for range 2 { // what was published, and the replies to it
		if late = b.await(ctx, b.journal.End()); late != nil {
			break
		}
	}
	var errs []error
	for _, r := range *b.runners.Load() {
		errs = append(errs, r.commit(context.WithoutCancel(ctx), true))
	}
	return errors.Join(append(errs, late)...)
}

// await waits until every trigger is done with the journal up to the offset.
func (b *Broker) await(ctx context.Context, end journal.Offset) error {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for _, r := range *b.runners.Load() {
		for r.track.low() < end && b.find(r.id) == r {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
