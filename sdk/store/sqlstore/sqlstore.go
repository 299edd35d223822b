// Package sqlstore is what the drivers of the store over SQL databases have in
// common: how objects lie in tables, how a scan becomes a statement that an
// index answers, and how waiting batches become one transaction. A driver adds
// how its database is spoken to: [Backend] and [Tx].
//
// The tables, the same everywhere:
//
//	symbol   id, text              the names of types, and "type index"
//	object   kind, name            unique; kind is the symbol of the type
//	         uid, version, deleting, body
//	         terms                 its entries, for what the tables below do
//	                               not tell of one object
//	entry    term, name            unique, in this order: who has an entry
//	claim    term                  unique
//	         name                  whose it is
//	counter  key, value            those that are not 0
//	change   seq                   unique
//	         time, last, kind, name, before, after, before_version, reason,
//	         principal, request
//	head     seq, change, trimmed  one row: the last number given out, the last
//	                               change, the last change that was forgotten
//
// A term is an entry or a claim as one string of bytes, whose order is that of
// the values of one index and key:
//
//	| symbol of the index, big endian 4 | key, 00 as 00 FF | 00 01 | value |
//
// Writes that are quiet take a number as all others do, which then is in no
// feed; they come after the changes of their batch, whose numbers have no gaps.
//
// Names and keys are bytes to the database, compared as bytes. Everything here
// is bounded: see [MaxBody] and its like.
package sqlstore

import (
	"errors"
	"fmt"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// The bounds of what is committed. A term and a name together are a row of an
// index, which in PostgreSQL is at most 2,704 bytes.
const (
	// MaxBody is how long an object's body can be.
	MaxBody = 4 << 20
	// MaxName is how long a name can be, and the key of a counter.
	MaxName = 1 << 10
	// MaxTerm is how long a term can be.
	MaxTerm = 1536
	// MaxText is how long a reason, a principal and the id of a request can be.
	MaxText = 1 << 10
	// MaxWrites is how many of each kind a batch has: writes, conditions,
	// counts, and entries and claims of an object.
	MaxWrites = 10_000
)

// Head is the row of the table head.
type Head struct {
	// Seq is the last number that was given out.
	Seq store.Seq
	// Change is the last change.
	Change store.Seq
	// Trimmed is the last change that was forgotten.
	Trimmed store.Seq
}

// Key is the key of an object.
type Key struct {
	Kind int64
	Name resource.Name
}

// Invalid is the fault of a batch or a scan that is not what it must be.
func Invalid(op, name, reason, format string, args ...any) error {
	return &fault.Error{Op: op, Name: name, Kind: fault.Invalid, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// Unavailable is the fault of a database that does not answer.
func Unavailable(op string, err error) error {
	return &fault.Error{Op: op, Kind: fault.Unavailable, Reason: "STORE_UNAVAILABLE", Err: err}
}

// errClosed is why a driver that was closed does nothing.
var errClosed = errors.New("the store is closed")

// Closed is the fault of whatever is asked of a driver that was closed.
func Closed(op string) error { return Unavailable(op, errClosed) }

// errDone is why a snapshot that was closed reads nothing.
var errDone = errors.New("the snapshot is closed")

// Done is the fault of the use of a snapshot that was closed.
func Done(op string) error { return &fault.Error{Op: op, Kind: fault.Internal, Err: errDone} }

// errBusy is why a snapshot is not read by who is given its records.
var errBusy = errors.New("the snapshot is in use")

// Busy is the fault of the use of a snapshot while it is scanned.
func Busy(op string) error { return &fault.Error{Op: op, Kind: fault.Internal, Err: errBusy} }

// Expired is the fault of changes that were trimmed.
func Expired(op string, after store.Seq, h Head) error {
	return &fault.Error{
		Op: op, Kind: fault.NotFound, Reason: "CHANGES_EXPIRED",
		Err: fmt.Errorf("of the changes after %d, those up to %d are forgotten", after, h.Trimmed),
	}
}

// PrefixEnd is the first string after all that begin with a prefix, "" if there
// is none.
func PrefixEnd(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xFF {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return ""
}

// Check refuses a batch that is not what it must be, whatever is in the
// database.
func Check(op string, b *store.Batch) error {
	for _, n := range []int{len(b.Expect), len(b.Ranges), len(b.Writes), len(b.Counts)} {
		if n > MaxWrites {
			return tooLarge(op, "", "a batch has at most %d writes, conditions and counts, not %d", MaxWrites, n)
		}
	}
	if b.ID == "" {
		return Invalid(op, "", "BATCH_INVALID", "a batch has an id")
	}
	if len(b.ID) > MaxText || len(b.Info.Principal) > MaxText || len(b.Info.RequestID) > MaxText {
		return tooLarge(op, "", "the ids of a batch and of its request and its principal have at most %d bytes", MaxText)
	}
	type object struct {
		typ  string
		name resource.Name
	}
	seen := make(map[object]bool, len(b.Writes))
	for i := range b.Writes {
		w := &b.Writes[i]
		if err := checkWrite(op, w); err != nil {
			return err
		}
		if seen[object{w.Type, w.Name}] {
			return Invalid(op, string(w.Name), "BATCH_INVALID", "a batch writes an object once")
		}
		seen[object{w.Type, w.Name}] = true
	}
	for i := range b.Ranges {
		if err := checkScan(&b.Ranges[i].Scan); err != nil {
			return err
		}
	}
	for _, c := range b.Counts {
		if c.Key == "" || len(c.Key) > MaxName {
			return Invalid(op, "", "BATCH_INVALID", "the key of a counter has 1 to %d bytes, not %d", MaxName, len(c.Key))
		}
	}
	return nil
}

// checkWrite is Check for one write.
func checkWrite(op string, w *store.Write) error {
	name := string(w.Name)
	switch {
	case name == "" || len(name) > MaxName:
		return Invalid(op, "", "BATCH_INVALID", "a name has 1 to %d bytes, not %d", MaxName, len(name))
	case w.Type == "":
		return Invalid(op, name, "BATCH_INVALID", "an object has a type")
	case w.Before == nil && w.After == nil:
		return Invalid(op, name, "BATCH_INVALID", "a write has an object before it or after it")
	case w.Reindex && (w.Before == nil || w.After == nil):
		return Invalid(op, name, "BATCH_INVALID", "only an object that is there can be indexed again")
	case w.After != nil && len(w.After.Body) > MaxBody:
		return tooLarge(op, name, "an object has at most %d bytes, not %d", MaxBody, len(w.After.Body))
	case len(w.Reason) > MaxText:
		return tooLarge(op, name, "a reason has at most %d bytes, not %d", MaxText, len(w.Reason))
	case max(len(w.Add), len(w.Drop), len(w.Claim), len(w.Release)) > MaxWrites:
		return tooLarge(op, name, "an object has at most %d entries", MaxWrites)
	}
	for _, e := range w.Add {
		if n := termLen(e.Key, e.Value); n > MaxTerm {
			return tooLarge(op, name, "an entry has at most %d bytes, not %d as that of %s", MaxTerm, n, e.Index)
		}
	}
	for _, c := range w.Claim {
		if n := termLen(c.Scope, c.Value); n > MaxTerm {
			return tooLarge(op, name, "a claim has at most %d bytes, not %d as that of %s", MaxTerm, n, c.Index)
		}
	}
	return nil
}

// tooLarge is the fault of what is over a bound.
func tooLarge(op, name, format string, args ...any) error {
	return &fault.Error{Op: op, Name: name, Kind: fault.TooLarge, Reason: "BATCH_TOO_LARGE", Err: fmt.Errorf(format, args...)}
}
