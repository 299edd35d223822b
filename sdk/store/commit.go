package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

// Commit does what is pending, wholly or not at all, and returns the last
// change that it made, or of the snapshot if it makes none. Then the saved
// objects are as they were committed, with their versions.
func (t *Tx) Commit(ctx context.Context) (Seq, error) {
	if t.closed {
		return 0, &fault.Error{Op: "store.Commit", Kind: fault.Internal, Reason: "NO_HANDLE", Err: errors.New("the handle is closed")}
	}
	defer t.Close()
	if t.mode != Transaction || len(t.order) == 0 && len(t.counts) == 0 && len(t.notes) == 0 {
		return t.read(ctx)
	}
	if err := t.prepare(ctx); err != nil {
		return 0, err
	}
	b, err := t.batch()
	if err != nil {
		return 0, err
	}
	if len(b.Writes) == 0 && len(b.Counts) == 0 && len(b.Notes) == 0 {
		return t.read(ctx)
	}
	t.Close() // the driver need not keep the snapshot
	seq, err := t.st.driver.Commit(ctx, b)
	t.st.dropWrites(b) // also after an error: it may be done all the same
	if err != nil {
		return 0, fmt.Errorf("committing: %w", t.st.explain(err))
	}
	i := 0
	for _, w := range t.order {
		if w.After != nil {
			setVersion(w.Resource, w.After, b.Writes[i].After.Version)
		}
		if i++; !w.Quiet {
			t.st.observe(w.Resource, scopeOf(w.Name), verb(w), 1)
		}
	}
	return seq, nil
}

// read is the last change that a handle may have read, all of it in one
// snapshot.
func (t *Tx) read(ctx context.Context) (Seq, error) {
	if t.mode == ReadOnly {
		return 0, nil
	}
	err := t.open(ctx)
	return t.seq, err
}

// verb is what a write is called.
func verb(w *Pending) string {
	switch {
	case w.Before == nil:
		return "create"
	case w.After == nil:
		return "delete"
	}
	return "update"
}

// scopeOf is the first two segments of a name below them.
func scopeOf(name resource.Name) resource.Name {
	i := strings.IndexByte(string(name), '/')
	if i < 0 {
		return ""
	}
	j := strings.IndexByte(string(name[i+1:]), '/')
	if j < 0 {
		return ""
	}
	return name[:i+1+j]
}

// observe tells the plugins what was done.
func (s *Store) observe(r *schema.Resource, scope resource.Name, verb string, n int) {
	for _, p := range s.o.Plugins {
		if o, ok := p.(Observer); ok {
			o.Observe(r, scope, verb, n)
		}
	}
}

// explain has the plugins say why a commit was refused.
func (s *Store) explain(err error) error {
	for _, p := range s.o.Plugins {
		if x, ok := p.(Explainer); ok {
			err = x.Explain(err)
		}
	}
	return err
}

// prepare runs the plugins until there is nothing that they have not seen, and
// leaves the writes that change something.
func (t *Tx) prepare(ctx context.Context) error {
	defer func() { t.current = nil }()
	for done := false; !done; {
		done = true
		for i := 0; i < len(t.order); i++ { // grows meanwhile
			if w := t.order[i]; !w.prepared {
				done = false
				if err := t.prepareOne(ctx, w); err != nil {
					return err
				}
			}
		}
	}
	t.current = nil
	t.order = slices.DeleteFunc(t.order, func(w *Pending) bool {
		same := unchanged(w)
		if same && w.After != nil {
			setVersion(w.Resource, w.After, w.record.Version)
		}
		return same
	})
	for _, w := range t.order {
		t.current = w
		for _, p := range t.st.o.Plugins {
			if f, ok := p.(Finisher); ok {
				if err := f.Finish(ctx, t, w); err != nil {
					return err
				}
			}
		}
	}
	t.current = nil
	for _, f := range t.last {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// prepareOne has the plugins prepare one write.
func (t *Tx) prepareOne(ctx context.Context, w *Pending) error {
	if w.rounds++; w.rounds > maxRounds {
		return &fault.Error{
			Op: "store.Commit", Name: string(w.Name), Kind: fault.Internal, Reason: "PLUGINS_DISAGREE",
			Err: fmt.Errorf("after %d rounds the plugins still change it", maxRounds),
		}
	}
	w.prepared, w.counts, w.alive = true, nil, nil
	if w.Before == nil && w.After == nil {
		return nil
	}
	for _, p := range t.st.o.Plugins {
		t.current = w
		if err := p.Prepare(ctx, t, w); err != nil {
			return err
		}
	}
	return nil
}

// unchanged reports whether a write changes nothing.
func unchanged(w *Pending) bool {
	if w.Before == nil || w.After == nil {
		return w.Before == nil && w.After == nil
	}
	setVersion(w.Resource, w.After, w.record.Version)
	return proto.Equal(w.Before, w.After)
}

// batch is the transaction for the driver.
func (t *Tx) batch() (*Batch, error) {
	b := &Batch{ID: t.st.o.NewUID(), Time: t.Now(), Ranges: t.ranges, Notes: t.notes, Info: t.info}
	written := map[key]bool{}
	alive, counts := slices.Clone(t.alive), slices.Clone(t.counts)
	for _, w := range t.order {
		x, err := w.write()
		if err != nil {
			return nil, err
		}
		b.Writes = append(b.Writes, x)
		written[key{x.Type, x.Name}] = true
		alive, counts = append(alive, w.alive...), append(counts, w.counts...)
	}
	// A Write expects its Before; a no-op read it all the same.
	lives := map[key]bool{}
	for _, e := range alive {
		k := key{e.Type, e.Name}
		if !written[k] && !slices.Contains(b.Expect, e) {
			b.Expect, lives[k] = append(b.Expect, e), true
		}
	}
	for k, rec := range t.reading {
		if written[k] || lives[k] && !t.byUser[k] {
			continue
		}
		e := Expect{Type: k.typ, Name: k.name}
		if rec != nil {
			e.Version = rec.Version
		}
		b.Expect = append(b.Expect, e)
	}
	slices.SortFunc(b.Expect, func(a, b Expect) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Alive, b.Alive))
	})
	b.Counts = sum(counts)
	return b, nil
}

