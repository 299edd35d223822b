package intake

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/once"
)

// inStore is the number of an entry that the store had already.
const inStore = -1

// window is the keys of the entries with the latest times, of all that were
// taken in. What an entry can be a duplicate of is in it, if the entry is of
// after its project's horizon: everything that is not in the window is before
// that.
type window struct {
	most int
	// origin is the intake's own.
	origin string

	mu sync.Mutex
	// numbers are the smallest number in the journal of each key, or inStore.
	numbers map[once.Key]int64
	// spells are the keys by time, oldest their numbers as a heap.
	spells map[int64]*spell
	oldest numbers
	// horizons are by project, in nanoseconds since 1970. A project without one
	// was not looked into yet.
	horizons map[string]int64
	// forgotten is the end of the latest spell that was forgotten.
	forgotten int64
	// flying are the keys of what is being written, with whether two have the
	// same.
	flying map[once.Key]bool
	// whole says that all that was in the journal when it was opened was looked
	// at.
	whole bool
}

// spellBits are those of the nanoseconds of a spell: it is a second, in which
// hardly more than a window's keys come.
const spellBits = 30

// spell is the keys of a short time, which are forgotten together.
type spell struct {
	keys []once.Key
	// last is the project of the last key, others are those before it.
	last   string
	others map[string]bool
}

// numbers is a heap of numbers of spells, the earliest on top.
type numbers []int64

// Len implements heap.Interface.
func (n numbers) Len() int { return len(n) }

// Less implements heap.Interface.
func (n numbers) Less(i, j int) bool { return n[i] < n[j] }

// Swap implements heap.Interface.
func (n numbers) Swap(i, j int) { n[i], n[j] = n[j], n[i] }

// Push implements heap.Interface.
func (n *numbers) Push(x any) { *n = append(*n, x.(int64)) }

// Pop implements heap.Interface.
func (n *numbers) Pop() any {
	last := (*n)[len(*n)-1]
	*n = (*n)[:len(*n)-1]
	return last
}

// newWindow makes a window of at most so many keys.
func newWindow(most int) *window {
	return &window{
		most: most, numbers: make(map[once.Key]int64), spells: make(map[int64]*spell),
		horizons: make(map[string]int64), forgotten: math.MinInt64, flying: make(map[once.Key]bool),
	}
}

// reserve says which items are known to be there, nil if none is, and takes note
// that the others are being written.
func (w *window) reserve(items []item) (known []bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range items {
		k := items[i].key
		if _, ok := w.numbers[k]; ok {
			if known == nil {
				known = make([]bool, len(items))
			}
			known[i] = true
			continue
		}
		_, twice := w.flying[k]
		w.flying[k] = twice
	}
	return known
}

// release takes note that items are not written.
func (w *window) release(items []item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range items {
		delete(w.flying, items[i].key)
	}
}

// add adds the keys of items that were written. Those that are of after their
// project's horizon and of which no other is known are the first, and stay it: what
// is written later with the same key has a larger number.
func (w *window) add(items []item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range items {
		it := &items[i]
		twice := w.flying[it.key]
		delete(w.flying, it.key)
		have, known := w.numbers[it.key]
		it.first = w.whole && !twice && !known && w.after(it.entry)
		switch {
		case !known:
			w.insert(it.key, it.entry, int64(it.at))
		case int64(it.at) < have:
			w.numbers[it.key] = int64(it.at)
		}
	}
}

// after reports whether an entry is of after its project's horizon. mu is held.
func (w *window) after(e *logstore.Entry) bool {
	horizon, ok := w.horizons[e.Project]
	return ok && e.Time.UnixNano() > horizon
}

// complete takes note that all that was in the journal when it was opened was
// looked at.
func (w *window) complete() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = true
}

// put adds a key with its number, and gives the smallest that it has. mu is
// held.
func (w *window) put(k once.Key, e *logstore.Entry, number int64) int64 {
	if have, ok := w.numbers[k]; ok {
		if number < have {
			w.numbers[k] = number
		}
		return min(have, number)
	}
	w.insert(k, e, number)
	return number
}

// insert is put of a key that is not there. mu is held.
func (w *window) insert(k once.Key, e *logstore.Entry, number int64) {
	w.numbers[k] = number
	id := e.Time.UnixNano() >> spellBits
	s := w.spells[id]
	if s == nil {
		s = &spell{last: strings.Clone(e.Project)}
		w.spells[id] = s
		heap.Push(&w.oldest, id)
	}
	s.keys = append(s.keys, k)
	if s.last != e.Project {
		if s.others == nil {
			s.others = make(map[string]bool)
		}
		s.others[s.last] = true
		s.last = strings.Clone(e.Project)
	}
	for len(w.numbers) > w.most {
		w.forget()
	}
}

