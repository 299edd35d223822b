package intake

import (
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
}

// put keeps items, if there is room and they are of use.
func (h *hot) put(items []item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, it := range items {
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