// sum adds up the counts of each counter, under the least of their bounds. They
// are sorted, so that no two batches wait for each other.
func sum(counts []Count) []Count {
	byKey := map[string]Count{}
	for _, c := range counts {
		if is, ok := byKey[c.Key]; ok {
			c.Delta += is.Delta
			if is.Max >= 0 && (c.Max < 0 || is.Max < c.Max) {
				c.Max = is.Max
			}
		}
		byKey[c.Key] = c
	}
	var out []Count
	for _, c := range byKey {
		if c.Delta != 0 {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Count) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// write is a pending write for the driver.
func (w *Pending) write() (Write, error) {
	x := Write{Type: w.Resource.Type, Name: w.Name, Before: w.record, Quiet: w.Quiet, Reason: w.Reason}
	var before, after []filter.Entry
	if w.Before != nil {
		before = filter.Entries(w.Resource, w.Before.ProtoReflect())
	}
	if w.After != nil {
		var err error
		if x.After, err = encode(w.Resource, w.After); err != nil {
			return x, err
		}
		after = filter.Entries(w.Resource, w.After.ProtoReflect())
	}
	x.Add, x.Drop = minus(after, before), minus(before, after)
	x.Claim, x.Release = w.claims(x.Add), w.claims(x.Drop)
	return x, nil
}

// minus are the entries of a that are not in b. Both are sorted.
func minus(a, b []filter.Entry) []filter.Entry {
	var out []filter.Entry
	for _, e := range a {
		for len(b) > 0 && b[0].Compare(e) < 0 {
			b = b[1:]
		}
		if len(b) == 0 || b[0].Compare(e) != 0 {
			out = append(out, e)
		}
	}
	return out
}

// claims are the entries that must be the object's alone. What is not set, or
// zero, is nobody's.
func (w *Pending) claims(entries []filter.Entry) []Claim {
	var out []Claim
	for _, e := range entries {
		i, ok := w.Resource.Index(e.Index)
		if !ok || !i.Unique || !i.Many && none(i, e.Value) {
			continue
		}
		value := e.Value
		if i.Keyed {
			value = slices.Concat([]byte(e.Key), []byte{0}, e.Value)
		}
		out = append(out, Claim{Index: e.Index, Scope: within(w.Resource, w.Name, i.Within), Value: value})
	}
	return out
}

// none reports whether the value of an index is that of a field that is not set
// or zero.
func none(i schema.Index, value []byte) bool {
	return bytes.Equal(value, filter.Key(i.Path.Default())) || bytes.Equal(value, filter.Key(fieldpath.Value{}))
}

// within is the beginning of a name, up to the variable.
func within(r *schema.Resource, name resource.Name, variable string) string {
	if variable == "" {
		return ""
	}
	segments := strings.Split(string(name), "/")
	for _, p := range r.Patterns {
		if _, err := p.Parse(string(name)); err != nil {
			continue
		}
		if i := slices.Index(strings.Split(string(p), "/"), "{"+variable+"}"); i >= 0 {
			return strings.Join(segments[:i+1], "/")
		}
	}
	return "" // a name of a pattern that is no more
}