// forget forgets the earliest spell. mu is held.
func (w *window) forget() {
	id := heap.Pop(&w.oldest).(int64)
	s := w.spells[id]
	delete(w.spells, id)
	for _, k := range s.keys {
		delete(w.numbers, k)
	}
	w.forgotten = max(w.forgotten, endOf(id))
	w.raise(s.last, endOf(id))
	for p := range s.others {
		w.raise(p, endOf(id))
	}
}

// raise raises the horizon of a project, if it has one. mu is held.
func (w *window) raise(project string, to int64) {
	if horizon, ok := w.horizons[project]; ok && horizon < to {
		w.horizons[project] = to
	}
}

// endOf is the last nanosecond of a spell.
func endOf(id int64) int64 { return id<<spellBits + 1<<spellBits - 1 }

// maxHorizons bounds the projects that are remembered; with more of them, each
// is looked into anew.
const maxHorizons = 100_000

// recall looks into the store for the newest entries of a project, so that
// duplicates of them are known and all others are before the horizon.
func (w *window) recall(ctx context.Context, store logstore.Reader, project string) error {
	w.mu.Lock()
	_, ok := w.horizons[project]
	w.mu.Unlock()
	if ok {
		return nil
	}
	limit := min(logstore.MaxLimit, max(1, w.most/2))
	newest, err := store.List(ctx, logstore.Query{Selection: logstore.Selection{Project: project}, Descending: true, Limit: limit})
	if err != nil {
		return fmt.Errorf("look for the newest entries: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.horizons) >= maxHorizons {
		clear(w.horizons)
	}
	horizon := int64(math.MinInt64)
	if len(newest) > 0 {
		// Fewer than the limit may be because of their size.
		horizon = newest[len(newest)-1].Time.UnixNano()
	}
	// Some of the project's may have been forgotten when it had no horizon.
	horizon = max(horizon, w.forgotten)
	w.horizons[strings.Clone(project)] = horizon
	for i := range newest {
		// One of the intake's own is in the journal too, as long as the store
		// may lose it.
		number := int64(inStore)
		if newest[i].Origin == w.origin {
			number = int64(newest[i].Seq)
		}
		w.put(once.KeyOf(&newest[i]), &newest[i], number)
	}
	return nil
}

// sieve gives the entries of a batch without those that are duplicates of
// others in it, in the journal before it or in the store.
func (w *window) sieve(ctx context.Context, store logstore.Reader, batch []item) ([]item, error) {
	for i := range batch {
		if i == 0 || batch[i].entry.Project != batch[i-1].entry.Project {
			if err := w.recall(ctx, store, batch[i].entry.Project); err != nil {
				return nil, err
			}
		}
	}
	kept, old := w.unseen(batch)
	if len(old) == 0 {
		return kept, nil
	}
	known, err := once.Known(ctx, store, old)
	if err != nil {
		return nil, fmt.Errorf("look for duplicates: %w", err)
	}
	if len(known) == 0 {
		return kept, nil
	}
	return slices.DeleteFunc(kept, func(it item) bool { return known[it.key] }), nil
}

// unseen gives the items of a batch without those that the window knows to be
// duplicates, and the entries among them that the store must be asked for.
func (w *window) unseen(batch []item) (kept []item, old []logstore.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Nothing is forgotten before all of the batch was looked at.
	var fresh map[once.Key]bool
	kept = batch[:0]
	for _, it := range batch {
		number, ok := w.numbers[it.key]
		switch {
		case ok && number < int64(it.at):
			continue
		case ok && number > int64(it.at):
			w.numbers[it.key] = int64(it.at) // was that of a later one
		case !ok && fresh[it.key]:
			continue
		case !ok:
			if fresh == nil {
				fresh = make(map[once.Key]bool)
			}
			fresh[it.key] = true
		}
		if !it.first && !w.after(it.entry) {
			old = append(old, *it.entry)
		}
		kept = append(kept, it)
	}
	for _, it := range kept {
		if !it.first && fresh[it.key] {
			w.put(it.key, it.entry, int64(it.at))
		}
	}
	return kept, old
}
