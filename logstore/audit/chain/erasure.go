package chain

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Reserved begins the types of records that the trail makes about itself.
const Reserved = "selvedge.dev/audit."

// The types of those records, and their category, which is never erased.
const (
	ErasureType = Reserved + "erasure"
	DamageType  = Reserved + "damage"
	OwnCategory = "Audit"
)

// MaxErase is the most records that one erasure may list.
const MaxErase = 1000

// Erasure is the data of a record of ErasureType: what data is erased from now
// on, and why. It is in the chain before anything is erased.
type Erasure struct {
	// Reason is for people: "retention of 30 days", "request 17 of a person".
	Reason string `json:"reason"`
	// Category, Before and Through say that all data of a category goes that
	// is older than a time, in records up to a number.
	Category string    `json:"category,omitempty"`
	Before   time.Time `json:"before,omitzero"`
	Through  uint64    `json:"through,omitempty"`
	// Seqs are single records, ascending, instead.
	Seqs []uint64 `json:"seqs,omitempty"`
}

// Covers reports whether the erasure is of this record.
func (e *Erasure) Covers(l *Link) bool {
	if l.Category == OwnCategory {
		return false
	}
	if len(e.Seqs) > 0 {
		_, ok := slices.BinarySearch(e.Seqs, l.Seq)
		return ok
	}
	return l.Category == e.Category && l.Time.Before(e.Before) && l.Seq <= e.Through
}

// ParseErasure reads the data of a record of ErasureType.
func ParseErasure(data []byte) (Erasure, error) {
	var e Erasure
	err := json.Unmarshal(data, &e)
	if err == nil && (len(e.Seqs) > MaxErase || !slices.IsSorted(e.Seqs)) {
		err = fmt.Errorf("%d records in no order or more than %d", len(e.Seqs), MaxErase)
	}
	return e, err
}

// claims are what records without data say of one record: that it is the
// erasure of theirs. They are summed up, so that they take little memory.
type claims struct {
	first      uint64 // the first of them
	categories map[string]claim
	seqs       []uint64 // the first MaxErase
	count      int
}

// claim is the latest time and the highest number of a category.
type claim struct {
	time time.Time
	seq  uint64
}

// add adds a record.
func (c *claims) add(l *Link) {
	if c.count == 0 {
		c.first, c.categories = l.Seq, map[string]claim{}
	}
	was, ok := c.categories[l.Category]
	if !ok || l.Time.After(was.time) {
		was.time = l.Time
	}
	was.seq = l.Seq
	c.categories[l.Category] = was
	if c.count++; len(c.seqs) < MaxErase {
		c.seqs = append(c.seqs, l.Seq)
	}
}

// hold reports whether the erasure covers all of them.
func (c *claims) hold(e *Erasure) bool {
	for category, last := range c.categories {
		if category == OwnCategory {
			return false
		}
		if len(e.Seqs) == 0 && !e.Covers(&Link{Record: Record{Category: category, Time: last.time}, Seq: last.seq}) {
			return false
		}
	}
	if len(e.Seqs) == 0 {
		return true
	}
	for _, seq := range c.seqs {
		if _, ok := slices.BinarySearch(e.Seqs, seq); !ok {
			return false
		}
	}
	return c.count <= len(c.seqs)
}
