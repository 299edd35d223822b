package audit

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/journal"
)

// state is where a chain stands.
type state struct {
	tree chain.Tree
	prev chain.Hash
	// latest is the latest time of a record.
	latest int64
	// checkpoint is the last one, nil if there is none, signed its size.
	checkpoint *Checkpoint
	signed     uint64
	// first is that of the segment that takes records, 0 if the next record
	// begins one; epoch, size and span are the segment's.
	first uint64
	epoch uint32
	size  int64
	span  span
}

// span is the times of a segment's records: from the oldest to the newest, and
// the newest of all segments before it.
type span struct{ oldest, newest, before int64 }

// newSpan is that of a segment without records.
func newSpan(before int64) span { return span{math.MaxInt64, math.MinInt64, before} }

// has reports whether a record of that time may be in the segment.
func (s span) has(at int64) bool { return s.oldest <= at && at <= s.newest }

// project is a chain in memory. Trail.work guards it, and Trail.mu too what
// readers look at: state.
type project struct {
	name string
	state
	file journal.File // of the segment that takes records
	ids  map[key]uint64
	used uint64 // the turn in which it was last needed
	// damage is what is to be recorded before anything else.
	damage *damage
}

// key stands for the id of a record in memory.
type key [2]uint64

// keyOf is the key of an id. Two ids with one key would take 2^64 records.
func (t *Trail) keyOf(id string) key {
	return key{maphash.String(t.seed, id), maphash.String(t.seed, id+"\x00")}
}

// damage is the data of a record of chain.DamageType: durable records were
// found damaged, and the chain goes on from before them.
type damage struct {
	// File is where the damaged segment was put, From the first record that
	// could not be read, At its offset there.
	File string `json:"file"`
	From uint64 `json:"from"`
	At   int64  `json:"at"`
}

// everything is the number of the last durable record where all of them are.
const everything = math.MaxUint64

// load gives a chain that no record of the journal is missing from.
func (t *Trail) load(name string) (*project, error) {
	t.mu.Lock()
	e := t.chains[name]
	t.mu.Unlock()
	if e != nil && e.project != nil {
		e.project.used = t.turn
		return e.project, nil
	}
	return t.fetch(name, everything)
}

