package peering

import (
	"selvedge.dev/sdk/reference"
	referencev1 "selvedge.dev/sdk/reference/v1"
	"selvedge.dev/sdk/resource"
)

// The functions here turn the plain data of sdk/reference into messages, and
// those named …Of turn messages into it. A message that is not there is empty.

// each does f to each of a list.
func each[A, B any](list []A, f func(A) B) []B {
	if len(list) == 0 {
		return nil
	}
	out := make([]B, len(list))
	for i, x := range list {
		out[i] = f(x)
	}
	return out
}

// address of a store.
func address(a reference.Address) *referencev1.Address {
	return &referencev1.Address{Service: a.Service, Region: a.Region}
}

// addressOf is the inverse of address.
func addressOf(m *referencev1.Address) reference.Address {
	return reference.Address{Service: m.GetService(), Region: m.GetRegion()}
}

// ref is a name.
func ref(r reference.Ref) *referencev1.Ref {
	return &referencev1.Ref{Type: r.Type, Name: string(r.Name), Region: r.Region}
}

// refOf is the inverse of ref.
func refOf(m *referencev1.Ref) reference.Ref {
	return reference.Ref{Type: m.GetType(), Name: resource.Name(m.GetName()), Region: m.GetRegion()}
}

// object is what is known of a resource.
func object(o reference.Object) *referencev1.Object {
	return &referencev1.Object{Ref: ref(o.Ref), Uid: o.UID, Deleting: o.Deleting, Leaving: o.Leaving, Owners: each(o.Owners, owner)}
}

// objectOf is the inverse of object.
func objectOf(m *referencev1.Object) reference.Object {
	return reference.Object{
		Ref: refOf(m.GetRef()), UID: m.GetUid(), Deleting: m.GetDeleting(), Leaving: m.GetLeaving(), Owners: each(m.GetOwners(), ownerOf),
	}
}

// owner is an owner reference.
func owner(o reference.Owner) *referencev1.Owner {
	return &referencev1.Owner{Ref: ref(o.Ref), Uid: o.UID, UnsetOnDelete: o.Unset}
}

// ownerOf is the inverse of owner.
func ownerOf(m *referencev1.Owner) reference.Owner {
	return reference.Owner{Ref: refOf(m.GetRef()), UID: m.GetUid(), Unset: m.GetUnsetOnDelete()}
}

// target is what is referred to.
func target(t reference.Target) *referencev1.Target {
	return &referencev1.Target{Ref: ref(t.Ref), Path: t.Path, OnDelete: t.OnDelete, Uid: t.UID}
}

// targetOf is the inverse of target.
func targetOf(m *referencev1.Target) reference.Target {
	return reference.Target{Ref: refOf(m.GetRef()), Path: m.GetPath(), OnDelete: m.GetOnDelete(), UID: m.GetUid()}
}

// item is what is looked up.
func item(i reference.LookupItem) *referencev1.LookupItem {
	return &referencev1.LookupItem{Ref: ref(i.Ref), Target: ref(i.Target), Path: i.Path}
}

// itemOf is the inverse of item.
func itemOf(m *referencev1.LookupItem) reference.LookupItem {
	return reference.LookupItem{Ref: refOf(m.GetRef()), Target: refOf(m.GetTarget()), Path: m.GetPath()}
}

// answer is what was found.
func answer(a reference.Answer) *referencev1.Answer {
	out := &referencev1.Answer{Refers: a.Refers}
	if a.Found {
		out.Object = object(a.Object)
	}
	return out
}

// answerOf is the inverse of answer.
func answerOf(m *referencev1.Answer) reference.Answer {
	return reference.Answer{Found: m.GetObject() != nil, Object: objectOf(m.GetObject()), Refers: m.GetRefers()}
}

// dependant is what refers.
func dependant(d reference.Dependant) *referencev1.Dependant {
	return &referencev1.Dependant{Object: object(d.Object), Path: d.Path, OnDelete: d.OnDelete, Unsure: d.Unsure}
}

// dependantOf is the inverse of dependant.
func dependantOf(m *referencev1.Dependant) reference.Dependant {
	return reference.Dependant{Object: objectOf(m.GetObject()), Path: m.GetPath(), OnDelete: m.GetOnDelete(), Unsure: m.GetUnsure()}
}
