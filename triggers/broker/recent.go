package broker

import (
	"context"
	"sync"
	"sync/atomic"

	"selvedge.dev/sdk/journal"
)

// The recent ring holds the newest entries, so that triggers that keep up,
// which is nearly all of them nearly always, do not read the journal. It has room
// for a third of a second at a hundred thousand records a second, which is how
// far a dozen triggers that share two processors come apart. Large events are
// left out, and the oldest go when the records together have recentTotal bytes;
// the ring's memory is up to twice that, and a quarter of a kilobyte for each.
const (
	recentSlots = 1 << 15
	recentBytes = 4 << 10
	recentTotal = 16 << 20
)

// recent is a ring of entries by offset. All methods may be called concurrently.
type recent struct {
	slots [recentSlots]atomic.Pointer[entry]
	// end is one past the last offset that was put, as were all before it.
	end atomic.Uint64

	mu sync.Mutex
	// grown is closed, and made anew, when end moves; early has how many records
	// were put from an offset on that others are still missing before.
	grown chan struct{}
	early map[journal.Offset]int
	// oldest is the first offset that may be there, newest the last, and bytes
	// the size of the records from there to here.
	oldest, newest journal.Offset
	bytes          int
}

// newRecent is an empty ring before a journal that ends there.
func newRecent(end journal.Offset) *recent {
	r := &recent{grown: make(chan struct{}), early: map[journal.Offset]int{}}
	r.end.Store(uint64(end))
	return r
}

// put remembers the records that were appended from an offset on, and wakes who
// waits for them. They are the ring's from now on, and so is the memory that they
// are parts of, of total bytes. Whatever is appended must be put.
func (r *recent) put(first journal.Offset, records [][]byte, total int) {
	r.keep(first, records, total)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.early[first] = len(records)
	end := journal.Offset(r.end.Load())
	for n, next := r.early[end]; next; n, next = r.early[end] {
		delete(r.early, end)
		end += journal.Offset(n)
	}
	if uint64(end) != r.end.Load() {
		r.end.Store(uint64(end))
		close(r.grown)
		r.grown = make(chan struct{})
	}
}

// wait waits until what is at the offset was put. A reader that looked as soon as
// the journal has it would look before the ring does, and read the journal.
func (r *recent) wait(ctx context.Context, offset journal.Offset) error {
	for {
		r.mu.Lock()
		there, grown := uint64(offset) < r.end.Load(), r.grown
		r.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// keep remembers records.
func (r *recent) keep(first journal.Offset, records [][]byte, total int) {
	kept := 0
	for _, record := range records {
		if len(record) <= recentBytes {
			kept += len(record)
		}
	}
	// What is left out must not stay for the sake of a neighbour.
	apart := total > 2*kept
	entries, err := readAll(first, records)
	if err != nil {
		return // whoever reads it in the journal will say so
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range entries {
		v := &entries[i]
		if len(v.record) > recentBytes {
			continue
		}
		if apart {
			v = v.apart()
		}
		r.store(v)
	}
}

// store puts v in its place, and makes room. The caller holds mu.
func (r *recent) store(v *entry) {
	if v.offset < r.oldest {
		return // appended so long ago
	}
	if old := r.slots[v.offset%recentSlots].Swap(v); old != nil {
		r.bytes -= len(old.record)
	}
	r.bytes += len(v.record)
	r.newest = max(r.newest, v.offset)
	for r.bytes > recentTotal && r.oldest < r.newest {
		r.oldest = max(r.oldest, r.newest-min(r.newest, recentSlots-1))
		slot := &r.slots[r.oldest%recentSlots]
		if old := slot.Load(); old != nil && old.offset <= r.oldest {
			slot.Store(nil)
			r.bytes -= len(old.record)
		}
		r.oldest++
	}
}

// at is the entry at offset, nil when it is not in the ring.
func (r *recent) at(offset journal.Offset) *entry {
	if v := r.slots[offset%recentSlots].Load(); v != nil && v.offset == offset {
		return v
	}
	return nil
}
