package clickhouse

import (
	"strconv"
	"time"

	"selvedge.dev/logstore"
)

// window is the part of a query's time that is looked at first: the newest
// entries are mostly among those of the last hour, and then nothing else is
// read. What the window leaves out is looked at in windows that are ever longer,
// so that all of them cost little more than one.
type window struct {
	// open says that it is all that is left.
	open bool
	// from is its first slot, to its last; 0 is no bound.
	from, to uint32
	// width is how many slots it is, last the one that the query begins with.
	width, last uint32
}

// The first window is an hour, and each is eight times the one before.
const (
	firstWindow = 12
	growth      = 8
)

// begin makes the first window of a query. Only those that ask for the newest
// have windows: where the oldest are is not known.
func (w *window) begin(q *logstore.Query) {
	newest := time.Now()
	for _, t := range []time.Time{q.To, q.After.Time} {
		if !t.IsZero() && t.Before(newest) {
			newest = t
		}
	}
	w.last = 0
	if !q.From.IsZero() && outside(q.From) == 0 {
		w.last = slot(q.From)
	}
	if !q.Descending || outside(newest) != 0 {
		w.open = true
		return
	}
	w.width = firstWindow
	w.end(slot(newest))
}

// end makes the window end with a slot, and be all that is left if that is not
// much more.
func (w *window) end(at uint32) {
	if at < w.last+2*w.width || at <= w.width {
		w.open, w.from = true, 0
		return
	}
	w.from = at - w.width
}

// next makes the window the one before it, which is all that is left if an index
// finds what is in it. It is false if there is none.
func (w *window) next(indexed bool) bool {
	if w.open {
		return false
	}
	w.to = w.from - 1
	if w.width *= growth; indexed {
		w.open, w.from = true, 0
		return true
	}
	w.end(w.to)
	return true
}

// conditions are those of the rows in the window.
func (w *window) conditions() []string {
	var all []string
	if w.from > 0 {
		all = append(all, "Slot >= "+strconv.FormatUint(uint64(w.from), 10))
	}
	if w.to > 0 {
		all = append(all, "Slot <= "+strconv.FormatUint(uint64(w.to), 10))
	}
	return all
}
