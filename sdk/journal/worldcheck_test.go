package journal_test

import (
	"bytes"

	"selvedge.dev/sdk/journal"
)

// checkRestart checks everything after an Open, and takes over into the model
// what may have survived and has: from now on it must stay.
func (w *world) checkRestart() error {
	st := w.journal.Stats()
	w.note("opened %d to %d", st.First, st.End)
	if n := st.Lost[journal.LostCorrupt]; n != 0 {
		return w.violation("%d records counted as corrupt", n)
	}
	if st.First < w.first || st.First > st.End || st.End < journal.Offset(len(w.records)) {
		return w.violation("log is from %d to %d, was from %d to %d", st.First, st.End, w.first, len(w.records))
	}
	if err := w.checkRecords(st.First, st.End); err != nil {
		return err
	}
	w.handles = map[string]*journal.Cursor{}
	there := map[string]bool{}
	for _, c := range st.Cursors {
		there[c.Name] = true
		if err := w.checkCursor(c); err != nil {
			return err
		}
	}
	for _, name := range w.names() {
		if !there[name] && !w.cursors[name].maybe {
			return w.violation("cursor %s is gone", name)
		}
		if !there[name] {
			delete(w.cursors, name)
		}
	}
	return w.checkCursors()
}

// checkRecords reads everything. What is behind the known records must be the
// beginning of one batch that failed.
func (w *world) checkRecords(first, end journal.Offset) error {
	var b journal.Batch
	var tail [][]byte
	for at := first; at < end; {
		if err := w.journal.Read(at, &b, 1+w.rng.IntN(100_000)); err != nil {
			return w.violation("read from %d: %v", at, err)
		}
		if b.Len() == 0 {
			return w.violation("nothing to read at %d of %d", at, end)
		}
		for i := range b.Len() {
			r := b.At(i)
			switch {
			case r.Offset != at:
				return w.violation("read %d instead of %d", r.Offset, at)
			case at >= journal.Offset(len(w.records)):
				tail = append(tail, bytes.Clone(r.Data))
			case !bytes.Equal(r.Data, w.records[at]):
				return w.violation("record %d has changed", at)
			}
			at++
		}
	}
	if len(tail) > 0 && !w.doubted(tail) {
		return w.violation("%d records from %d on were never submitted like that", len(tail), len(w.records))
	}
	if len(tail) > 0 {
		w.records = append(w.records, tail...)
		w.doubt = nil
	}
	return nil
}

// doubted reports whether tail is the beginning of a batch that failed.
func (w *world) doubted(tail [][]byte) bool {
	for _, batch := range w.doubt {
		n := 0
		for n < min(len(batch), len(tail)) && bytes.Equal(batch[n], tail[n]) {
			n++
		}
		if n == len(tail) {
			return true
		}
	}
	return false
}

// checkCursor checks one cursor after an Open and takes over where it is.
func (w *world) checkCursor(c journal.CursorStats) error {
	e := w.cursors[c.Name]
	if e == nil {
		return w.violation("cursor %s was never made", c.Name)
	}
	if e.maybe {
		e.high = max(e.high, w.journal.First()) // It kept nothing.
	}
	if c.Position < e.low || c.Position > e.high {
		return w.violation("cursor %s is at %d, not from %d to %d", c.Name, c.Position, e.low, e.high)
	}
	passed := uint64(c.Position-e.start) - c.Evicted
	if !e.maybe && (c.Evicted < e.evicted || passed < e.passed || passed > e.passedAtMax) {
		return w.violation("cursor %s has passed %d and missed %d, after passing %d to %d and missing %d",
			c.Name, passed, c.Evicted, e.passed, e.passedAtMax, e.evicted)
	}
	w.cursors[c.Name] = &expected{
		low: c.Position, high: c.Position, evicted: c.Evicted,
		start: c.Position - journal.Offset(c.Evicted), // passed counts anew
	}
	handle, err := w.journal.Cursor(c.Name, journal.Newest)
	if err != nil {
		return w.violation("open cursor %s: %v", c.Name, err)
	}
	w.handles[c.Name] = handle
	return nil
}

// checkCursors checks that the cursors are where they should be and that what
// they need is there, and takes over what an eviction has moved.
func (w *world) checkCursors() error {
	st := w.journal.Stats()
	w.first = st.First
	if int(st.End) != len(w.records) || st.Records != uint64(st.End-st.First) {
		return w.violation("%d records from %d to %d, not to %d", st.Records, st.First, st.End, len(w.records))
	}
	if w.options.OnFull == journal.DropOldest && st.Bytes > w.options.MaxBytes {
		return w.violation("%d bytes are above %d", st.Bytes, w.options.MaxBytes)
	}
	for _, c := range st.Cursors {
		e := w.cursors[c.Name]
		if c.Position < st.First || c.Evicted < e.evicted || c.Evicted > 0 && w.options.OnFull == journal.Reject {
			return w.violation("cursor %s is at %d of %d to %d and has missed %d", c.Name, c.Position, st.First, st.End, c.Evicted)
		}
		if c.Position != e.start+journal.Offset(e.passed+c.Evicted) {
			return w.violation("cursor %s is at %d, from %d on it passed %d and missed %d", c.Name, c.Position, e.start, e.passed, c.Evicted)
		}
		e.low, e.high, e.evicted = c.Position, max(e.high, c.Position), c.Evicted
	}
	return nil
}
