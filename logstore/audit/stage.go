package audit

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"

	"selvedge.dev/logstore/audit/chain"
)

// stage is a chain with records that are not in it yet: first the journal gets
// them, then the segments, then the project this state.
type stage struct {
	t *Trail
	p *project
	state
	ids   map[key]uint64 // of the records staged for the present segment
	ended map[key]uint64 // and for those before it
	fresh bool           // a segment was begun, so that p.ids are of another
	parts []part
	items [][]byte // for the journal
}

// part is what is written to one segment.
type part struct {
	first uint64
	at    int64
	data  []byte
}

// stage begins a stage. A chain that was damaged has the record of that first.
func (t *Trail) stage(p *project) *stage {
	s := &stage{t: t, p: p, state: p.state, ids: map[key]uint64{}, ended: map[key]uint64{}}
	s.tree = p.tree.Clone()
	if s.first != 0 {
		s.parts = append(s.parts, part{first: s.first, at: s.size})
	}
	if d := p.damage; d != nil {
		s.damage(*d)
	}
	return s
}

// damage stages the record of a damage.
func (s *stage) damage(d damage) {
	data, err := json.Marshal(d)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	s.record(Record{
		Project: s.p.name, ID: fmt.Sprintf("%s/%s/%d", chain.DamageType, d.File, d.From), Time: s.t.o.Now(),
		Category: chain.OwnCategory, Type: chain.DamageType, Data: data,
	}, newSalt())
}

// has is the number of the record with that id among the staged ones and those
// of the project's segment; 0 if there is none.
func (s *stage) has(k key) uint64 {
	for _, ids := range []map[key]uint64{s.ids, s.ended, s.p.ids} {
		if seq := ids[k]; seq != 0 {
			return seq
		}
	}
	return 0
}

// record stages a record, and the checkpoint that is due behind it.
func (s *stage) record(r Record, salt chain.Salt) uint64 {
	l := chain.Next(r, salt, s.tree.Size, s.prev)
	s.put(body(&l))
	switch {
	case s.size >= s.t.o.SegmentBytes:
		s.sign(true)
	case s.tree.Size-s.signed >= uint64(s.t.o.CheckpointRecords):
		s.sign(false)
	}
	return l.Seq
}

// sign stages a checkpoint. A signer that fails is asked again later: records
// do not wait for it.
func (s *stage) sign(seal bool) {
	c := Checkpoint{
		Origin: s.t.o.Signer.Name(), Project: s.p.name, Size: s.tree.Size, Root: s.tree.Root(), Head: s.prev, Time: s.t.o.Now(),
	}
	if s.checkpoint != nil && c.Time.Before(s.checkpoint.Time) {
		c.Time = s.checkpoint.Time
	}
	if err := s.t.o.Signer.Sign(&c); err != nil {
		s.t.log.Error("no checkpoint of the audit trail", slog.String("project", s.p.name), slog.Any("error", err))
		return
	}
	s.put(noteBody(&c, seal))
}

// put stages a body that belongs at the end of the chain.
func (s *stage) put(b []byte) {
	if s.first == 0 {
		s.begin()
	}
	part := &s.parts[len(s.parts)-1]
	part.data = appendFrame(part.data, s.epoch, b)
	s.size += frameHeader + int64(len(b))
	s.items = append(s.items, append(appendString(nil, s.p.name), b...))
	if err := s.t.take(&s.state, s.ids, b); err != nil {
		panic("BUG: " + err.Error())
	}
}

// begin stages the begin of a segment, behind the checkpoint that ended the
// one before it.
func (s *stage) begin() {
	h := header{project: s.p.name, epoch: epoch(), tree: s.tree.Clone(), prev: s.prev, latest: s.latest}
	if s.checkpoint != nil {
		h.note = s.checkpoint.Note()
	}
	data := h.encode()
	s.first, s.epoch, s.size, s.span = s.tree.Size+1, h.epoch, int64(len(data)), newSpan(s.latest)
	s.parts = append(s.parts, part{first: s.first, data: data})
	s.fresh = true
	maps.Copy(s.ended, s.ids)
	clear(s.ids)
}

// write writes what is staged to the segments and makes it the project's
// state. work is held.
func (t *Trail) write(s *stage) error {
	p := s.p
	for _, part := range s.parts {
		if len(part.data) == 0 {
			continue
		}
		if part.at == 0 {
			if err := t.roll(p, part.first); err != nil {
				return err
			}
		}
		if _, err := p.file.WriteAt(part.data, part.at); err != nil {
			return err
		}
		t.unsaved += int64(len(part.data))
		t.dirty[p] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.fresh {
		t.loaded -= len(p.ids)
		clear(p.ids)
	}
	was := len(p.ids)
	maps.Copy(p.ids, s.ids)
	t.loaded += len(p.ids) - was
	p.state, p.damage = s.state, nil
	return nil
}

// roll makes the file of the next segment. The one before it is durable then,
// with its name: after a crash the last segment tells of all before it.
func (t *Trail) roll(p *project, first uint64) error {
	if p.file != nil {
		if t.doubt {
			if err := t.dir.Sync(); err != nil {
				return err
			}
			t.doubt = false
		}
		if err := p.file.Sync(); err != nil {
			return err
		}
		err := p.file.Close()
		if p.file = nil; err != nil {
			return err
		}
	}
	file, err := t.dir.Open(segmentName(p.name, first), os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	p.file, t.doubt = file, true
	t.note(p.name, first)
	return nil
}
