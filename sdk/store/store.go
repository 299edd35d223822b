// Package store keeps resources. A [Store] gives typed reads and writes in
// transactions over a [Driver], which knows a database; between the two are
// the plugins, which see every write before it is committed: they fill in
// metadata, keep references whole, count, and record.
//
// Everything but Watch happens by a handle, which [Store.Run] or [Store.Begin]
// put into the context. A transaction reads one snapshot and then writes: a
// read after a write is an error (READ_AFTER_WRITE), so that nobody wonders
// which of the two he sees. Nothing is written before the commit, where
// everything that was read is checked to be as it was: transactions are
// serializable. One that lost is Conflict, and Run does it again.
//
// Objects that a Store returns are the caller's own. A Store is safe for
// concurrent use, a handle is for one goroutine at a time.
package store

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

// Options configure a Store.
type Options struct {
	// Plugins see every write, in this order. Those of sdk/store/plugins are the
	// ones that every store should have.
	Plugins []Plugin
	// Cached bounds the objects that the cache keeps; 0 is no cache.
	Cached int
	// Written, if not nil, is told of every batch of this store that was, or may
	// have been, committed, before its writer is: what others know by a value of
	// an object can be kept exact by it. It is called concurrently.
	Written func([]Write)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// NewUID makes the uids of objects; nil makes UUIDs.
	NewUID func() string
	// Logger is told of state changes; nil discards.
	Logger *slog.Logger
}

// Mode is what a handle is for.
type Mode uint8

const (
	// ReadOnly reads without a transaction, each read as of its own moment, by
	// the cache where it has the answer. It cannot write.
	ReadOnly Mode = iota
	// Consistent reads one snapshot. It cannot write.
	Consistent
	// Transaction reads one snapshot, then writes.
	Transaction
)

// SaveOptions say what a Save may do.
type SaveOptions struct {
	// Create refuses an object that exists (Exists), Update one that does not
	// (NotFound). Neither does whichever it is.
	Create, Update bool
	// Presume, with Create, is for what most likely does not exist: the first
	// try of [Store.Run] does not look. If it does exist, the transaction is
	// refused in the end, and Save refuses it in the second try.
	Presume bool
	// Version, if not 0, is the version that the object must have (Conflict).
	Version Seq
	// Reason is why, when the platform does it by itself.
	Reason string
}

// DeleteOptions say what a Delete may do.
type DeleteOptions struct {
	// AllowMissing makes it no error that there is no such object.
	AllowMissing bool
	// Version is as in SaveOptions.
	Version Seq
	// Reason is why, when the platform does it by itself.
	Reason string
}

// Query asks for a page of objects of a type.
type Query struct {
	// Parent is whose objects.
	Parent schema.Parent
	// Filter is which of them, nil for all.
	Filter *filter.Filter
	// Order is the order; the zero value is by name.
	Order filter.Order
	// Phrase is words to find, "" for no such condition.
	Phrase string
	// After is where the page begins, nil at the beginning. Reverse asks for
	// the page before it instead; the objects come in the order all the same.
	After   *Position
	Reverse bool
	// Limit is how many objects at most; it must be positive.
	Limit int
	// Visible, if not nil, says of each name whether it may be in the page.
	Visible func(resource.Name) bool
	// Shown, if not nil, says of each object whether it may be in the page: one
	// whose name may be, and that matches the filter. It must not change it.
	Shown func(proto.Message) bool
	// Count asks for Page.Total and Page.Offset.
	Count bool
}

// Page is a part of a list.
type Page struct {
	Objects []proto.Message
	// Next and Prev are the positions to go on from, nil at the end and at the
	// beginning. A page can be short, or empty, and still have a Next: a filter
	// that no index answers looks at a bounded number of objects.
	Next, Prev *Position
	// Offset and Total are where the page is, if asked for. They are -1 when
	// only looking at more objects than is allowed would tell.
	Offset, Total int64
	// Seq is the newest change that the page may show.
	Seq Seq
}

// Plugin takes part in transactions.
type Plugin interface {
	// Prepare is called once for every write of a transaction before it is
	// committed, also for those that plugins add. It may change the object that
	// comes to be (Pending.After), add writes to the transaction, conditions
	// and counts, or refuse by an error. A write that is changed after that, by
	// [Tx.Put] or [Tx.Remove], is prepared again; what was counted and expected
	// for it before is forgotten.
	Prepare(ctx context.Context, tx *Tx, w *Pending) error
}

// Finisher is a Plugin that wants a last look: after all plugins have prepared
// all writes, it is called once for each that changes something. It may change
// Pending.After and add counts, but no writes.
type Finisher interface {
	Finish(ctx context.Context, tx *Tx, w *Pending) error
}

// Observer is a Plugin that is told what was done: n objects of a type under
// the scope (the first two segments of the name, or "") were read, or their
// change was committed. The verb is get, list, create, update or delete.
type Observer interface {
	Observe(r *schema.Resource, scope resource.Name, verb string, n int)
}

// Explainer is a Plugin that knows more about why a commit was refused: it
// returns the error for the caller, or the same.
type Explainer interface {
	Explain(err error) error
}

// Pending is a write that is not committed yet.
type Pending struct {
	Resource *schema.Resource
	Name     resource.Name
	// Before is the object as it is, nil when it is created. It must not be
	// changed.
	Before proto.Message
	// After is the object that comes to be, nil when it is deleted.
	After proto.Message
	// Reason is why, "" when somebody asked for it.
	Reason string
	// Quiet is whether nobody is told, as for the platform's own records.
	Quiet bool
	// UID is that of Before, or a new one for an object that is created.
	UID string
	// record is Before as the driver has it.
	record *Record
	// prepared is whether the plugins saw it as it is now, rounds how often
	// they saw it.
	prepared bool
	rounds   int
	// counts and alive are what the plugins asked for because of it.
	counts []Count
	alive  []Expect
}

// Asked reports whether After is, as yet, what the caller of Save gave: no plugin
// saw it, and it is not something that the platform does by itself.
func (w *Pending) Asked() bool { return w.rounds == 1 && w.Reason == "" }
