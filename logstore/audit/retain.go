package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// Policy says for how long the data of a category is kept. What no policy is
// for is kept for good, and so are all headers.
type Policy struct {
	Category string
	Keep     time.Duration
}

// Expired is what a policy erases, or would.
type Expired struct {
	Category string
	// Before is the time before which data goes, Records how many have data
	// that does, and Bytes how much.
	Before  time.Time
	Records uint64
	Bytes   int64
	// Through is the last record that was looked at.
	Through uint64
}

// Preview tells what Retain would erase now.
func (t *Trail) Preview(ctx context.Context, project string, policies []Policy) ([]Expired, error) {
	const op = "audit.Preview"
	found := map[string]*Expired{}
	for _, p := range policies {
		if p.Category == "" || p.Category == chain.OwnCategory || p.Keep < 0 || found[p.Category] != nil {
			return nil, &fault.Error{Op: op, Kind: fault.Invalid, Reason: "AUDIT_POLICY_INVALID", Field: "category", Err: fmt.Errorf("category %q is empty, the trail's own or there twice, or keeps for %s", p.Category, p.Keep)}
		}
		found[p.Category] = &Expired{Category: p.Category, Before: t.o.Now().Add(-p.Keep).UTC()}
	}
	through := uint64(0)
	for i, err := range t.Read(ctx, project, 1) {
		if err != nil {
			return nil, wrap(op, err)
		}
		l := i.Link
		if l == nil {
			continue
		}
		through = l.Seq
		if x := found[l.Category]; x != nil && l.ErasedBy == 0 && l.Time.Before(x.Before) {
			x.Records++
			x.Bytes += int64(len(l.Data))
		}
	}
	var all []Expired
	for _, category := range slices.Sorted(maps.Keys(found)) {
		x := *found[category]
		x.Through = through
		all = append(all, x)
	}
	return all, nil
}

// Retain erases the data that is older than its category's policy: it records
// that in the chain first, then drops the data and leaves the headers. What a
// crash leaves undone the next Retain does. Erased data may stay in the journal
// until some megabytes more were recorded.
func (t *Trail) Retain(ctx context.Context, project string, policies []Policy) ([]Expired, error) {
	const op = "audit.Retain"
	all, err := t.Preview(ctx, project, policies)
	if err != nil {
		return nil, wrap(op, err)
	}
	erasures := map[uint64]chain.Erasure{}
	for i, x := range all {
		if x.Records == 0 {
			continue
		}
		e := chain.Erasure{
			Reason:   fmt.Sprintf("retention of %s", policies[slices.IndexFunc(policies, func(p Policy) bool { return p.Category == x.Category })].Keep),
			Category: x.Category, Before: x.Before, Through: all[i].Through,
		}
		seq, err := t.declare(project, e)
		if err != nil {
			return nil, wrap(op, err)
		}
		erasures[seq] = e
	}
	return all, wrap(op, t.drop(ctx, project, erasures))
}

// Erase erases the data of single records, at most chain.MaxErase of them, for
// a reason that stays in the chain. After an error some may be left: erase them
// again. Records that are not there or are the trail's own are Invalid.
func (t *Trail) Erase(ctx context.Context, project string, seqs []uint64, reason string) error {
	const op = "audit.Erase"
	seqs = slices.Compact(slices.Sorted(slices.Values(seqs)))
	if len(seqs) == 0 || len(seqs) > chain.MaxErase || reason == "" {
		return &fault.Error{Op: op, Kind: fault.Invalid, Reason: "AUDIT_ERASURE_INVALID", Err: fmt.Errorf("%d records, not 1 to %d, or no reason", len(seqs), chain.MaxErase)}
	}
	for _, seq := range seqs {
		if err := t.erasable(ctx, project, seq); err != nil {
			return wrap(op, err)
		}
	}
	e := chain.Erasure{Reason: reason, Seqs: seqs}
	by, err := t.declare(project, e)
	if err != nil {
		return wrap(op, err)
	}
	return wrap(op, t.drop(ctx, project, map[uint64]chain.Erasure{by: e}))
}

