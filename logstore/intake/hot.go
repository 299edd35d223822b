package intake

import (
	"cmp"
	"slices"
	"sync"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/once"
	"selvedge.dev/sdk/journal"
)

// item is an entry on its way to the store, with its key, its number and its
// size.
type item struct {
	entry *logstore.Entry
	key   once.Key
	at    journal.Offset
	size  int
	// first says that it is known to be the first with its key.
	first bool
}

// hotBytes bounds what is kept in memory of what waits for the store. Batches
// are of BatchDelay, so it is what comes in a second or so.
const hotBytes = 16 << 20

// hotItems bounds how far what is kept may be apart.
const hotItems = 1 << 20

// hot is what was written last and waits for the store: it is in the journal,
// and is kept here only so that it need not be read from there.
type hot struct {
	mu sync.Mutex
	// items are by number from first on; one without an entry is not kept.
	items []item
	first journal.Offset
	bytes int
	// firsts are the numbers of items that are the first with their keys, of
	// those that are not kept too: stretches in order.
	firsts []stretch
}

// stretch is numbers from one on, before another.
type stretch struct{ from, to journal.Offset }

// maxFirsts bounds the stretches. The store is asked about what is in no other.
const maxFirsts = 10_000

// put keeps items, if there is room and they are of use.
func (h *hot) put(items []item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, it := range items {
		if it.first {
			h.note(it.at)
		}
		if it.at < h.first || it.at-h.first >= hotItems || h.bytes+it.size > hotBytes {
			continue
		}
		for n := int(it.at - h.first); len(h.items) <= n; {
			h.items = append(h.items, item{})
		}
		h.items[it.at-h.first] = it
		h.bytes += it.size
	}
}

// note takes note of the first with its key. mu is held.
func (h *hot) note(at journal.Offset) {
	i := len(h.firsts)
	for i > 0 && h.firsts[i-1].from > at {
		i--
	}
	switch {
	case i > 0 && h.firsts[i-1].to == at:
		h.firsts[i-1].to++
	case at >= h.first && len(h.firsts) < maxFirsts:
		h.firsts = slices.Insert(h.firsts, i, stretch{at, at + 1})
	}
}

// isFirst reports whether a number is known to be of the first with its key.
func (h *hot) isFirst(at journal.Offset) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, ok := slices.BinarySearchFunc(h.firsts, at, func(s stretch, at journal.Offset) int { return cmp.Compare(s.from, at) })
	return ok || i > 0 && at < h.firsts[i-1].to
}

// take gives what is kept from an offset on, without a gap, of at most so many
// items and bytes but one at least.
func (h *hot) take(from journal.Offset, items, bytes int) []item {
	h.mu.Lock()
	defer h.mu.Unlock()
	if from < h.first || from-h.first >= journal.Offset(len(h.items)) {
		return nil
	}
	rest := h.items[from-h.first:]
	n := 0
	for n < min(items, len(rest)) && rest[n].entry != nil {
		if bytes -= rest[n].size; bytes < 0 && n > 0 {
			break
		}
		n++
	}
	return append([]item(nil), rest[:n]...)
}

// forget lets go of what is before an offset.
func (h *hot) forget(next journal.Offset) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if next <= h.first {
		return
	}
	past := 0
	for past < len(h.firsts) && h.firsts[past].to <= next {
		past++
	}
	h.firsts = slices.Delete(h.firsts, 0, past)
	gone := min(next-h.first, journal.Offset(len(h.items)))
	for i := range h.items[:gone] {
		h.bytes -= h.items[i].size
	}
	left := copy(h.items, h.items[gone:])
	clear(h.items[left:])
	h.items, h.first = h.items[:left], next
	if left == 0 && cap(h.items) > hotItems/16 {
		h.items = nil
	}
}
