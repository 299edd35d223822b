package ingest

import (
	"context"
	"errors"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// Appender is the part of a tsdb.Store that points go to.
type Appender interface {
	// Append adds all samples, or none.
	Append(ctx context.Context, samples []tsdb.Sample) error
}

// Checker is an Appender that knows why it would refuse a sample; "" means that
// it would not.
type Checker interface {
	Check(sample tsdb.Sample) string
}

// Append adds samples to a store, which takes all or none: what it refuses is
// handed to refuse with the reason, and the rest is given to it again. It
// returns that rest, in the memory of samples. An error is Unavailable, unless
// it is of a kind that says more about trying again.
func Append(ctx context.Context, to Appender, samples []tsdb.Sample, refuse func(s tsdb.Sample, reason string)) ([]tsdb.Sample, error) {
	return AppendRest(ctx, to, samples, add(ctx, to, samples), refuse)
}

// AppendRest is Append after a first attempt, of which err is the outcome.
func AppendRest(ctx context.Context, to Appender, samples []tsdb.Sample, err error, refuse func(s tsdb.Sample, reason string)) ([]tsdb.Sample, error) {
	c, checks := to.(Checker)
	if err == nil || !checks || fault.KindOf(err) != fault.Invalid {
		return samples, Retried(err)
	}
	kept := samples[:0]
	for _, s := range samples {
		if reason := c.Check(s); reason != "" {
			refuse(s, reason)
			continue
		}
		kept = append(kept, s)
	}
	return kept, Retried(add(ctx, to, kept))
}

// add adds samples, if there are any.
func add(ctx context.Context, to Appender, samples []tsdb.Sample) error {
	if len(samples) == 0 {
		return nil
	}
	return to.Append(ctx, samples)
}

// Retried is err as Unavailable, unless it is of a kind that says more about
// trying again.
func Retried(err error) error {
	if err == nil {
		return nil
	}
	switch fault.KindOf(err) {
	case fault.Invalid, fault.TooLarge, fault.Exhausted, fault.Unavailable:
		return err
	}
	return &fault.Error{Op: "tsdb/ingest.Append", Kind: fault.Unavailable, Err: errors.Join(errors.New("write points"), err)}
}
