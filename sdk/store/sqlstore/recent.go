package sqlstore

import (
	"slices"
	"sync"

	"selvedge.dev/sdk/store"
)

// The bounds of what is kept of the last changes.
const (
	maxRecent      = 4096
	maxRecentBytes = 16 << 20
)

// recent are the last changes that were committed here, for those who read them
// as they come: that is nearly everybody who does. Its zero value knows none.
type recent struct {
	mu sync.Mutex
	// changes are all that there are after that Seq, up to the last of them.
	after   store.Seq
	changes []store.Change
	bytes   int
}

// add adds the changes of a transaction, which are all that there are after that
// Seq. When those before are not known, others committed them.
func (r *recent) add(after store.Seq, changes []store.Change) {
	if len(changes) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last() != after {
		r.changes, r.bytes, r.after = nil, 0, after
	}
	r.changes = append(r.changes, changes...)
	for i := range changes {
		r.bytes += weight(&changes[i])
	}
	r.shrink(func(*store.Change) bool { return len(r.changes) > maxRecent || r.bytes > maxRecentBytes })
}

// shrink forgets the oldest changes for as long as that says so.
func (r *recent) shrink(f func(*store.Change) bool) {
	for len(r.changes) > 0 && f(&r.changes[0]) {
		r.bytes -= weight(&r.changes[0])
		r.after, r.changes = r.changes[0].Seq, r.changes[1:]
	}
}

// weight is about how many bytes a change keeps in memory.
func weight(c *store.Change) int { return len(c.Before) + len(c.After) + 256 }

// last is the last change that is known.
func (r *recent) last() store.Seq {
	if n := len(r.changes); n > 0 {
		return r.changes[n-1].Seq
	}
	return r.after
}

// read returns up to limit changes after that Seq, none if it does not know.
func (r *recent) read(after store.Seq, limit int) []store.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after < r.after {
		return nil
	}
	i, _ := slices.BinarySearchFunc(r.changes, after+1, func(c store.Change, seq store.Seq) int { return int(c.Seq - seq) })
	return slices.Clone(r.changes[i:min(len(r.changes), i+limit)])
}

// trim forgets the changes up to that Seq.
func (r *recent) trim(through store.Seq) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shrink(func(c *store.Change) bool { return c.Seq <= through })
}
