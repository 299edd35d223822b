package journal

import (
	"log/slog"
	"slices"
)

// reclaim deletes the segments that every cursor has passed, except the active
// one. shape is held.
func (j *Journal) reclaim() error {
	if err := j.bury(); err != nil {
		return err
	}
	j.mu.Lock()
	n := j.passed()
	j.mu.Unlock()
	if n == 0 {
		return nil
	}
	return j.drop(n)
}

// passed is how many of the oldest segments no cursor needs. Without cursors
// nobody has passed anything. mu is held.
func (j *Journal) passed() int {
	if len(j.cursors) == 0 {
		return 0
	}
	least := j.End()
	for _, c := range j.cursors {
		least = min(least, c.state.position)
	}
	n := 0
	for n < len(j.segments) && j.segments[n] != j.active && j.segments[n].end <= least {
		n++
	}
	return n
}

// evict deletes the oldest segment and moves the cursors in it. Each of them is
// durable first, so that no crash leaves a cursor with records that are neither
// there nor counted. shape is held.
func (j *Journal) evict() error {
	j.mu.Lock()
	if len(j.segments) == 0 {
		j.mu.Unlock()
		return errFull // Only files that could not be deleted are left.
	}
	end := j.segments[0].end
	cursors := make([]*Cursor, 0, len(j.cursors))
	for _, c := range j.cursors {
		cursors = append(cursors, c)
	}
	j.mu.Unlock()
	slices.SortFunc(cursors, byName)
	for _, c := range cursors {
		if err := c.evict(end); err != nil {
			return err
		}
	}
	return j.drop(1)
}

// drop deletes the n oldest segments: durably in the head, then their files.
// shape is held.
func (j *Journal) drop(n int) error {
	j.mu.Lock()
	m := mark{position: j.segments[n-1].end, lost: j.deleted.lost}
	for _, s := range j.segments[:n] {
		m.lost += s.missing()
	}
	j.mu.Unlock()
	if err := j.head.store(m); err != nil {
		j.headUnsure = true
		return err
	}
	j.headUnsure = false
	j.mu.Lock()
	j.deleted = m
	for _, s := range j.segments[:n] {
		s.listed = false
		j.doomed = append(j.doomed, s)
	}
	j.segments = slices.Delete(j.segments, 0, n)
	j.readable = j.lastReadable()
	j.mu.Unlock()
	return j.bury()
}

// confirm takes back a deletion whose move of the head failed: the next Open
// may find either position. The cursors of then did not need those segments,
// but one that is made now may. shape is held.
func (j *Journal) confirm() error {
	if !j.headUnsure {
		return nil
	}
	if err := j.head.store(j.deleted); err != nil {
		return err
	}
	j.headUnsure = false
	return nil
}

// bury deletes the files of doomed segments; one that cannot be deleted is
// tried again the next time. shape is held.
func (j *Journal) bury() error {
	for {
		j.mu.Lock()
		if len(j.doomed) == 0 {
			j.mu.Unlock()
			return nil
		}
		s := j.doomed[0]
		j.mu.Unlock()
		if err := s.remove(j.dir); err != nil {
			return err
		}
		j.mu.Lock()
		j.doomed = slices.Delete(j.doomed, 0, 1)
		j.mu.Unlock()
	}
}

// retire deletes what cursors have passed now. It runs after a commit or
// removal that has succeeded, so its own failure is not the caller's: it is
// tried again with the next one.
func (j *Journal) retire() {
	j.mu.Lock()
	idle := j.passed() == 0
	j.mu.Unlock()
	if idle {
		return
	}
	j.shape.Lock()
	defer j.shape.Unlock()
	j.tidy()
}

// tidy is reclaim for callers that go on without it: what could not be deleted
// still counts against MaxBytes and is tried again later. shape is held.
func (j *Journal) tidy() {
	if err := j.reclaim(); err != nil {
		j.log.Warn("passed segments are not deleted yet", slog.Any("error", err))
	}
}
