package edgeruntime

import (
	"fmt"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
)

// batch is what one post carries: events that follow one another in the queue.
type batch struct {
	items []item
	// text is the JSON list of the events, byte for byte as they are in the
	// queue. Each batch has its own, since a connection may still be sending
	// one that was answered early.
	text []byte
}

// item is one event of a batch.
type item struct {
	offset journal.Offset
	// text is a part of the batch's.
	text []byte
}

// next reads the batch at the uplink's position. It is empty when everything
// there was to read has been lost to damage, or was evicted meanwhile.
func (u *uplink) next() (*batch, error) {
	if err := u.queue.journal.Read(u.queue.position(), &u.records, u.payload); err != nil {
		return nil, fmt.Errorf("read queue: %w", err)
	}
	n := min(u.records.Len(), maxBatchEvents)
	size := len("[]") + n
	for i := range n {
		size += len(u.records.At(i).Data)
	}
	b := &batch{text: make([]byte, 0, size), items: make([]item, n)}
	for i := range n {
		r := u.records.At(i)
		b.text = append(b.text, "[,"[min(i, 1)])
		begin := len(b.text)
		b.text = append(b.text, r.Data...)
		b.items[i] = item{r.Offset, b.text[begin:]}
	}
	b.text = append(b.text, ']')
	return b, nil
}

// identity is what no two events share.
type identity struct{ ID, Source string }

// identify is the identity of the event. A record that is no event is a fault;
// it can only be the work of another program.
func (it item) identify() (identity, error) {
	e, err := event.FromJSON(it.text)
	if err != nil {
		return identity{}, &fault.Error{Op: "edgeruntime.identify", Kind: fault.Invalid, Reason: "UNREADABLE", Err: err}
	}
	return identity{e.ID(), e.Source()}, nil
}