// erasable is an error if there is no such record or it may not be erased.
func (t *Trail) erasable(ctx context.Context, project string, seq uint64) error {
	for i, err := range t.Read(ctx, project, seq) {
		if err != nil {
			return err
		}
		if i.Link != nil && i.Link.Seq == seq && i.Link.Category != chain.OwnCategory {
			return nil
		}
		if i.Link != nil {
			break
		}
	}
	return &fault.Error{Kind: fault.Invalid, Reason: "AUDIT_ERASURE_INVALID", Err: fmt.Errorf("record %d of project %s is not there or is the trail's own", seq, project)}
}

// declare records an erasure.
func (t *Trail) declare(project string, e chain.Erasure) (uint64, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return 0, err
	}
	salt := newSalt()
	r := Record{
		Project: project, ID: fmt.Sprintf("%s/%x", chain.ErasureType, salt[:]), Time: t.o.Now(),
		Category: chain.OwnCategory, Type: chain.ErasureType, Data: data,
	}
	if err := r.Check(); err != nil {
		return 0, err
	}
	places, err := t.enqueue("audit.Erase", &request{records: []Record{r}, bytes: len(data), chains: 1})
	if err != nil {
		return 0, err
	}
	return places[0].Seq, nil
}

// drop writes the segments again without the data that erasures cover, one
// after the other, so that records can be appended meanwhile.
func (t *Trail) drop(ctx context.Context, project string, erasures map[uint64]chain.Erasure) error {
	if len(erasures) == 0 {
		return nil
	}
	t.mu.Lock()
	firsts := slices.Clone(t.chains[project].firsts)
	t.mu.Unlock()
	for _, first := range firsts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.dropFrom(project, first, erasures); err != nil {
			return fmt.Errorf("erasing in %s: %w", segmentName(project, first), err)
		}
	}
	return nil
}

// dropFrom is drop for one segment.
func (t *Trail) dropFrom(name string, first uint64, erasures map[uint64]chain.Erasure) error {
	t.work.Lock()
	defer t.work.Unlock()
	if err := t.usable(); err != nil {
		return err
	}
	p, err := t.load(name)
	if err != nil {
		return err
	}
	if err := t.save(); err != nil {
		return err
	}
	text, epoch, n, err := t.without(name, first, erasures)
	if err != nil || n == 0 {
		return err
	}
	if err := t.writeFile(segmentName(name, first), text); err != nil {
		return err
	}
	t.mu.Lock()
	t.stats.Erased += n
	firsts := t.chains[name].firsts
	t.mu.Unlock()
	if firsts[len(firsts)-1] != first {
		return nil
	}
	// It is the one that takes records.
	if p.file != nil {
		err = p.file.Close()
		p.file = nil
	}
	if err == nil {
		p.file, err = t.dir.Open(segmentName(name, first), 0)
	}
	if err != nil {
		t.fall(err)
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p.size, p.epoch = int64(len(text)), epoch
	return nil
}

// without is a segment without the data that erasures cover, and how many
// records lose theirs.
func (t *Trail) without(name string, first uint64, erasures map[uint64]chain.Erasure) (text []byte, fresh uint32, n uint64, err error) {
	f, err := t.dir.Open(segmentName(name, first), 0)
	if err != nil {
		return nil, 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, 0, 0, err
	}
	h, at, err := readHeader(f, size)
	if err != nil {
		return nil, 0, 0, err
	}
	in := &frames{file: f, epoch: h.epoch, at: at, end: size}
	h.epoch = epoch()
	text = h.encode()
	for {
		b, err := in.next()
		if errors.Is(err, io.EOF) {
			return text, h.epoch, n, nil
		}
		if err != nil {
			return nil, 0, 0, err
		}
		i, _, err := parseBody(name, b)
		if err != nil {
			return nil, 0, 0, err
		}
		if i.Link != nil && i.Link.ErasedBy == 0 {
			if by := covering(erasures, i.Link); by != 0 {
				l := i.Link.Erase(by)
				b = body(&l)
				n++
			}
		}
		text = appendFrame(text, h.epoch, b)
	}
}

// covering is the number of the first erasure that covers a record, 0 if none
// does.
func covering(erasures map[uint64]chain.Erasure, l *Link) uint64 {
	by := uint64(math.MaxUint64)
	for seq, e := range erasures {
		if seq > l.Seq && e.Covers(l) {
			by = min(by, seq)
		}
	}
	if by == math.MaxUint64 {
		return 0
	}
	return by
}
