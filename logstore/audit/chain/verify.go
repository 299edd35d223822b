package chain

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Item is one thing of a chain as it is read: exactly one of these.
type Item struct {
	Link       *Link
	Checkpoint *Checkpoint
	Start      *Start
}

// Start is the state of a chain where a file of it begins.
type Start struct {
	Project string
	// Tree is over the records before, Prev the last one's hash.
	Tree Tree
	Prev Hash
	// Checkpoint is that of exactly these records; nil if there are none.
	Checkpoint *Checkpoint
}

// VerifyOptions say what is known before.
type VerifyOptions struct {
	// Project is whose chain it must be; "" takes it from the first item.
	Project string
	// Keys are the keys that are trusted. Without any, no signature counts,
	// and the report says so.
	Keys Keys
	// Heads are checkpoints that were kept elsewhere. Each must be met: a chain
	// that ends before one was cut off.
	Heads []Checkpoint
	// Partial says that records before and behind are not given: a file may
	// begin where a checkpoint vouches for those before, and erasures may be
	// explained behind.
	Partial bool
	// Bare says that there are no checkpoints among the items, as in a log
	// store: heads are all that vouches for them.
	Bare bool
}

// Report says what was verified.
type Report struct {
	Project string `json:"project"`
	// First and Last are the numbers of the records; Last is 0 if there are none.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Records is how many there were, Erased those of them without data.
	Records uint64 `json:"records"`
	Erased  uint64 `json:"erased"`
	// Checkpoints is how many were met, Heads those of VerifyOptions.
	Checkpoints int `json:"checkpoints"`
	Heads       int `json:"heads"`
	// Unsigned is how many records follow the last checkpoint: only the chain
	// itself vouches for them so far.
	Unsigned uint64 `json:"unsigned"`
	// Signed says that the signatures were checked.
	Signed bool `json:"signed"`
	// Head and Root are the last record's hash and the tree's.
	Head Hash `json:"head"`
	Root Hash `json:"root"`
}

// Verifier verifies one chain as it is read. After the first error it is of no
// more use.
type Verifier struct {
	o      VerifyOptions
	heads  []Checkpoint
	tree   Tree
	prev   Hash
	signed uint64 // covered by checkpoints
	last   *Checkpoint
	claims map[uint64]*claims
	report Report
	begun  bool
}

