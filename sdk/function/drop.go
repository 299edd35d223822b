package function

import (
	"context"
	"sync"
)

// Loss is a part of an event that a function could not keep.
type Loss struct {
	// Reason is a stable UPPER_SNAKE_CASE word: "NOT_FINITE".
	Reason string
	// Count is how many items were dropped for it, at least 1.
	Count int
}

// dropsKey finds the Drops of a context.
type dropsKey struct{}

// Drops collects what one call of Handle dropped. The zero value is ready.
type Drops struct {
	mu     sync.Mutex
	losses []Loss
}

// WithDrops returns a context whose [Drop] calls go to d.
func WithDrops(ctx context.Context, d *Drops) context.Context {
	return context.WithValue(ctx, dropsKey{}, d)
}

// Drop records that n items of the event in hand were dropped for reason,
// while the rest was applied: a NaN among ten readings. It reaches the
// platform's loss ledger from a function in the same process and, by a
// response header, from one in another.
func Drop(ctx context.Context, reason string, n int) {
	d, ok := ctx.Value(dropsKey{}).(*Drops)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.losses {
		if d.losses[i].Reason == reason {
			d.losses[i].Count += n
			return
		}
	}
	d.losses = append(d.losses, Loss{reason, n})
}

// Losses is what was dropped so far, in the order of first occurrence.
func (d *Drops) Losses() []Loss {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Loss(nil), d.losses...)
}
