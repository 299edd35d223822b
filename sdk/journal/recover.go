package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
)

// scanAhead is how much of a segment recovery reads at once.
const scanAhead = 1 << 20

// found is a segment that Open looks at.
type found struct {
	*segment
	whole bool  // the header can be read
	holed bool  // the seal says that records are lost
	group int64 // where the last commit group begins
}

// recover reads the directory, decides what the journal holds, and makes all
// of it durable before anybody sees it.
func (j *Journal) recover() error {
	// What a killed process renamed or removed must not come back later.
	if err := j.dir.Sync(); err != nil {
		return err
	}
	names, err := j.dir.Names()
	if err != nil {
		return err
	}
	slices.Sort(names)
	if err := j.openCursors(names); err != nil {
		return err
	}
	headKnown, err := j.openHead(names)
	if err != nil {
		return err
	}
	all, err := j.openSegments(names)
	if err != nil {
		return err
	}
	if err := j.measureAll(all); err != nil {
		return err
	}
	return j.settle(all, headKnown)
}

// openCursors opens the cursors among names and removes unfinished ones. One
// that cannot be read stands at the oldest record.
func (j *Journal) openCursors(names []string) error {
	for _, file := range names {
		if strings.HasSuffix(file, tempSuffix) {
			if err := j.dir.Remove(file); err != nil {
				return err
			}
		}
		name, ok := cursorName(file)
		if !ok {
			continue
		}
		s, m, ok, err := openSlots(j.dir, file)
		if err != nil {
			return err
		}
		if !ok {
			j.log.Warn("cursor is damaged and starts again at the oldest record", slog.String("cursor", name))
		}
		j.cursors[name] = &Cursor{journal: j, name: name, slots: s, state: m}
	}
	return nil
}

// openHead opens the head. known is false when there is none that can be read.
func (j *Journal) openHead(names []string) (known bool, err error) {
	if _, there := slices.BinarySearch(names, headName); !there {
		return false, nil
	}
	j.head, j.deleted, known, err = openSlots(j.dir, headName)
	return known, err
}

// openSegments returns the segments among names in the order of their offsets.
func (j *Journal) openSegments(names []string) ([]*found, error) {
	var all []*found
	for _, path := range names {
		if !strings.HasSuffix(path, segmentSuffix) {
			continue
		}
		s, err := j.openSegment(path)
		if err != nil {
			return nil, err
		}
		if s == nil {
			j.log.Warn("segment file has neither a readable name nor a readable header", slog.String("segment", path))
			continue
		}
		j.sequence = max(j.sequence, s.sequence+1)
		all = append(all, s)
	}
	// A segment that was given up empty begins where its successor begins.
	slices.SortStableFunc(all, func(a, b *found) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.sequence, b.sequence))
	})
	return all, nil
}

// openSegment reads the first block of the file path. It returns nil if that
// identifies no segment.
func (j *Journal) openSegment(path string) (*found, error) {
	file, err := j.dir.Open(path, 0)
	if err != nil {
		return nil, err
	}
	block := make([]byte, sealStart+sealSize)
	n, err := file.ReadAt(block, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, file.Close())
	}
	size, err := file.Size()
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	h, whole, err := decodeHeader(block[:n])
	if err != nil {
		return nil, &fault.Error{Kind: fault.Unsupported, Err: fmt.Errorf("segment %s: %w", path, err)}
	}
	if !whole {
		var named bool
		if h, named = parseName(path); !named {
			return nil, nil
		}
	}
	s := &found{segment: newSegment(h, path, j.options.unchecked), whole: whole, group: dataStart}
	s.size = size
	if n == len(block) {
		var note seal
		if note, s.sealed = decodeSeal(block[sealStart:], h.epoch); s.sealed {
			s.end, s.tail, s.holed = h.first+Offset(note.count), note.end, note.holed
		}
	}
	return s, nil
}

// measureAll finds out which offsets each of the segments holds: from its seal
// if it has one and is whole, else from its frames. Together they leave no
// break: what is missing between two belongs to the first, as a gap.
func (j *Journal) measureAll(all []*found) error {
	for i, s := range all {
		last := i == len(all)-1
		switch {
		case s.sealed && !s.holed && s.size >= s.tail:
		case s.sealed:
			if err := j.scan(s, s.end, true); err != nil {
				return err
			}
		case last:
			if err := j.scan(s, 0, false); err != nil {
				return err
			}
		default:
			if err := j.scan(s, all[i+1].first, true); err != nil {
				return err
			}
		}
		if !last {
			j.stretch(s.segment, all[i+1].first)
			s.end = all[i+1].first
		}
	}
	return nil
}