// NewVerifier verifies by what is known.
func NewVerifier(o VerifyOptions) *Verifier {
	v := &Verifier{o: o, claims: map[uint64]*claims{}, report: Report{Project: o.Project, Signed: len(o.Keys) > 0}}
	v.heads = slices.Clone(o.Heads)
	slices.SortStableFunc(v.heads, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	return v
}

// Add verifies the next item. What does not fit is a *Finding.
func (v *Verifier) Add(i Item) error {
	switch {
	case i.Link != nil:
		return v.link(i.Link)
	case i.Checkpoint != nil:
		return v.checkpoint(i.Checkpoint)
	case i.Start != nil:
		return v.start(i.Start)
	}
	return nil
}

// Next is the number of the record that comes next.
func (v *Verifier) Next() uint64 { return v.tree.Size + 1 }

// State is where the chain stands, as a file that begins here says it.
func (v *Verifier) State() Start {
	s := Start{Project: v.report.Project, Tree: v.tree.Clone(), Prev: v.prev}
	if v.last != nil && v.last.Size == v.tree.Size {
		s.Checkpoint = v.last
	}
	return s
}

// find is a finding about record seq.
func (v *Verifier) find(what What, seq uint64, format string, args ...any) error {
	return &Finding{Project: v.report.Project, What: what, Seq: seq, Signed: v.signed, Detail: fmt.Sprintf(format, args...)}
}

// of checks that something about record seq is of the chain's project.
func (v *Verifier) of(project string, seq uint64) error {
	if v.report.Project == "" {
		v.report.Project = project
	}
	if project != v.report.Project {
		return v.find(Inserted, seq, "it is of project %q", project)
	}
	return nil
}

// start takes the state that a file begins with: on its own word only if it is
// the first, and then only if a checkpoint says the same.
func (v *Verifier) start(s *Start) error {
	if err := v.of(s.Project, v.Next()); err != nil {
		return err
	}
	if !s.Tree.Valid() {
		return v.find(Damaged, s.Tree.Size+1, "the tree that the file begins with has %d peaks", len(s.Tree.Peaks))
	}
	if v.begun {
		switch {
		case s.Tree.Size > v.tree.Size:
			return v.find(Missing, v.Next(), "the next file begins with record %d", s.Tree.Size+1)
		case s.Tree.Size < v.tree.Size:
			return v.find(Inserted, s.Tree.Size+1, "the next file begins with it again")
		case s.Tree.Root() != v.tree.Root() || s.Prev != v.prev:
			return v.find(Rewritten, v.signed+1, "the file from record %d on was made behind another chain", v.Next())
		}
		return nil
	}
	v.begun = true
	if s.Tree.Size == 0 {
		return nil
	}
	if s.Checkpoint == nil || !v.o.Partial {
		return v.find(Missing, 1, "the first file begins with record %d", s.Tree.Size+1)
	}
	v.tree, v.prev = s.Tree.Clone(), s.Prev
	if err := v.checkpoint(s.Checkpoint); err != nil {
		return err
	}
	for len(v.heads) > 0 && v.heads[0].Size < v.tree.Size {
		return v.find(Missing, v.heads[0].Size, "a head is of %d records, and the first that is given is %d", v.heads[0].Size, v.Next())
	}
	return nil
}

// link verifies the next record.
func (v *Verifier) link(l *Link) error {
	v.begun = true
	next := v.Next()
	if err := v.of(l.Project, next); err != nil {
		return err
	}
	switch {
	case l.ErasedBy == 0 && l.dataHash() != l.DataHash:
		return v.find(Altered, next, "its data does not have its hash")
	case l.hash() != l.Hash:
		return v.find(Altered, next, "it does not have its own hash")
	case l.Seq > next:
		return v.find(Missing, next, "record %d comes where it should", l.Seq)
	case l.Seq < next:
		return v.find(Inserted, l.Seq, "it comes again, in the place of record %d", next)
	case l.Prev != v.prev && next-1 <= v.signed:
		return v.find(Inserted, next, "it was made behind another record than the one before it")
	case l.Prev != v.prev:
		return v.find(Rewritten, next-1, "record %d was made behind another one", next)
	case next-v.signed > MaxRun && !v.o.Bare:
		return v.find(Unsigned, v.signed+1, "no checkpoint follows within %d records", MaxRun)
	}
	if v.report.Records == 0 {
		v.report.First = next
	}
	v.report.Records++
	v.tree.Append(l.Hash)
	v.prev = l.Hash
	if err := v.erased(l); err != nil {
		return err
	}
	return v.meet()
}

// erased remembers what records without data claim, and settles it when the
// record comes that they named.
func (v *Verifier) erased(l *Link) error {
	if by := l.ErasedBy; by != 0 {
		v.report.Erased++
		if by <= l.Seq {
			return v.find(Undeclared, l.Seq, "its data is gone by record %d, which is not after it", by)
		}
		if v.claims[by] == nil {
			v.claims[by] = &claims{}
		}
		v.claims[by].add(l)
	}
	c := v.claims[l.Seq]
	if c == nil {
		return nil
	}
	delete(v.claims, l.Seq)
	if l.Type == ErasureType && l.Category == OwnCategory && l.ErasedBy == 0 {
		if e, err := ParseErasure(l.Data); err == nil && c.hold(&e) {
			return nil
		}
	}
	return v.find(Undeclared, c.first, "its data is gone, and record %d does not say why", l.Seq)
}

// checkpoint verifies a checkpoint where it stands.
func (v *Verifier) checkpoint(c *Checkpoint) error {
	v.begun = true
	if err := v.of(c.Project, c.Size); err != nil {
		return err
	}
	if len(v.o.Keys) > 0 {
		if err := v.o.Keys.Check(c); err != nil {
			return v.find(Forged, c.Size, "the checkpoint of %d records: %v", c.Size, err)
		}
	}
	switch {
	case c.Size > v.tree.Size:
		return v.find(Missing, v.Next(), "a checkpoint of %d records comes where it should", c.Size)
	case c.Size < v.tree.Size:
		return v.find(Inserted, c.Size+1, "a checkpoint of %d records comes behind %d", c.Size, v.tree.Size)
	case v.last != nil && c.Origin != v.last.Origin:
		return v.find(Inserted, c.Size, "a checkpoint is of the platform %q instead of %q", c.Origin, v.last.Origin)
	case v.last != nil && c.Time.Before(v.last.Time):
		return v.find(Forged, c.Size, "the checkpoint of %d records is older than the one before it", c.Size)
	case c.Root != v.tree.Root() || c.Head != v.prev:
		return v.find(Rewritten, v.signed+1, "the checkpoint of %d records was signed for others", c.Size)
	}
	v.signed, v.last = c.Size, c
	v.report.Checkpoints++
	return v.meet()
}

// meet compares the chain with the heads that are of as many records.
func (v *Verifier) meet() error {
	for len(v.heads) > 0 && v.heads[0].Size <= v.tree.Size {
		h := v.heads[0]
		if h.Project != v.report.Project {
			return v.find(Inserted, 0, "a head is of project %q", h.Project)
		}
		if len(v.o.Keys) > 0 {
			if err := v.o.Keys.Check(&h); err != nil {
				return v.find(Forged, h.Size, "the head of %d records: %v", h.Size, err)
			}
		}
		if h.Root != v.tree.Root() || h.Head != v.prev {
			return v.find(Rewritten, v.signed+1, "the head of %d records was another", h.Size)
		}
		v.heads, v.signed = v.heads[1:], h.Size
		v.report.Heads++
	}
	return nil
}

// Finish ends the chain.
func (v *Verifier) Finish() (Report, error) {
	v.report.Last, v.report.Unsigned = v.tree.Size, v.tree.Size-v.signed
	v.report.Head, v.report.Root = v.prev, v.tree.Root()
	if len(v.heads) > 0 && v.heads[0].Size == 0 {
		if err := v.meet(); err != nil {
			return v.report, err
		}
	}
	if len(v.heads) > 0 {
		h := v.heads[0]
		return v.report, v.find(Truncated, v.Next(), "a head is of %d records", h.Size)
	}
	var first *claims
	for _, c := range v.claims {
		if first == nil || c.first < first.first {
			first = c
		}
	}
	if first != nil && !v.o.Partial {
		return v.report, v.find(Undeclared, first.first, "its data is gone, and no record says why")
	}
	return v.report, nil
}

// Verify verifies a chain. What does not fit is a *Finding, which names the
// first record at fault; any other error is the reader's. After a finding it
// reads on as far as that tells what was done.
func Verify(items iter.Seq2[Item, error], o VerifyOptions) (Report, error) {
	v := NewVerifier(o)
	var found *Finding
	var at *Link
	for i, err := range items {
		if found != nil {
			if err != nil || found.more(at, i.Link) {
				break
			}
			continue
		}
		if err == nil {
			err = v.Add(i)
		}
		if err == nil {
			continue
		}
		if !errors.As(err, &found) {
			return v.report, err
		}
		if found.Project == "" {
			found.Project = v.report.Project
		}
		if at = i.Link; !found.unclear() {
			break
		}
	}
	report, err := v.Finish()
	if found != nil {
		return report, found
	}
	return report, err
}
