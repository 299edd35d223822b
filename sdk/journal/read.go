package journal

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sort"

	"selvedge.dev/sdk/fault"
)

// Record is one record with its offset.
type Record struct {
	Offset Offset
	Data   []byte
}

// Batch is what one Read returned: records and the buffer that they lie in.
// The zero value is ready; using it again reuses the buffer and continues the
// previous Read without a search. The records are valid until then and must
// not be changed.
type Batch struct {
	records []Record
	next    Offset
	buf     []byte
	journal *Journal
	segment *segment // where the next Read is likely to begin
	place   place
}

// Len is the number of records.
func (b *Batch) Len() int { return len(b.records) }

// At is the i-th record.
func (b *Batch) At(i int) Record { return b.records[i] }

// Next is where to read on: behind the last record, or, where records are
// lost, behind the loss. It is what a consumer commits once it is done with
// the batch.
func (b *Batch) Next() Offset { return b.next }

// Read fills b with durable records from offset from on: at least one if there
// is one, and then as many as are at hand of at most maxBytes of payload. It
// does not wait. Records that are deleted or lost are left out; the offsets
// show it.
func (j *Journal) Read(from Offset, b *Batch, maxBytes int) error {
	const op = "journal.Read"
	b.records, b.next = b.records[:0], from
	if b.journal != j {
		b.journal, b.segment = j, nil
	}
	for {
		v, err := j.view(b)
		if err != nil {
			return wrap(op, err)
		}
		if v.segment == nil {
			return nil
		}
		if err := j.fill(b, v, maxBytes); err != nil && !j.forgive(b, v, err) {
			return wrap(op, err)
		}
		if len(b.records) > 0 {
			return nil
		}
		// The rest of the segment is lost, or it was deleted just now.
	}
}

// forgive reports whether a Read that failed with err may go on: because the
// segment was deleted meanwhile, or because its file is missing though it
// should not be, which is a loss like any other.
func (j *Journal) forgive(b *Batch, v view, err error) bool {
	if !errors.Is(err, os.ErrNotExist) {
		return false
	}
	j.mu.Lock()
	listed := v.segment.listed
	j.mu.Unlock()
	if listed {
		j.missed(v.segment, span{b.next, v.end})
		b.next = v.end
	}
	return true
}

// view is the part of a segment that a Read looks at: from the frame at or
// before the wanted offset to the last durable one.
type view struct {
	segment *segment
	start   place
	end     Offset
	tail    int64
	left    *segment // which the batch was in before, if it is complete
}

// view finds what holds b.next or, failing that, the next record after it. Its
// segment is nil when there is none.
func (j *Journal) view(b *Batch) (view, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return view{}, ErrClosed
	}
	b.next = max(b.next, j.first())
	if b.next >= j.readable {
		return view{}, nil
	}
	i := sort.Search(len(j.segments), func(i int) bool { return j.segments[i].end > b.next })
	if i == len(j.segments) {
		return view{}, nil
	}
	s := j.segments[i]
	b.next = max(b.next, s.first)
	v := view{segment: s, end: s.end, tail: s.tail, start: s.near(b.next)}
	if b.segment == s && b.place.offset <= b.next && b.place.offset >= v.start.offset {
		v.start = b.place
	}
	if b.segment != nil && b.segment != s && b.segment.sealed {
		v.left = b.segment
	}
	return v, nil
}

// fill appends the records of v from b.next on to b, out of one ReadAt unless
// damage or a large record needs more.
func (j *Journal) fill(b *Batch, v view, maxBytes int) error {
	s := v.segment
	if v.left != nil {
		// A reader that walks through a long log must not keep all of it open.
		if err := v.left.close(); err != nil {
			return err
		}
	}
	file, err := s.open(j.dir)
	if err != nil {
		return err
	}
	w := walker{
		file: file, codec: &s.codec, buf: b.buf[:0],
		at: v.start.at, index: uint32(v.start.offset - s.first), end: v.tail, ahead: max(maxBytes, frameHeader),
	}
	if v.start.offset < b.next {
		w.ahead += markSpacing
	}
	b.segment, b.place = s, v.start
	total, marked := 0, v.start.at
	for b.next < v.end {
		f, at, ok := w.next(len(b.records) == 0)
		offset := s.first + Offset(f.index)
		if !ok || offset >= v.end {
			break
		}
		if at >= marked+markSpacing {
			marked = at
			j.mu.Lock()
			s.mark(place{offset, at})
			j.mu.Unlock()
		}
		if offset < b.next {
			continue
		}
		if total += len(f.data); total > maxBytes && len(b.records) > 0 {
			break
		}
		if offset > b.next {
			j.missed(s, span{b.next, offset})
		}
		b.records = append(b.records, Record{offset, f.data})
		b.next = offset + 1
		b.place = place{b.next, at + int64(f.size)}
	}
	b.buf = w.buf
	if errors.Is(w.err, os.ErrClosed) {
		s.forget(file)
		return nil // Deleted, or closed when another reader left: look again.
	}
	if w.err != nil {
		return w.err
	}
	if len(b.records) == 0 {
		j.missed(s, span{b.next, v.end})
		b.next = v.end
	}
	return nil
}

// missed counts the offsets of g in s as lost, unless they are already.
func (j *Journal) missed(s *segment, g span) {
	j.shape.Lock()
	defer j.shape.Unlock()
	j.mu.Lock()
	var news uint64
	if s.listed {
		news = s.miss(g)
		j.readable = j.lastReadable()
	}
	sealed := s.sealed
	j.mu.Unlock()
	if news == 0 {
		return
	}
	j.log.Warn("records lost to damage", slog.String("segment", s.path),
		slog.Uint64("from_offset", uint64(g.from)), slog.Uint64("to_offset", uint64(g.to)), slog.Any("records", news))
	if !sealed {
		return
	}
	// The next Open takes a seal's word for it, and would forget the count.
	if err := j.describe(s); err != nil {
		j.log.Warn("loss not noted in the segment", slog.String("segment", s.path), slog.Any("error", err))
	}
}

// lastReadable is one past the last record that is there; 0 if there is none.
// mu is held.
func (j *Journal) lastReadable() Offset {
	for i := len(j.segments) - 1; i >= 0; i-- {
		if s := j.segments[i]; s.readable() > s.first {
			return s.readable()
		}
	}
	return 0
}

// Wait returns nil when a Read from offset from has something to return, and
// an error when ctx ends or the journal closes first.
func (j *Journal) Wait(ctx context.Context, from Offset) error {
	const op = "journal.Wait"
	for {
		j.mu.Lock()
		switch {
		case j.closed:
			j.mu.Unlock()
			return wrap(op, ErrClosed)
		case j.readable > from:
			j.mu.Unlock()
			return nil
		}
		grown := j.grown.wait()
		j.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return &fault.Error{Op: op, Kind: fault.Unavailable, Err: context.Cause(ctx)}
		}
	}
}
