package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// The bounds of one Append and of what is committed together.
const (
	maxAppend = 16 << 20
	maxGroup  = 16 << 20
)

// Place is where a record is.
type Place struct {
	// Seq is its number in the chain of its project.
	Seq uint64
	// Duplicate says that it was there before.
	Duplicate bool
}

// request is one Append that waits.
type request struct {
	records []Record
	bytes   int
	chains  int // how many the records are for
	places  []Place
	err     error
	done    bool
}

// queue holds the Appends that wait for one to commit for all.
type queue struct {
	mu      sync.Mutex
	waiting []*request
}

// add adds a request.
func (q *queue) add(r *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, r)
}

// take gives the oldest requests, as many as may be committed together.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, bytes, chains := 0, 0, 0
	for ; n < len(q.waiting); n++ {
		r := q.waiting[n]
		bytes, chains = bytes+r.bytes, chains+r.chains
		if n > 0 && (bytes > maxGroup || chains > maxOpen) {
			break
		}
	}
	group := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return group
}

// Append puts records into the chains of their projects and returns once they
// are on disk, with the place of each. A record whose id is in the chain is not
// put there again: it must be the same record, of the same Time. After an error
// none of them is there, except that they may be after a restart: append them
// again.
//
// A record that is not valid is Invalid, too many at once are TooLarge, and
// Exhausted is a journal that is full because segments cannot be written.
func (t *Trail) Append(ctx context.Context, records []Record) ([]Place, error) {
	const op = "audit.Append"
	if err := ctx.Err(); err != nil {
		return nil, wrap(op, err)
	}
	r := &request{records: make([]Record, len(records))}
	projects := map[string]bool{}
	for i, one := range records {
		if err := one.Check(); err != nil {
			return nil, wrap(op, err)
		}
		if strings.HasPrefix(one.Type, chain.Reserved) || one.Category == chain.OwnCategory {
			return nil, &fault.Error{Op: op, Name: one.ID, Kind: fault.Invalid, Reason: "AUDIT_RECORD_INVALID", Field: "type", Err: fmt.Errorf("type %q or category %q is the trail's own", one.Type, one.Category)}
		}
		one.Data = chain.Compact(one.Data)
		r.records[i] = one
		projects[one.Project] = true
		r.bytes += len(one.Data) + len(one.ID) + len(one.Type) + len(one.Category) + 256
	}
	if r.chains = len(projects); r.bytes > maxAppend || r.chains > maxOpen {
		return nil, &fault.Error{Op: op, Kind: fault.TooLarge, Reason: "AUDIT_BATCH_TOO_LARGE", Err: fmt.Errorf("records of %d bytes for %d projects, more than %d or %d at once", r.bytes, r.chains, maxAppend, maxOpen)}
	}
	return t.enqueue(op, r)
}

// enqueue commits a request together with those that wait meanwhile.
func (t *Trail) enqueue(op string, r *request) ([]Place, error) {
	if len(r.records) == 0 {
		return nil, nil
	}
	t.queue.add(r)
	t.work.Lock()
	defer t.work.Unlock()
	for !r.done { // else another one has done it
		t.commit(t.queue.take())
	}
	return r.places, wrap(op, r.err)
}

// commit puts the records of requests into the journal and then into the
// segments. work is held.
func (t *Trail) commit(group []*request) {
	defer func() {
		for _, r := range group {
			r.done = true
		}
	}()
	if err := t.usable(); err != nil {
		for _, r := range group {
			r.err = err
		}
		return
	}
	stages := map[string]*stage{}
	var order []*stage
	for _, r := range group {
		if r.err = t.prepare(r, stages, &order); r.err != nil {
			continue
		}
		for i, one := range r.records {
			s := stages[one.Project]
			switch seq := s.has(t.keyOf(one.ID)); {
			case r.places[i].Duplicate:
			case seq != 0:
				r.places[i] = Place{Seq: seq, Duplicate: true}
			default:
				r.places[i].Seq = s.record(one, newSalt())
			}
		}
	}
	if err := t.store(order); err != nil {
		for _, r := range group {
			if r.err == nil {
				r.places, r.err = nil, err
			}
		}
		return
	}
	t.count(group)
}

