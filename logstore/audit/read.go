package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// errUnreadable is a segment that is damaged or gone.
var errUnreadable = errors.New("the segment is damaged or gone")

// file is a segment that is read.
type file interface {
	io.ReaderAt
	io.Closer
	Size() (int64, error)
}

// source is where segments are read from: an open trail, or files alone.
type source interface {
	// open opens a segment.
	open(project string, first uint64) (file, error)
	// end is where the segment ends that takes records: its first record, the
	// epoch of its file and its size; 0 if that is not known but by the file.
	end(project string) (first uint64, epoch uint32, size int64)
}

// open implements source.
func (t *Trail) open(project string, first uint64) (file, error) {
	return t.dir.Open(segmentName(project, first), 0)
}

// end implements source.
func (t *Trail) end(project string) (first uint64, epoch uint32, size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.chains[project]
	if e == nil || e.project == nil || len(e.firsts) == 0 {
		return 0, 0, 0
	}
	return e.firsts[len(e.firsts)-1], e.project.epoch, e.project.size
}

// Projects are the projects that have chains, sorted.
func (t *Trail) Projects() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := slices.Sorted(maps.Keys(t.chains))
	return slices.DeleteFunc(names, func(name string) bool { return len(t.chains[name].firsts) == 0 })
}

// Read gives the items of a project's chain from record from on, as far as
// there are any when it begins: records, the checkpoints between them, and
// where a segment begins the state there. From 1 on it is what chain.Verify
// verifies. A record that cannot be read is a *chain.Finding. A project without
// records has no items.
func (t *Trail) Read(ctx context.Context, project string, from uint64) iter.Seq2[chain.Item, error] {
	return func(yield func(chain.Item, error) bool) {
		if err := t.reading(); err != nil {
			yield(chain.Item{}, wrap("audit.Read", err))
			return
		}
		t.mu.Lock()
		var firsts []uint64
		if e := t.chains[project]; e != nil {
			firsts = slices.Clone(e.firsts)
		}
		t.mu.Unlock()
		w := &walk{source: t, project: project, firsts: firsts, from: from}
		w.run(ctx, yield)
	}
}

// reading is an error if the trail is closed, or if segments lack what the
// journal has and still cannot be written: half a chain is not an answer.
func (t *Trail) reading() error {
	t.mu.Lock()
	closed, behind := t.closed, t.stats.Behind
	t.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case !behind:
		return nil
	}
	t.work.Lock()
	defer t.work.Unlock()
	return t.usable()
}

// walk reads the segments of one chain.
type walk struct {
	source
	project string
	firsts  []uint64
	from    uint64
	next    uint64
}

// run gives the items from record from on.
func (w *walk) run(ctx context.Context, yield func(chain.Item, error) bool) {
	if len(w.firsts) == 0 {
		return
	}
	w.from = max(w.from, 1)
	at := segmentOf(w.firsts, w.from)
	if w.next = w.firsts[at]; w.next > w.from {
		w.next = w.from // The files before are gone.
	}
	for _, first := range w.firsts[at:] {
		if more, err := w.segment(ctx, first, yield); err != nil {
			yield(chain.Item{}, err)
			return
		} else if !more {
			return
		}
	}
}

// finding is what is wrong with the next record.
func (w *walk) finding(what chain.What, detail string, args ...any) error {
	return &chain.Finding{Project: w.project, What: what, Seq: w.next, Detail: fmt.Sprintf(detail, args...)}
}

// segment gives the items of one segment.
func (w *walk) segment(ctx context.Context, first uint64, yield func(chain.Item, error) bool) (more bool, err error) {
	name := segmentName(w.project, first)
	if first != w.next {
		return false, w.finding(chain.Missing, "the next file is %s", name)
	}
	f, err := w.open(w.project, first)
	if errors.Is(err, os.ErrNotExist) {
		return false, w.finding(chain.Missing, "there is no file %s", name)
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return false, err
	}
	h, at, err := readHeader(f, size)
	if err == nil && (h.project != w.project || h.tree.Size+1 != first) {
		err = errHeader
	}
	var start *chain.Start
	if err == nil {
		start, err = h.start()
	}
	if err != nil {
		return false, w.finding(chain.Damaged, "the begin of %s cannot be read: %v", name, err)
	}
	if first >= w.from && !yield(chain.Item{Start: start}, nil) {
		return false, nil
	}
	in := &frames{file: f, epoch: h.epoch, at: at, end: size}
	if last, epoch, end := w.end(w.project); last == first && epoch == h.epoch {
		in.end = end
	}
	for n := 0; ; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		b, err := in.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) && w.ended(first, in) {
			return true, nil
		}
		if errors.Is(err, errTorn) && w.grown(first, in, f) {
			continue
		}
		item, keep, err := w.item(b, err)
		if err != nil {
			return false, fmt.Errorf("%s at %d: %w", name, in.at, err)
		}
		if keep && !yield(item, nil) {
			return false, nil
		}
	}
}

