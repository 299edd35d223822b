// Package audittest checks records of an audit: that whoever has them all has
// the resources, since a change that is missing, double or wrong would show.
package audittest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Ledger keeps records as a place that they are handed on to: once each, in the
// order in which they came first. Its zero value is ready, and safe for
// concurrent use.
type Ledger struct {
	mu  sync.Mutex
	all []audit.Record
	ids map[string]string
	// fail, if not nil, is asked before records are taken.
	fail func() error
}

// Fail has f asked before records are taken: they are not if it says an error.
func (l *Ledger) Fail(f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = f
}

// Take takes records, as [audit.NewRelay] wants it. A record that came before
// must be what it was.
func (l *Ledger) Take(_ context.Context, records []audit.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ids == nil {
		l.ids = map[string]string{}
	}
	for _, r := range records {
		if l.fail != nil {
			if err := l.fail(); err != nil {
				return err // some were taken: all come again
			}
		}
		was, there := l.ids[r.ID]
		if there && was != string(r.JSON) {
			return fmt.Errorf("BUG: the record %s came again as another:\n%s\n%s", r.ID, was, r.JSON)
		}
		if l.ids[r.ID] = string(r.JSON); !there {
			l.all = append(l.all, r)
		}
	}
	return nil
}

// Records are those that there are.
func (l *Ledger) Records() []audit.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]audit.Record(nil), l.all...)
}

// Changes are the records of changes as they are handed on.
func (l *Ledger) Changes() (out [][]byte) {
	for _, r := range l.Records() {
		if r.Change != nil {
			out = append(out, r.JSON)
		}
	}
	return out
}

// Activities are the records of calls, with all that their JSON has.
func (l *Ledger) Activities() ([]*resourcev1.ActivityLog, error) {
	var out []*resourcev1.ActivityLog
	for _, r := range l.Records() {
		if r.Activity == nil {
			continue
		}
		m := &resourcev1.ActivityLog{}
		if err := protojson.Unmarshal(r.JSON, m); err != nil {
			return nil, fmt.Errorf("reading %s: %w", r.JSON, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// Object says which object it is.
type Object struct {
	Type string
	Name resource.Name
}

// Resources are those that records of changes make of nothing, without secrets and
// versions.
type Resources map[Object]proto.Message

// Replay does what the records say, the JSON of each in their order. It is an
// error if a record does not fit what the ones before it made.
func (objects Resources) Replay(types *schema.Registry, changes [][]byte) error {
	for _, body := range changes {
		log := &resourcev1.ResourceChangeLog{}
		if err := protojson.Unmarshal(body, log); err != nil {
			return fmt.Errorf("reading %s: %w", body, err)
		}
		if err := objects.apply(types, log); err != nil {
			return fmt.Errorf("%s: %w", body, err)
		}
	}
	return nil
}

// apply does one change.
func (objects Resources) apply(types *schema.Registry, log *resourcev1.ResourceChangeLog) error {
	r, ok := types.Type(log.GetResourceType())
	if !ok {
		return fmt.Errorf("there is no type %s", log.GetResourceType())
	}
	before, err := message(r, log.GetPrevious())
	if err != nil {
		return err
	}
	after, err := message(r, log.GetCurrent())
	if err != nil {
		return err
	}
	mask, err := fieldmask.Parse(r.Message.Descriptor(), &fieldmaskpb.FieldMask{Paths: log.GetPaths()})
	if err != nil {
		return err
	}
	at := Object{r.Type, resource.Name(log.GetResource())}
	is, there := objects[at]
	if there && len(r.Volatile) > 0 { // it may have been updated since, which no record tells
		if before.ProtoReflect().Has(r.Metadata) {
			r.MetadataOf(is).UpdateTime = r.MetadataOf(before).UpdateTime
		}
	}
	switch {
	case there != (log.GetPrevious() != nil):
		return fmt.Errorf("there is one before: %t, and the record says otherwise", there)
	case there && !proto.Equal(fieldmask.Project(mask, is), before):
		return fmt.Errorf("it was %v before", fieldmask.Project(mask, is))
	case log.GetCurrent() == nil:
		if !proto.Equal(is, before) {
			return fmt.Errorf("it was %v when it was deleted", is)
		}
		delete(objects, at)
		return nil
	case !there:
		objects[at] = after
		return nil
	}
	return fieldmask.Merge(mask, is, after)
}

// message is the object that a struct is.
func message(r *schema.Resource, s *structpb.Struct) (proto.Message, error) {
	m := r.New()
	if s == nil {
		return m, nil
	}
	b, err := json.Marshal(s.AsMap())
	if err != nil {
		return nil, fmt.Errorf("writing a struct: %w", err)
	}
	return m, protojson.Unmarshal(b, m)
}

// Check is an error unless the records of changes, replayed, are what is in the
// store: every resource of every type, but for secrets and versions.
func Check(ctx context.Context, st *store.Store, changes [][]byte) error {
	objects := Resources{}
	if err := objects.Replay(st.Types(), changes); err != nil {
		return err
	}
	return objects.Compare(ctx, st)
}

// Compare is an error unless the resources are those in the store.
func (objects Resources) Compare(ctx context.Context, st *store.Store) error {
	snap, _, err := st.Driver().Snapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = snap.Close() }() // it was read only
	found := map[Object]bool{}
	for _, s := range st.Types().Services() {
		for _, r := range s.Resources {
			if r.Options.GetHidden() {
				continue
			}
			var wrong error
			err := snap.Scan(ctx, store.Scan{Type: r.Type}, func(rec *store.Record) bool {
				at := Object{r.Type, rec.Name}
				found[at], wrong = true, same(r, rec, objects[at])
				return wrong == nil
			})
			if err != nil || wrong != nil {
				return fmt.Errorf("%s: %w", r.Type, orElse(wrong, err))
			}
		}
	}
	for at := range objects {
		if !found[at] {
			return fmt.Errorf("the records have a %s %s, and the store has none", at.Type, at.Name)
		}
	}
	return nil
}

// orElse is the first error that is one.
func orElse(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// same is an error unless an object is what a record in the store is, but for
// its secrets.
func same(r *schema.Resource, rec *store.Record, m proto.Message) error {
	is := r.New()
	if err := proto.Unmarshal(rec.Body, is); err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("the store has %s, and the records do not", rec.Name)
	}
	return differ(r, is, m)
}

// differ is an error unless an object is what the records say, but for what is in
// no record.
func differ(r *schema.Resource, is, m proto.Message) error {
	is = fieldmask.Redact(fieldmask.Redact(is, r.Secrets), r.Volatile)
	if len(r.Volatile) > 0 && r.Metadata != nil {
		is, m = proto.Clone(is), proto.Clone(m)
		r.MetadataOf(is).UpdateTime, r.MetadataOf(m).UpdateTime = nil, nil
	}
	if !proto.Equal(is, m) {
		return fmt.Errorf("there is %v, and the records have %v", is, m)
	}
	return nil
}