// prepare loads what a request needs, so that nothing can fail halfway, and
// finds those of its records that are in older segments already.
func (t *Trail) prepare(r *request, stages map[string]*stage, order *[]*stage) error {
	r.places = make([]Place, len(r.records))
	for i, one := range r.records {
		s := stages[one.Project]
		if s == nil {
			p, err := t.load(one.Project)
			if err != nil {
				return err
			}
			s = t.stage(p)
			stages[one.Project] = s
			*order = append(*order, s)
		}
		seq, err := t.older(s.p, one.ID, &one.Time)
		if err != nil {
			return err
		}
		if seq != 0 {
			r.places[i] = Place{Seq: seq, Duplicate: true}
		}
	}
	return nil
}

// store makes stages durable in the journal, writes them to the segments and
// saves those from time to time.
func (t *Trail) store(stages []*stage) error {
	var items [][]byte
	for _, s := range stages {
		items = append(items, s.items...)
	}
	if len(items) == 0 {
		return nil
	}
	// Nobody waits for less than this: what is half done would be done anyway.
	if _, err := t.journal.Append(context.Background(), items...); err != nil {
		return err
	}
	err := func() error {
		for _, s := range stages {
			if err := t.write(s); err != nil {
				return err
			}
		}
		t.applied = t.journal.End()
		if t.unsaved >= flushBytes || len(t.dirty) > maxOpen {
			return t.save()
		}
		return nil
	}()
	if err != nil {
		t.fall(err)
	}
	return nil
}

// fall notes that segments lack what the journal has. The records are safe, so
// it is nobody's failure yet.
func (t *Trail) fall(err error) {
	t.log.Warn("segments of the audit trail are behind its journal", slog.Any("error", err))
	t.behind = true
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Behind = true
}

// count counts what a commit did.
func (t *Trail) count(group []*request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range group {
		for _, p := range r.places {
			if p.Duplicate {
				t.stats.Duplicates++
			} else {
				t.stats.Records++
			}
		}
	}
}

// save makes the segments durable, so that the journal may forget. One whose
// sync failed is never synced again, but made anew by replay. work is held.
func (t *Trail) save() error {
	if t.behind {
		return nil
	}
	err := t.sync()
	if err != nil {
		t.fall(err)
	}
	return err
}

// sync is save without its consequences.
func (t *Trail) sync() error {
	for p := range t.dirty {
		if p.file == nil {
			continue
		}
		if err := p.file.Sync(); err != nil {
			return err
		}
	}
	if t.doubt {
		if err := t.dir.Sync(); err != nil {
			return err
		}
		t.doubt = false
	}
	clear(t.dirty)
	t.unsaved = 0
	return t.cursor.Commit(t.applied)
}

// older is the number of the record with that id and time, nil for any, in the
// segments before the one that takes records; 0 if there is none. It reads only
// segments that have records around that time.
func (t *Trail) older(p *project, id string, when *time.Time) (uint64, error) {
	t.mu.Lock()
	e := t.chains[p.name]
	firsts := e.firsts
	t.mu.Unlock()
	n := len(firsts)
	if p.first != 0 {
		n--
	}
	latest, at, k := p.latest, int64(0), t.keyOf(id)
	if p.first != 0 {
		latest = p.span.before
	}
	if when != nil {
		at = when.UnixNano()
	}
	for _, first := range slices.Backward(firsts[:max(n, 0)]) {
		if when != nil && at > latest {
			break
		}
		s, known := e.spans[first]
		if when == nil || !known || s.has(at) {
			x, err := t.index(p.name, first)
			if errors.Is(err, errUnreadable) {
				return 0, nil // Damage, which reading and verifying report.
			}
			if err != nil {
				return 0, err
			}
			if seq := x.ids[k]; seq != 0 {
				return seq, nil
			}
			if e.spans == nil {
				e.spans = map[uint64]span{}
			}
			s, e.spans[first] = x.span, x.span
		}
		latest = s.before
	}
	return 0, nil
}

// newSalt is a random salt.
func newSalt() chain.Salt {
	var s chain.Salt
	rand.Read(s[:]) // never fails
	return s
}
