package ingest

import (
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
)

// Batch is what Decode made of an event. The zero value is ready; using one
// again saves its memory. Samples and Losses are valid until then.
type Batch struct {
	// Samples are the points to store. Their Series are shared.
	Samples []tsdb.Sample
	// Losses are the points that cannot be stored, by reason; and exemplars, under
	// ExemplarNotKept, without which their points are stored.
	Losses []function.Loss

	// path, unseen, slots, pack and key are scratch space of the forms.
	path   []byte
	unseen []unseen
	slots  []scalar
	pack   []measurement
	key    []byte
}

// reset empties the batch.
func (b *Batch) reset() {
	// What points into the data of the last event must not keep it alive.
	clear(b.unseen)
	clear(b.slots)
	clear(b.pack)
	b.Samples, b.Losses = b.Samples[:0], b.Losses[:0]
	b.unseen, b.slots, b.pack = b.unseen[:0], b.slots[:0], b.pack[:0]
}

// lose counts n points that were dropped for reason.
func (b *Batch) lose(reason string, n int) {
	if n == 0 {
		return
	}
	for i := range b.Losses {
		if b.Losses[i].Reason == reason {
			b.Losses[i].Count += n
			return
		}
	}
	b.Losses = append(b.Losses, function.Loss{Reason: reason, Count: n})
}
