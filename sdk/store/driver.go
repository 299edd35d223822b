package store

import (
	"context"
	"time"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
)

// Seq is the place of a change in the one order of all changes of a store,
// from 1. The version of an object is the Seq of the change that made it.
type Seq int64

// Record is an object as a driver keeps it.
type Record struct {
	// Type is the type's name, "devices.selvedge.dev/Device".
	Type string
	// Name is unique among the names of the type.
	Name resource.Name
	// UID is that of the object's metadata, "" for a type without.
	UID string
	// Version is the change that made it; the driver sets it at the commit, in
	// the After of each Write too.
	Version Seq
	// Deleting is whether its lifecycle says so.
	Deleting bool
	// Body is the object as proto's wire format. It is shared: whoever gets it
	// must not write to it.
	Body []byte
}

// Driver keeps records in a database: all that a store asks of one. It is
// implemented by sdk/store/sqlite and sdk/store/postgres, and storetest holds
// both to what is said here. All methods may be called concurrently.
//
// Errors are faults: Unavailable when the database cannot be reached (nothing
// was changed, or it is not known, see Commit), Conflict when a batch lost
// against another.
type Driver interface {
	// Snapshot begins to read the database as it is now. What is committed
	// later is not in it, what was committed before is, wholly. The second
	// result is the last change that is in it.
	Snapshot(ctx context.Context) (Snapshot, Seq, error)
	// Commit does what the batch says, wholly or not at all, and returns the
	// Seq of its last change (or of the newest one, if it makes none). Once it
	// returned without error the batch is durable and in every later snapshot.
	// Batches come one after another: every condition of a batch is checked
	// against the state that the batches before it made. It is Conflict
	// (reason VERSION_CHANGED or RANGE_CHANGED) when a condition does not hold,
	// Exists (ALREADY_TAKEN) for a claim that another holds, whose Name is the
	// holder, Exhausted (LIMIT_REACHED) for a count beyond its bound. After a
	// connection that broke in the middle it finds out by the batch's ID what
	// became of it, so that no error leaves a batch done.
	Commit(ctx context.Context, b *Batch) (Seq, error)
	// Changes returns up to limit changes after that Seq in their order. It is
	// NotFound (CHANGES_EXPIRED) when some of them were trimmed. It never
	// returns a change while one with a lower Seq may still appear.
	Changes(ctx context.Context, after Seq, limit int) ([]Change, error)
	// Wait returns nil when there is a change after that Seq, of this process
	// or another, and otherwise the context's error once that ends.
	Wait(ctx context.Context, after Seq) error
	// Trim forgets the changes up to and including that Seq.
	Trim(ctx context.Context, through Seq) error
}

// Snapshot is a view of the database at one moment. One goroutine at a time
// may use it. It must be closed.
type Snapshot interface {
	// Get returns the records of these names in their order, nil where there
	// is none.
	Get(ctx context.Context, typ string, names []resource.Name) ([]*Record, error)
	// Scan calls yield with the records that the scan selects, in its order,
	// until it returns false. Yield must not use the snapshot.
	Scan(ctx context.Context, s Scan, yield func(*Record) bool) error
	// Count is how many records the scan selects, regardless of its Limit,
	// After and Reverse.
	Count(ctx context.Context, s Scan) (int64, error)
	// Counters are the counters whose key begins with prefix.
	Counters(ctx context.Context, prefix string) (map[string]int64, error)
	// Close ends it.
	Close() error
}

// Scan selects records of one type.
type Scan struct {
	// Type is the type's name.
	Type string
	// From and To bound the names: From <= name < To, bytewise; "" is no bound.
	From, To resource.Name
	// Where are conditions that all must hold.
	Where []filter.Condition
	// Order is the order, of which name ascending is always the last key.
	Order []OrderKey
	// After is where the scan begins, which is not in it. Nil is the beginning.
	After *Position
	// Reverse turns the order around, that of names too.
	Reverse bool
	// Limit is how many records at most; 0 is no limit.
	Limit int
}