// stretch lets s reach to end, as a gap, if it does not.
func (j *Journal) stretch(s *segment, end Offset) {
	if s.end < end {
		s.miss(span{s.end, end})
		s.end = end
	}
}

// scan finds the frames of s. Where bound is known, all offsets below it were
// durable. In the last segment it is not, and a damaged frame is a loss only if
// a later group was begun, which is never done before the one with the frame is
// durable; else the log ends before it.
func (j *Journal) scan(s *found, bound Offset, bounded bool) error {
	file, err := s.open(j.dir)
	if err != nil {
		return err
	}
	w := walker{file: file, codec: &s.codec, at: dataStart, end: s.size, ahead: scanAhead, buf: j.buf[:0]}
	var gaps []span
	next, sure := s.first, true
	s.end, s.tail = s.first, dataStart
	for {
		f, at, ok := w.next(true)
		offset := s.first + Offset(f.index)
		if !ok || bounded && offset >= bound {
			break
		}
		if offset > next {
			gaps = append(gaps, span{next, offset})
			sure = bounded
		}
		next = offset + 1
		if f.lead {
			sure, s.group = true, at
		}
		if sure {
			for _, g := range gaps {
				s.miss(g)
			}
			gaps = gaps[:0]
			s.mark(place{offset, at})
			s.end, s.tail = next, at+int64(f.size)
		}
	}
	j.buf = w.buf[:0]
	if bounded {
		j.stretch(s.segment, bound)
	}
	return errors.Join(w.err, s.close())
}

// settle turns what was found into the state of the journal.
func (j *Journal) settle(all []*found, headKnown bool) error {
	end := j.deleted.position
	for _, c := range j.cursors {
		// Records that a consumer is done with were there: their offsets must not
		// be given away again, whatever has become of the last segment.
		end = max(end, c.state.position)
	}
	for i, s := range all {
		last := i == len(all)-1
		empty := s.end == s.first && !(last && s.whole)
		if last {
			end = max(end, s.end)
			if !empty && !s.sealed {
				if err := j.finish(s); err != nil {
					return err
				}
			}
			j.stretch(s.segment, end)
		} else if s.size > s.tail && s.readable() == s.end {
			// Abandoned, or sealed, and the giving back of blocks was undone.
			if err := j.shrink(s.segment); err != nil {
				return err
			}
		}
		if empty || s.end <= j.deleted.position {
			// Its making or its deletion was cut short.
			s.listed = false
			j.doomed = append(j.doomed, s.segment)
			continue
		}
		j.segments = append(j.segments, s.segment)
	}
	j.durable.Store(uint64(end))
	if err := j.settleHead(headKnown); err != nil {
		return err
	}
	for _, c := range j.cursors {
		c.state.position = max(c.state.position, j.first())
	}
	j.readable = j.lastReadable()
	st := j.stats()
	j.log.Info("journal opened", slog.Uint64("first_offset", uint64(st.First)), slog.Uint64("end_offset", uint64(st.End)),
		slog.Int("segments", st.Segments), slog.Int64("bytes", st.Bytes), slog.Uint64("lost_corrupt", st.Lost[LostCorrupt]))
	return j.bury()
}

// settleHead makes the head agree with the oldest segment. What is missing
// between the two was not deleted by the journal and is lost.
func (j *Journal) settleHead(known bool) error {
	oldest := j.first()
	m := j.deleted
	if !known {
		m.position = oldest
		for _, c := range j.cursors {
			if c.state.position > 0 {
				m.position = min(m.position, c.state.position)
			}
		}
	}
	if oldest > m.position {
		m.lost += uint64(oldest - m.position)
		m.position = oldest
	}
	if known && m == j.deleted {
		return nil
	}
	j.deleted = m
	if j.head != nil {
		return j.head.store(m)
	}
	var err error
	j.head, err = createSlots(j.dir, headName, m)
	return err
}

// finish makes the last segment final after a crash. Only its last group can
// lack its fdatasync: perhaps the process was killed before, perhaps the sync
// failed and the kernel calls pages clean that never reached the disk. So it
// is written again, in place and unchanged, before it is synced.
func (j *Journal) finish(s *found) error {
	file, err := s.open(j.dir)
	if err != nil {
		return err
	}
	buf := make([]byte, min(s.tail-s.group, scanAhead))
	for at := s.group; at < s.tail; at += int64(len(buf)) {
		buf = buf[:min(s.tail-at, int64(len(buf)))]
		if _, err := file.ReadAt(buf, at); err != nil {
			return err
		}
		if _, err := file.WriteAt(buf, at); err != nil {
			return err
		}
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return j.seal(s.segment)
}
