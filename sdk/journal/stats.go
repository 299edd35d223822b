package journal

import "slices"

// Stats is the state of a journal at one moment.
type Stats struct {
	First, End Offset
	// Records is how many from First to End can be read.
	Records uint64
	// Segments and Bytes are the files on disk, MaxBytes the bound on them.
	Segments        int
	Bytes, MaxBytes int64
	// Failed counts the commit groups that could not be made durable since Open.
	Failed uint64
	// Lost counts records by reason, [LostEvicted] and [LostCorrupt], since the
	// journal was made. Evictions are those of the cursors there are.
	Lost map[string]uint64
	// Cursors is sorted by name.
	Cursors []CursorStats
}

// CursorStats is the state of one cursor.
type CursorStats struct {
	Name     string
	Position Offset
	// Lag is how many offsets the cursor is behind End.
	Lag uint64
	// Evicted counts the records that were deleted before it passed them.
	Evicted uint64
}

// Stats returns the present state.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stats()
}

// stats is Stats with mu held.
func (j *Journal) stats() Stats {
	st := Stats{
		First: j.first(), End: j.End(), Segments: len(j.segments) + len(j.doomed),
		MaxBytes: j.options.MaxBytes, Failed: j.failed,
	}
	corrupt, evicted := j.deleted.lost, uint64(0)
	for _, s := range j.segments {
		missing := s.missing()
		corrupt += missing
		st.Records += uint64(s.end-s.first) - missing
		st.Bytes += s.size
	}
	for _, s := range j.doomed {
		st.Bytes += s.size
	}
	for _, c := range j.cursors {
		evicted += c.state.lost
		st.Cursors = append(st.Cursors, CursorStats{
			Name: c.name, Position: c.state.position, Evicted: c.state.lost, Lag: uint64(st.End - c.state.position),
		})
	}
	slices.SortFunc(st.Cursors, func(a, b CursorStats) int { return byName(j.cursors[a.Name], j.cursors[b.Name]) })
	st.Lost = map[string]uint64{LostEvicted: evicted, LostCorrupt: corrupt}
	return st
}
