package journal

import (
	"errors"
	"log/slog"
	"os"
)

// roll makes a new active segment with room for size bytes of frames. The one
// before it is sealed, and segments are deleted if the bounds ask for it.
// Leader only.
func (j *Journal) roll(size int64) error {
	j.shape.Lock()
	defer j.shape.Unlock()
	if s := j.active; s != nil {
		if err := j.seal(s); err != nil {
			return errors.Join(err, j.forsake())
		}
		j.activate(nil, 0)
	}
	j.tidy()
	size = max(j.options.SegmentBytes, dataStart+size)
	for j.used()+size > j.options.MaxBytes {
		if j.options.OnFull == Reject {
			return errFull
		}
		if err := j.evict(); err != nil {
			return err
		}
	}
	return j.create(size)
}

// used is the size of all segments on disk.
func (j *Journal) used() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	var n int64
	for _, s := range j.segments {
		n += s.size
	}
	for _, s := range j.doomed {
		n += s.size
	}
	return n
}

// create makes a segment of size bytes and activates it. The file, its blocks
// and its name are durable before a frame is written. shape is held.
func (j *Journal) create(size int64) error {
	h := header{sequence: j.sequence, first: j.End(), epoch: max(1, j.options.epoch())}
	j.sequence++
	s := newSegment(h, h.name(), j.options.unchecked)
	file, err := j.dir.Open(s.path, os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	err = file.Allocate(size)
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		block := make([]byte, dataStart)
		copy(block, h.encode())
		_, err = file.WriteAt(block, 0)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = j.dir.Sync()
	}
	s.file = file
	if err != nil {
		return errors.Join(err, s.remove(j.dir))
	}
	s.size = size
	j.activate(s, size)
	return nil
}

// activate makes s, which may be nil, the segment that takes new records, up to
// a size of limit.
func (j *Journal) activate(s *segment, limit int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.active, j.limit = s, limit
	if s != nil {
		j.segments = append(j.segments, s)
	}
}

// seal notes in s that it is complete and gives back the blocks that it did
// not need. All its records are durable, so the order in which this reaches
// the disk does not matter. shape is held.
func (j *Journal) seal(s *segment) error {
	if err := j.shrink(s); err != nil {
		return err
	}
	if err := j.describe(s); err != nil {
		return err
	}
	return s.close()
}

// describe writes the seal of s. shape is held.
func (j *Journal) describe(s *segment) error {
	j.mu.Lock()
	note := seal{epoch: s.epoch, holed: len(s.gaps) > 0, count: uint64(s.end - s.first), end: s.tail}
	s.sealed = true
	j.mu.Unlock()
	file, err := s.open(j.dir)
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(note.encode(), sealStart); err != nil {
		return err
	}
	return file.Sync()
}

// shrink cuts the file of s behind its last durable frame.
func (j *Journal) shrink(s *segment) error {
	file, err := s.open(j.dir)
	if err != nil {
		return err
	}
	if err := file.Truncate(s.tail); err != nil {
		return err
	}
	j.mu.Lock()
	s.size = s.tail
	j.mu.Unlock()
	return nil
}

// abandon ends the use of the active segment after a failed write or sync,
// whose pages the kernel may have dropped while it calls them clean. Syncing
// the file again would prove nothing. What the failed group left in it is
// bounded by the first offset of the next segment.
func (j *Journal) abandon() error {
	j.shape.Lock()
	defer j.shape.Unlock()
	return j.forsake()
}

// forsake is abandon with shape held.
func (j *Journal) forsake() error {
	s := j.active
	j.activate(nil, 0)
	j.log.Warn("segment abandoned after a failed write", slog.String("segment", s.path), slog.Uint64("end_offset", uint64(s.end)))
	if s.end > s.first {
		return j.shrink(s)
	}
	j.mu.Lock()
	s.listed = false
	j.segments = j.segments[:len(j.segments)-1]
	j.doomed = append(j.doomed, s)
	j.mu.Unlock()
	return j.bury()
}
