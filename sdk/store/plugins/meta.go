package plugins

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Meta keeps the metadata that is the platform's: uid, times, generation and
// lifecycle. What a caller says about those does not count. It refuses to
// change what is immutable, and bounds what callers attach.
type Meta struct{}

var (
	_ store.Plugin   = Meta{}
	_ store.Finisher = Meta{}
)

// Prepare implements [store.Plugin].
func (Meta) Prepare(_ context.Context, _ *store.Tx, w *store.Pending) error {
	if w.After == nil {
		return nil
	}
	if err := immutable(w); err != nil || w.Resource.Metadata == nil {
		return err
	}
	md := w.Resource.MetadataOf(w.After)
	if err := bounds(md); err != nil {
		return &fault.Error{Op: "plugins.Meta", Name: string(w.Name), Kind: fault.Invalid, Reason: "INVALID_METADATA", Field: err.field, Err: err.error}
	}
	was := &resourcev1.Metadata{}
	if w.Before != nil {
		was = w.Resource.MetadataOf(w.Before)
	}
	md.Uid, md.CreateTime, md.UpdateTime, md.Generation = w.UID, was.GetCreateTime(), was.GetUpdateTime(), was.GetGeneration()
	if w.Asked() {
		md.DeleteTime, md.Shards, md.Lifecycle, md.Syncing = was.GetDeleteTime(), maps.Clone(was.GetShards()), proto.CloneOf(was.GetLifecycle()), proto.CloneOf(was.GetSyncing())
	}
	if md.GetLifecycle().GetState() == resourcev1.Lifecycle_STATE_UNSPECIFIED {
		if md.Lifecycle == nil {
			md.Lifecycle = &resourcev1.Lifecycle{}
		}
		md.Lifecycle.State = resourcev1.Lifecycle_ACTIVE
	}
	return nil
}

// Finish implements [store.Finisher].
func (Meta) Finish(_ context.Context, tx *store.Tx, w *store.Pending) error {
	if w.After == nil || w.Resource.Metadata == nil {
		return nil
	}
	md, now := w.Resource.MetadataOf(w.After), timestamppb.New(tx.Now())
	md.UpdateTime = now
	switch {
	case w.Before == nil:
		md.CreateTime, md.Generation = now, 1
	case !sameSpec(w.Resource, w.Before.ProtoReflect(), w.After.ProtoReflect()):
		md.Generation++
	}
	switch {
	case md.GetLifecycle().GetState() != resourcev1.Lifecycle_DELETING:
		md.DeleteTime = nil
	case md.DeleteTime == nil:
		md.DeleteTime = now
	}
	return nil
}

// immutable refuses changes of fields that are set once.
func immutable(w *store.Pending) error {
	if w.Before == nil || w.Reason != "" {
		return nil
	}
	for _, p := range w.Resource.Immutable {
		before, after := w.Before.ProtoReflect(), w.After.ProtoReflect()
		if !p.Equal(before, after) && (p.Has(before) || p.Has(after)) { // unset in an unset message is unset
			return &fault.Error{
				Op: "plugins.Meta", Name: string(w.Name), Kind: fault.Invalid, Reason: "IMMUTABLE", Field: p.String(),
				Err: fmt.Errorf("%s cannot be changed after the resource was created", p),
			}
		}
	}
	return nil
}

// The bounds of metadata. Labels are as on Kubernetes, so that they go over.
const (
	maxLabels      = 64
	maxLabel       = 63
	maxAnnotations = 256 << 10
	maxOwners      = 100
)

// fieldError is what is wrong with a field.
type fieldError struct {
	field string
	error
}

// bounds checks what callers attach.
func bounds(md *resourcev1.Metadata) *fieldError {
	switch {
	case len(md.GetLabels()) > maxLabels:
		return &fieldError{"metadata.labels", fmt.Errorf("there are at most %d labels, not %d", maxLabels, len(md.GetLabels()))}
	case len(md.GetTags()) > maxLabels:
		return &fieldError{"metadata.tags", fmt.Errorf("there are at most %d tags, not %d", maxLabels, len(md.GetTags()))}
	case len(md.GetOwnerReferences()) > maxOwners:
		return &fieldError{"metadata.owner_references", fmt.Errorf("there are at most %d owners, not %d", maxOwners, len(md.GetOwnerReferences()))}
	}
	for k, v := range md.GetLabels() {
		if k == "" || len(k) > maxLabel || len(v) > maxLabel {
			return &fieldError{"metadata.labels", fmt.Errorf("the name of a label has 1 to %d bytes and its value at most as many: %.64q", maxLabel, k)}
		}
	}
	for _, tag := range md.GetTags() {
		if tag == "" || len(tag) > maxLabel {
			return &fieldError{"metadata.tags", fmt.Errorf("a tag has 1 to %d bytes: %.64q", maxLabel, tag)}
		}
	}
	size := 0
	for k, v := range md.GetAnnotations() {
		if size += len(k) + len(v); k == "" {
			return &fieldError{"metadata.annotations", errors.New("an annotation has a name")}
		}
	}
	if size > maxAnnotations {
		return &fieldError{"metadata.annotations", fmt.Errorf("annotations have at most %d bytes, not %d", maxAnnotations, size)}
	}
	return nil
}

// sameSpec reports whether a and b differ at most in what is not spec.
func sameSpec(r *schema.Resource, a, b protoreflect.Message) bool {
	other := map[protoreflect.FieldNumber]bool{}
	deep := false // whether something that is not spec is inside of what is
	for _, paths := range [][]fieldpath.Path{r.State, r.Meta} {
		for _, p := range paths {
			other[p.Steps()[0].Field.Number()] = true
			deep = deep || len(p.Steps()) > 1
		}
	}
	if deep {
		a, b = specOf(r, a), specOf(r, b)
		clear(other)
	}
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if other[f.Number()] {
			continue
		}
		if a.Has(f) != b.Has(f) || a.Has(f) && !a.Get(f).Equal(b.Get(f)) {
			return false
		}
	}
	return true
}

// specOf is a clone with the spec alone.
func specOf(r *schema.Resource, m protoreflect.Message) protoreflect.Message {
	m = proto.Clone(m.Interface()).ProtoReflect()
	for _, paths := range [][]fieldpath.Path{r.State, r.Meta} {
		for _, p := range paths {
			p.Clear(m)
		}
	}
	return m
}
