package writer

import (
	"context"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
)

// checker is a store that knows why it would refuse a sample; "" means that it
// would not.
type checker interface {
	Check(sample tsdb.Sample) string
}

// append stores samples, and returns those that the store refuses as losses. A
// store takes all samples or none, so what it refuses is taken out and the
// rest is given to it again.
func (f *Function) append(ctx context.Context, samples []tsdb.Sample) ([]function.Loss, error) {
	if len(samples) == 0 {
		return nil, nil
	}
	err := f.Series.Append(ctx, samples)
	if err == nil {
		return nil, nil
	}
	c, checks := f.Series.(checker)
	if !checks || fault.KindOf(err) != fault.Invalid {
		return nil, retried(err)
	}
	var losses []function.Loss
	kept := samples[:0]
	for _, s := range samples {
		if reason := c.Check(s); reason != "" {
			losses = append(losses, function.Loss{Reason: reason, Count: 1})
			continue
		}
		kept = append(kept, s)
	}
	if len(kept) == 0 {
		return losses, nil
	}
	return losses, retried(f.Series.Append(ctx, kept))
}

// retried is err as Unavailable, unless it is of a kind that says more about
// trying again.
func retried(err error) error {
	if err == nil {
		return nil
	}
	switch fault.KindOf(err) {
	case fault.Invalid, fault.TooLarge, fault.Exhausted, fault.Unavailable:
		return err
	}
	return &fault.Error{Op: "writer.append", Kind: fault.Unavailable, Err: err}
}