// fetch reads a chain's last segment, whose records up to number durable are
// known to have been on disk. work is held.
func (t *Trail) fetch(name string, durable uint64) (*project, error) {
	if err := t.makeRoom(); err != nil {
		return nil, err
	}
	p := &project{name: name, ids: map[key]uint64{}, used: t.turn}
	for {
		t.mu.Lock()
		e := t.chains[name]
		t.mu.Unlock()
		if e == nil || len(e.firsts) == 0 {
			break
		}
		first := e.firsts[len(e.firsts)-1]
		err := t.scan(p, first, durable)
		if err == nil {
			break
		}
		if !errors.Is(err, errHeader) {
			return nil, fmt.Errorf("reading segment %s: %w", segmentName(name, first), err)
		}
		if err := t.discard(p, first, first <= durable); err != nil {
			return nil, err
		}
	}
	if d := t.unrecorded(p); d != nil {
		p.damage = d
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.chains[name]
	if e == nil {
		e = &entry{}
		t.chains[name] = e
	}
	e.project = p
	t.loaded += len(p.ids)
	t.held++
	return p, nil
}

// scan reads the segment that begins with first into p, cuts off what a crash
// left half, and sets aside what is damaged.
func (t *Trail) scan(p *project, first, durable uint64) error {
	name := segmentName(p.name, first)
	file, err := t.dir.Open(name, 0)
	if err != nil {
		return err
	}
	err = t.scanFile(p, file, first)
	if err != nil && !errors.Is(err, errTorn) {
		return errors.Join(err, file.Close())
	}
	p.file = file
	if err == nil {
		return nil
	}
	if p.tree.Size < durable {
		d := damage{File: asideName(name, p.tree.Size+1), From: p.tree.Size + 1, At: p.size}
		if err := t.setAside(p, file, d); err != nil {
			return err
		}
	}
	if err := file.Truncate(p.size); err != nil {
		return err
	}
	return file.Sync()
}

// scanFile reads a segment's frames into the state of p: errHeader if it has
// no header, errTorn if there is more than whole frames.
func (t *Trail) scanFile(p *project, file journal.File, first uint64) error {
	size, err := file.Size()
	if err != nil {
		return err
	}
	h, at, err := readHeader(file, size)
	if err != nil {
		return err
	}
	s, err := h.start()
	if err != nil || h.project != p.name || h.tree.Size+1 != first {
		return errHeader
	}
	p.state = state{
		tree: s.Tree, prev: s.Prev, latest: h.latest, checkpoint: s.Checkpoint, signed: h.tree.Size,
		first: first, epoch: h.epoch, size: at, span: newSpan(h.latest),
	}
	clear(p.ids)
	f := &frames{file: file, epoch: h.epoch, at: at, end: size}
	for {
		b, err := f.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.take(&p.state, p.ids, b); err != nil {
			return err
		}
		p.size = f.at
	}
}

// take moves a state behind the body of a frame: errTorn if it does not belong
// there.
func (t *Trail) take(s *state, ids map[key]uint64, b []byte) error {
	if s.first == 0 {
		return errTorn // behind the end of the segment
	}
	if isRecord(b) {
		id, ok := idOf(b)
		if !ok || seqOf(b) != s.tree.Size+1 {
			return errTorn
		}
		s.prev = hashOf(b)
		s.tree.Append(s.prev)
		at := timeOf(b).UnixNano()
		s.latest, s.span.oldest, s.span.newest = max(s.latest, at), min(s.span.oldest, at), max(s.span.newest, at)
		ids[t.keyOf(id)] = s.tree.Size
		return nil
	}
	i, seal, err := parseBody("", b)
	if err != nil || i.Checkpoint.Size != s.tree.Size {
		return errTorn
	}
	s.checkpoint, s.signed = i.Checkpoint, s.tree.Size
	if seal {
		s.first = 0
	}
	return nil
}

// discard takes a segment without a header out of the way: it is removed if a
// crash explains it, and set aside if not.
func (t *Trail) discard(p *project, first uint64, damaged bool) error {
	name := segmentName(p.name, first)
	if damaged {
		d := damage{File: asideName(name, first), From: first}
		if err := t.dir.Rename(name, d.File); err != nil {
			return err
		}
		t.damaged(p, d)
	} else if err := t.dir.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	t.mu.Lock()
	e := t.chains[p.name]
	e.firsts = e.firsts[:len(e.firsts)-1]
	t.mu.Unlock()
	return t.dir.Sync()
}

// setAside copies a damaged segment before it is cut.
func (t *Trail) setAside(p *project, file journal.File, d damage) error {
	size, err := file.Size()
	if err != nil {
		return err
	}
	if err := t.copyFile(file, size, d.File); err != nil {
		return err
	}
	t.damaged(p, d)
	return nil
}

// copyFile makes a durable file of the first size bytes of another one.
func (t *Trail) copyFile(from io.ReaderAt, size int64, name string) error {
	b := make([]byte, size)
	if _, err := from.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return t.writeFile(name, b)
}

// writeFile makes a durable file, whole or not at all.
func (t *Trail) writeFile(name string, b []byte) error {
	to, err := t.dir.Open(name+temporarySuffix, os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = to.WriteAt(b, 0)
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	if err := t.dir.Rename(name+temporarySuffix, name); err != nil {
		return err
	}
	return t.dir.Sync()
}

// damaged tells of damage.
func (t *Trail) damaged(p *project, d damage) {
	t.log.Error("durable audit records are damaged", slog.String("project", p.name), slog.String("file", d.File), slog.Uint64("from", d.From))
	p.damage = &d
	if d.File != "" {
		t.aside[p.name] = append(t.aside[p.name], d.File)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Damaged++
}

// unrecorded is the damage that was set aside before a crash could be recorded:
// its record would be the next one.
func (t *Trail) unrecorded(p *project) *damage {
	if p.damage != nil {
		return p.damage
	}
	for _, name := range t.aside[p.name] {
		if _, from, _ := parseAside(name); from == p.tree.Size+1 {
			return &damage{File: name, From: from}
		}
	}
	return nil
}

// asideName is the name of the file that a damaged segment is set aside in.
func asideName(segment string, from uint64) string {
	return fmt.Sprintf("%s.%d%s", segment, from, damagedSuffix)
}

// parseAside is the inverse of asideName, and gives the segment's project.
func parseAside(name string) (project string, from uint64, ok bool) {
	stem, ok := strings.CutSuffix(name, damagedSuffix)
	dot := strings.LastIndexByte(stem, '.')
	if !ok || dot < 0 {
		return "", 0, false
	}
	project, _, ok = parseSegment(stem[:dot])
	from, err := strconv.ParseUint(stem[dot+1:], 10, 64)
	return project, from, ok && err == nil
}

// note adds a segment to those of a project.
func (t *Trail) note(name string, first uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.chains[name]
	if e == nil {
		e = &entry{}
		t.chains[name] = e
	}
	i := segmentOf(e.firsts, first)
	switch {
	case len(e.firsts) == 0 || first < e.firsts[0]:
		e.firsts = append([]uint64{first}, e.firsts...)
	case e.firsts[i] != first:
		e.firsts = append(e.firsts[:i+1], append([]uint64{first}, e.firsts[i+1:]...)...)
	}
}

// makeRoom drops the chains that are not in use now, if there are too many of
// them or of their ids in memory. work is held.
func (t *Trail) makeRoom() error {
	t.mu.Lock()
	full := t.loaded > maxLoaded || t.held > maxOpen
	t.mu.Unlock()
	if !full {
		return nil
	}
	if err := t.save(); err != nil {
		return err
	}
	return t.unload(func(p *project) bool { return p.used < t.turn })
}

// unload drops chains from memory. work is held, and they are saved or not
// worth it.
func (t *Trail) unload(which func(*project) bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for name, e := range t.chains {
		p := e.project
		if p == nil || !which(p) {
			continue
		}
		if p.file != nil {
			errs = append(errs, p.file.Close())
		}
		if p.tree.Size > p.signed {
			t.unseen[name] = true
		}
		delete(t.dirty, p)
		t.loaded -= len(p.ids)
		t.held--
		e.project = nil
		if len(e.firsts) == 0 {
			delete(t.chains, name)
		}
	}
	return errors.Join(errs...)
}
