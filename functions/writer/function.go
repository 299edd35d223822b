// Package writer stores the readings of devices: it turns the data of an event
// whose device is known into points of time series (tsdb/ingest) and appends
// them (SPEC C6).
//
// It is a Knative function, at the end of the default route. It replies
// nothing. A point that cannot be stored is reported by function.Drop while
// the others are kept; an event that cannot be understood as a whole is an
// Invalid error, so that the broker dead-letters and counts it. An error of
// the store is Unavailable, and the event comes again: points are stored under
// their own time, so that twice is the same as once.
//
// As a process of its own it writes through the platform's door for points, that
// of functions/monitoring.
package writer

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/remote"
)

// Appender is the part of a tsdb.Store that the writer uses.
type Appender interface {
	// Append adds all samples, or none.
	Append(ctx context.Context, samples []tsdb.Sample) error
	// Sync makes durable all that was appended before the call.
	Sync(ctx context.Context) error
}

// Function stores readings. Handle may be called concurrently. The fields must
// not change after its first call.
type Function struct {
	// Series is where the points go.
	Series Appender
	// Descriptors has the metrics; the first point of one makes its
	// descriptor.
	Descriptors ingest.Describer
	// Devices has the blueprints, whose mappings say what fields mean.
	Devices devicesv1.Reader
	// Options bound what is stored.
	Options ingest.Options

	begin   sync.Once
	decoder *ingest.Decoder
	plans   plans
	// batches are *ingest.Batch and *bulk for reuse.
	batches, bulks sync.Pool
}

var (
	_ function.Handler = (*Function)(nil)
	_ function.Syncer  = (*Function)(nil)
	_ function.Bulk    = (*Function)(nil)
)

// New returns the function for a process of its own, which writes to the
// platform at SELVEDGE_URL, and reads its blueprints there, with the key in
// SELVEDGE_KEY.
func New() *Function {
	url, key := os.Getenv("SELVEDGE_URL"), os.Getenv("SELVEDGE_KEY")
	series := remote.New(url, key)
	return &Function{Series: series, Descriptors: series, Devices: devicesv1.NewClient(url, key)}
}

// Sync makes durable what Handle has taken.
func (f *Function) Sync(ctx context.Context) error { return f.Series.Sync(ctx) }

// Handle stores the points of e.
func (f *Function) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	in, err := f.input(ctx, &e)
	if err != nil {
		return nil, err
	}
	losses, err := f.store(ctx, &in)
	if err != nil {
		return nil, err
	}
	for _, l := range losses {
		function.Drop(ctx, l.Reason, l.Count)
	}
	return nil, nil
}

// start makes the decoder, once.
func (f *Function) start() {
	f.begin.Do(func() { f.decoder = ingest.New(f.Descriptors, f.Options) })
}

// store decodes in and appends its points. It returns what was dropped.
func (f *Function) store(ctx context.Context, in *ingest.Event) ([]function.Loss, error) {
	f.start()
	batch, ok := f.batches.Get().(*ingest.Batch)
	if !ok {
		batch = &ingest.Batch{}
	}
	defer f.batches.Put(batch)
	if err := f.decoder.Decode(ctx, in, batch); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	losses := slices.Clone(batch.Losses)
	refused, err := f.append(ctx, batch.Samples)
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	return append(losses, refused...), nil
}