// ended reports whether a file ends where it was read to, though there is half
// a frame behind, which somebody is just writing.
func (w *walk) ended(first uint64, in *frames) bool {
	last, epoch, end := w.end(w.project)
	return last == first && epoch == in.epoch && end == in.at
}

// grown reports whether what looks like half a frame is whole by now: the end
// of the file was taken while somebody wrote.
func (w *walk) grown(first uint64, in *frames, f file) bool {
	last, epoch, end := w.end(w.project)
	if last != first || epoch != in.epoch {
		size, err := f.Size() // Nobody writes to it any more.
		if err != nil {
			return false
		}
		end = size
	}
	if end <= in.end {
		return false
	}
	in.end, in.buf = end, in.buf[:0]
	return true
}

// item reads the item of a body, and says whether it is wanted.
func (w *walk) item(b []byte, err error) (chain.Item, bool, error) {
	if err == nil && isRecord(b) && seqOf(b) < w.from && seqOf(b) == w.next {
		w.next++
		return chain.Item{}, false, nil
	}
	var i chain.Item
	if err == nil {
		i, _, err = parseBody(w.project, b)
	}
	if err != nil {
		if errors.Is(err, errTorn) || fault.KindOf(err) == fault.Invalid {
			err = w.finding(chain.Damaged, "what is stored in its place cannot be read: %v", err)
		}
		return i, false, err
	}
	if i.Link != nil {
		i.Link.Data = bytes.Clone(i.Link.Data)
		w.next = i.Link.Seq + 1
		return i, true, nil
	}
	return i, i.Checkpoint.Size >= w.from, nil
}

// Find gives the record with an id, NotFound if there is none.
func (t *Trail) Find(ctx context.Context, project, id string) (Link, error) {
	const op = "audit.Find"
	seq, err := t.locate(project, id)
	if err != nil {
		return Link{}, wrap(op, err)
	}
	if seq > 0 {
		for i, err := range t.Read(ctx, project, seq) {
			if err != nil {
				return Link{}, wrap(op, err)
			}
			if i.Link != nil {
				return *i.Link, nil
			}
		}
	}
	return Link{}, &fault.Error{Op: op, Name: id, Kind: fault.NotFound, Reason: "AUDIT_NO_SUCH_RECORD", Err: fmt.Errorf("project %s has no audit record %q", project, id)}
}

// locate is the number of the record with an id, 0 if there is none.
func (t *Trail) locate(project, id string) (uint64, error) {
	t.work.Lock()
	defer t.work.Unlock()
	if err := t.usable(); err != nil {
		return 0, err
	}
	t.mu.Lock()
	known := t.chains[project] != nil
	t.mu.Unlock()
	if !known {
		return 0, nil
	}
	p, err := t.load(project)
	if err != nil {
		return 0, err
	}
	if seq := p.ids[t.keyOf(id)]; seq != 0 {
		return seq, nil
	}
	return t.older(p, id, nil)
}

// index is what is needed of a complete segment to find records by their ids.
type index struct {
	project string
	first   uint64
	span    span
	ids     map[key]uint64
}

// maxRecent is how many indexes are kept: those of records that come late are
// asked for again and again.
const maxRecent = 8

// index reads that of a segment. work is held.
func (t *Trail) index(name string, first uint64) (*index, error) {
	for i, x := range t.recent {
		if x.project == name && x.first == first {
			copy(t.recent[1:i+1], t.recent[:i])
			t.recent[0] = x
			return x, nil
		}
	}
	t.indexed++
	f, err := t.dir.Open(segmentName(name, first), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errUnreadable
	}
	if err != nil {
		return nil, err
	}
	p := &project{name: name, ids: map[key]uint64{}}
	err = errors.Join(t.scanFile(p, f, first), f.Close())
	if errors.Is(err, errTorn) || errors.Is(err, errHeader) {
		return nil, errUnreadable
	}
	if err != nil {
		return nil, err
	}
	x := &index{project: name, first: first, span: p.span, ids: p.ids}
	t.recent = slices.Insert(t.recent, 0, x)
	t.recent = t.recent[:min(len(t.recent), maxRecent)]
	return x, nil
}