// OrderKey is a key of an order: a single-valued index. Each object has exactly
// one entry in it.
type OrderKey struct {
	Index string
	Desc  bool
}

// Position is a place in an order, independent of what is there: the values of
// the order's keys, and a name.
type Position struct {
	Values [][]byte
	Name   resource.Name
}

// Batch is a transaction as it is committed.
type Batch struct {
	// ID is unique: by it the outcome of a lost commit is found.
	ID string
	// Time is when the transaction was made.
	Time time.Time
	// Expect must hold for the batch to be done.
	Expect []Expect
	// Ranges must hold too.
	Ranges []Range
	// Writes are what it does, at most one for each object.
	Writes []Write
	// Counts are added to counters.
	Counts []Count
	// Notes are put into the feed after its changes, each as a change of the
	// type [NoteType] without a name, whose After it is. They are nowhere else.
	Notes [][]byte
	// Info goes with its changes.
	Info Info
}

// NoteType is the type of the changes that are notes: of no object, but about a
// transaction or about something that changed nothing. A type of objects it is
// not.
const NoteType = "records.selvedge.dev/Note"

// Expect is a condition about one object.
type Expect struct {
	Type string
	Name resource.Name
	// Version is the version that the object must have, 0 for no such object.
	Version Seq
	// Alive, if set, asks instead that the object exists with this UID, of
	// whatever version, and is not being deleted. Objects that the same batch
	// writes need no Expect of this kind.
	Alive string
}

// Range is a condition about many objects: that a scan selects now what it
// selected in the snapshot that the transaction read.
type Range struct {
	Scan Scan
	// Digest is [Digest] of what it selected.
	Digest uint64
}

// Write is what a batch does to one object.
type Write struct {
	Type string
	Name resource.Name
	// Before is the object that is replaced or deleted, nil when it is created.
	// Its version is expected.
	Before *Record
	// After is the object that comes to be, nil when it is deleted.
	After *Record
	// Add and Drop are the entries that differ.
	Add, Drop []filter.Entry
	// Claim and Release are the claims that differ.
	Claim, Release []Claim
	// Quiet writes are no changes: they appear in no feed. Their objects are
	// the platform's own records. Their versions are 0 < Version all the same.
	Quiet bool
	// Reindex writes leave their objects as they are, with their versions, and
	// are no changes. Before and After are the same, and Add are all entries
	// that the object has from now on, whatever it had.
	Reindex bool
	// Reason is why the platform did it, "" when somebody asked for it.
	Reason string
}

// Claim is a value that one object has to itself.
type Claim struct {
	Index string
	// Scope is the part of the name within which the value is unique, such as
	// "projects/p"; "" is everywhere.
	Scope string
	Value []byte
}

// Count is an addition to a counter. Additions of concurrent batches do not
// conflict.
type Count struct {
	Key   string
	Delta int64
	// Max refuses the batch if the counter would grow beyond it; negative is
	// no bound. A counter that does not grow is never refused.
	Max int64
}

// Info is who made a transaction and why.
type Info struct {
	// Principal is the name of who asked, RequestID by which request.
	Principal, RequestID string
}

// Change is a write as it was committed.
type Change struct {
	Seq  Seq
	Time time.Time
	// Last is whether it is the last one of its transaction.
	Last bool
	Type string
	Name resource.Name
	// Before and After are the bodies; nil is none.
	Before, After []byte
	// BeforeVersion is the version of Before.
	BeforeVersion Seq
	Reason        string
	Info          Info
}

// Digest folds a record into the digest d of the ones before it. The digest of
// nothing is 0.
func Digest(d uint64, r *Record) uint64 {
	const prime = 1099511628211 // FNV-1a's
	for _, b := range []byte(r.Name) {
		d = (d ^ uint64(b)) * prime
	}
	v := uint64(r.Version)
	for range 8 {
		d = (d ^ v&0xff) * prime
		v >>= 8
	}
	return d + 1
}
