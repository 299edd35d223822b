package broker

import (
	"sync/atomic"

	"selvedge.dev/sdk/journal"
)

// The recent ring holds the newest events decoded, so that triggers that keep
// up, which is nearly all of them nearly always, neither read nor decode the
// journal. Large events are left out: the ring's memory stays under
// recentSlots times recentBytes.
const (
	recentSlots = 1 << 13
	recentBytes = 4 << 10
)

// recent is a ring of envelopes by offset. Its envelopes are shared and never
// changed. All methods may be called concurrently.
type recent struct {
	slots [recentSlots]atomic.Pointer[placed]
}

// placed is an envelope with its place in the journal.
type placed struct {
	offset   journal.Offset
	envelope *envelope
}

// newRecent is an empty ring.
func newRecent() *recent { return new(recent) }

// put remembers the envelope at offset, whose record has size bytes.
func (r *recent) put(offset journal.Offset, v *envelope, size int) {
	if size <= recentBytes {
		r.slots[offset%recentSlots].Store(&placed{offset, v})
	}
}

// at is the envelope at offset, nil when it is not in the ring.
func (r *recent) at(offset journal.Offset) *envelope {
	if p := r.slots[offset%recentSlots].Load(); p != nil && p.offset == offset {
		return p.envelope
	}
	return nil
}
