package journal

import (
	"errors"
	"os"
	"slices"
	"sort"
	"sync"
)

// markSpacing is the distance of a segment's position marks in its file: how
// much a reader that starts in the middle parses in vain, at most. 64 KiB
// parse in some 20 µs, and the marks of a 16 MiB segment take 4 KiB of memory.
const markSpacing = 64 << 10

// place is where the frame of an offset begins.
type place struct {
	offset Offset
	at     int64
}

// span is the offsets from ≤ o < to.
type span struct{ from, to Offset }

// segment is one file of the log. Its offsets run from first to end without a
// break; those of them that cannot be read are in gaps. Journal.mu guards the
// fields that change, except file.
type segment struct {
	header
	path  string // the file's name in the directory
	codec codec
	size  int64 // of the file on disk, with reserved blocks

	end    Offset  // one past the last durable record
	tail   int64   // where its frame ends
	marks  []place // ascending, at least markSpacing apart
	gaps   []span  // ascending, apart
	sealed bool    // the file says what it holds
	listed bool    // part of the journal, not deleted

	fileMu sync.Mutex
	file   File // nil until needed
}

// newSegment is the segment h in the file path, with nothing in it.
func newSegment(h header, path string, unchecked bool) *segment {
	return &segment{
		header: h,
		path:   path,
		codec:  newCodec(h.first, h.epoch, unchecked),
		end:    h.first,
		tail:   dataStart,
		marks:  []place{{h.first, dataStart}},
		listed: true,
	}
}

// open returns the file, opening it on first use.
func (s *segment) open(dir Dir) (File, error) {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	if s.file == nil {
		f, err := dir.Open(s.path, 0)
		if err != nil {
			return nil, err
		}
		s.file = f
	}
	return s.file, nil
}

// close closes the file if it is open. It may be opened again.
func (s *segment) close() error {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// forget lets the next open open the file again if it still is f, which
// somebody has closed.
func (s *segment) forget(f File) {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	if s.file == f {
		s.file = nil
	}
}

// mark notes where an offset begins, if that is worth noting.
func (s *segment) mark(p place) {
	if p.at >= s.marks[len(s.marks)-1].at+markSpacing {
		s.marks = append(s.marks, p)
	}
}

// near is the last marked place at or before offset.
func (s *segment) near(offset Offset) place {
	i := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].offset > offset })
	return s.marks[max(0, i-1)]
}

// miss adds g to the gaps and returns how many offsets that are news.
func (s *segment) miss(g span) uint64 {
	before := s.missing()
	i := sort.Search(len(s.gaps), func(i int) bool { return s.gaps[i].to >= g.from })
	k := i
	for ; k < len(s.gaps) && s.gaps[k].from <= g.to; k++ {
		g.from, g.to = min(g.from, s.gaps[k].from), max(g.to, s.gaps[k].to)
	}
	s.gaps = slices.Replace(s.gaps, i, k, g)
	return s.missing() - before
}

// missing is how many offsets are in gaps.
func (s *segment) missing() uint64 {
	var n uint64
	for _, g := range s.gaps {
		n += uint64(g.to - g.from)
	}
	return n
}

// readable is one past the last record that is there: end, unless a gap
// reaches up to it.
func (s *segment) readable() Offset {
	if n := len(s.gaps); n > 0 && s.gaps[n-1].to == s.end {
		return s.gaps[n-1].from
	}
	return s.end
}

// remove deletes the file. Deleting what is not there is fine.
func (s *segment) remove(dir Dir) error {
	err := dir.Remove(s.path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.close())
}
