package plugins

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// AuditEntry is a committed change, for the record.
type AuditEntry struct {
	// ID is the same whenever the change is recorded: the name of the audit, a
	// slash, and the place of the change.
	ID   string
	Time time.Time
	// Type, Name and Verb are what was done to what: create, update or delete.
	Type string
	Name resource.Name
	Verb string
	// Paths are what differs, with secrets; Before and After have what differs,
	// without secrets. Nil is no object.
	Paths         []string
	Before, After proto.Message
	// Principal is who asked and RequestID by which request; Reason is why, if
	// the platform did it by itself.
	Principal, RequestID, Reason string
}

// Recorder keeps audit entries. Entries that it has already, by their ID, it
// leaves out.
type Recorder interface {
	Record(ctx context.Context, entries []AuditEntry) error
}

// Audit hands every committed change to a Recorder, at least once, in the order
// of the commits, also after a crash.
type Audit struct {
	// Store is whose changes.
	Store *store.Store
	// Name is what the audit of this store is called, "audit" if empty: its
	// position is kept by it. It is letters and digits.
	Name string
	// To keeps the entries.
	To Recorder
}

// Run records until ctx ends.
func (a *Audit) Run(ctx context.Context) error {
	name := a.Name
	if name == "" {
		name = "audit"
	}
	return a.Store.Tail(ctx, name, func(ctx context.Context, changes []store.Change) error {
		entries := make([]AuditEntry, 0, len(changes))
		for _, c := range changes {
			r, _ := a.Store.Types().Type(c.Type)
			e, err := entry(r, c)
			if err != nil {
				return err
			}
			e.ID = name + "/" + strconv.FormatInt(int64(c.Seq), 10)
			entries = append(entries, e)
		}
		return a.To.Record(ctx, entries)
	})
}

// entry is the entry of a change, but for its ID. Of a type that is no more, nil,
// it does not say what differs.
func entry(r *schema.Resource, c store.Change) (AuditEntry, error) {
	e := AuditEntry{
		Time: c.Time, Type: c.Type, Name: c.Name, Verb: "update",
		Principal: c.Info.Principal, RequestID: c.Info.RequestID, Reason: c.Reason,
	}
	switch {
	case c.Before == nil:
		e.Verb = "create"
	case c.After == nil:
		e.Verb = "delete"
	}
	if r == nil {
		return e, nil
	}
	before, after := r.New(), r.New()
	for m, body := range map[proto.Message][]byte{before: c.Before, after: c.After} {
		if err := proto.Unmarshal(body, m); err != nil {
			return e, fmt.Errorf("decoding %s: %w", c.Name, err)
		}
	}
	differ := fieldmask.Diff(before, after)
	for _, p := range differ.Paths() {
		e.Paths = append(e.Paths, p.String())
	}
	if c.Before != nil {
		e.Before = fieldmask.Redact(fieldmask.Project(differ, before), r.Secrets)
	}
	if c.After != nil {
		e.After = fieldmask.Redact(fieldmask.Project(differ, after), r.Secrets)
	}
	return e, nil
}
