package chain

import "fmt"

// What is what became of a record.
type What string

// What can be found.
const (
	// Altered: the record does not have the hash that stands beside it.
	Altered What = "ALTERED"
	// Missing: the record is not there.
	Missing What = "MISSING"
	// Reordered: the record is there, but later.
	Reordered What = "REORDERED"
	// Inserted: the record is of elsewhere, or a second time there.
	Inserted What = "INSERTED"
	// Rewritten: the record, or one soon after it, was made anew with hashes
	// that fit, but is not the one that the next record or a checkpoint is of.
	Rewritten What = "REWRITTEN"
	// Forged: a checkpoint is not signed by a key that is trusted.
	Forged What = "FORGED"
	// Unsigned: checkpoints that should follow the record are not there.
	Unsigned What = "UNSIGNED"
	// Truncated: the chain ends before the record, and a head says otherwise.
	Truncated What = "TRUNCATED"
	// Undeclared: the record's data is gone without a record of that.
	Undeclared What = "UNDECLARED"
	// Damaged: what is stored in the record's place cannot be read.
	Damaged What = "DAMAGED"
)

// Finding is what is wrong with a chain: the first record at fault.
type Finding struct {
	Project string `json:"project"`
	// What was done, and Seq the number of the record.
	What What   `json:"what"`
	Seq  uint64 `json:"seq"`
	// Signed is how many records, from the first on, are as a checkpoint says.
	Signed uint64 `json:"signed"`
	// Detail says what it was found by.
	Detail string `json:"detail"`
}

// Error names the record.
func (f *Finding) Error() string {
	return fmt.Sprintf("project %s: record %d: %s: %s", f.Project, f.Seq, f.What, f.Detail)
}

// unclear reports whether what follows may tell more.
func (f *Finding) unclear() bool {
	return f.What == Missing || f.What == Rewritten
}

// more takes a record that follows the one at fault into account, and reports
// whether that is enough.
func (f *Finding) more(at, l *Link) bool {
	switch {
	case l == nil:
		return false
	case f.What == Missing:
		if l.Seq != f.Seq || l.Project != f.Project {
			return false
		}
		f.What, f.Detail = Reordered, f.Detail+", and it comes later"
		return true
	case at != nil && l.Prev != at.Hash:
		// Neither the one before nor the one behind knows it.
		f.What, f.Seq, f.Detail = Inserted, f.Seq+1, "it was made behind another record, and the next one is not behind it"
	}
	return true
}
