package writer

import (
	"context"

	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// append stores samples, and returns those that the store refuses as losses.
func (f *Function) append(ctx context.Context, samples []tsdb.Sample) (losses []function.Loss, err error) {
	_, err = ingest.Append(ctx, f.Series, samples, func(_ tsdb.Sample, reason string) {
		losses = append(losses, function.Loss{Reason: reason, Count: 1})
	})
	return losses, err
}
