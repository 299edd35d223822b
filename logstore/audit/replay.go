package audit

import (
	"errors"
	"fmt"

	"selvedge.dev/sdk/journal"
)

// replayBytes is how much of the journal is read at once.
const replayBytes = 1 << 20

// item is a record or checkpoint of the journal.
type item struct {
	project string
	body    []byte
}

// parseItem reads an item of the journal.
func parseItem(b []byte) (item, error) {
	project, body, ok := cutString(b)
	if !ok || len(body) == 0 {
		return item{}, errTorn
	}
	return item{project, body}, nil
}

// unsavedItems gives the items of the journal that segments may lack.
func (t *Trail) unsavedItems(yield func(item) error) error {
	var b journal.Batch
	for at := t.cursor.Position(); ; at = b.Next() {
		if err := t.journal.Read(at, &b, replayBytes); err != nil {
			return err
		}
		if b.Len() == 0 {
			return nil
		}
		for i := range b.Len() {
			it, err := parseItem(b.At(i).Data)
			if err != nil {
				return fmt.Errorf("journal record %d: %w", b.At(i).Offset, err)
			}
			if err := yield(it); err != nil {
				return err
			}
		}
	}
}

// replay brings the segments up to the journal: after a crash, or after they
// could not be written. Whatever is in memory is read again. work is held, or
// nobody else is there yet.
func (t *Trail) replay() error {
	t.behind = true
	end := t.journal.End()
	t.applied = t.cursor.Position()
	if err := t.unload(func(*project) bool { return true }); err != nil {
		return err
	}
	// What the journal begins with, everything before it was saved.
	durable := map[string]uint64{}
	err := t.unsavedItems(func(it item) error {
		if _, ok := durable[it.project]; ok {
			return nil
		}
		if isRecord(it.body) {
			durable[it.project] = seqOf(it.body) - 1
			return nil
		}
		i, _, err := parseBody(it.project, it.body)
		if err == nil {
			durable[it.project] = i.Checkpoint.Size
		}
		return err
	})
	if err != nil {
		return err
	}
	stages := map[string]*replayed{}
	if err := t.unsavedItems(func(it item) error { return t.redo(it, stages, durable[it.project]) }); err != nil {
		return err
	}
	for _, r := range stages {
		if err := t.write(r.stage); err != nil {
			return err
		}
		if r.p.file != nil {
			t.dirty[r.p] = true
		}
	}
	t.applied, t.behind = end, false
	if err := t.save(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Behind = false
	return nil
}

// replayed is a chain that items of the journal are put into.
type replayed struct {
	*stage
	broken bool // durable records are lost: those that follow get new places
}

// redo puts an item of the journal where it belongs, if it is not there.
func (t *Trail) redo(it item, stages map[string]*replayed, durable uint64) error {
	r := stages[it.project]
	if r == nil {
		p, err := t.fetch(it.project, durable)
		if err != nil {
			return err
		}
		if err := t.renew(p); err != nil {
			return err
		}
		r = &replayed{stage: t.stage(p), broken: p.damage != nil}
		stages[it.project] = r
	}
	r.items = nil // They are in the journal.
	i, _, err := parseBody(it.project, it.body)
	if err != nil {
		return err
	}
	if c := i.Checkpoint; c != nil {
		if c.Size == r.tree.Size && c.Size > r.signed && c.Root == r.tree.Root() {
			r.put(it.body)
		}
		return nil
	}
	l := i.Link
	switch {
	case !r.broken && l.Seq <= r.tree.Size:
		return nil
	case !r.broken && l.Seq == r.tree.Size+1 && l.Prev == r.prev:
		r.put(it.body)
		return nil
	case !r.broken:
		// The segment ends before what is known to have been saved.
		d := damage{From: r.tree.Size + 1, At: r.size}
		t.damaged(r.p, d)
		r.broken = true
		r.damage(d)
	}
	if r.has(t.keyOf(l.ID)) == 0 {
		r.record(l.Record, l.Salt)
	}
	return nil
}

// renew writes a segment once more as a file of its own: what a killed process
// wrote, or failed to sync, may look as if it were on disk and not be.
func (t *Trail) renew(p *project) error {
	if p.file == nil {
		return nil
	}
	t.mu.Lock()
	firsts := t.chains[p.name].firsts
	t.mu.Unlock()
	name := segmentName(p.name, firsts[len(firsts)-1])
	err := t.copyFile(p.file, p.size, name)
	err = errors.Join(err, p.file.Close())
	p.file = nil
	if err != nil {
		return err
	}
	p.file, err = t.dir.Open(name, 0)
	return err
}
