package audit

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// noteKey finds what a transaction keeps for its note.
type noteKey struct{}

// Prepare implements [store.Plugin]: a transaction that changes something has a
// note of the call that it is of.
func (r *Recorder) Prepare(_ context.Context, tx *store.Tx, w *store.Pending) error {
	if !w.Quiet {
		tx.Keep(noteKey{}, func() any {
			tx.Last(func(ctx context.Context) error { return r.note(ctx, tx) })
			return true
		})
	}
	return nil
}

// note puts the note into a transaction, if that changes something.
func (r *Recorder) note(ctx context.Context, tx *store.Tx) error {
	changes, alive, about := 0, 0, ""
	for _, w := range tx.Pending() {
		switch {
		case w.Quiet:
		case onlyVolatile(w.Resource, w.Before, w.After):
			alive++
		default:
			if changes++; about == "" {
				about = string(w.Name)
			}
		}
	}
	c := Of(ctx)
	if changes == 0 {
		if c != nil && c.store == tx.Store() && alive > 0 {
			c.mu.Lock()
			c.alive = true
			c.mu.Unlock()
		}
		return nil
	}
	var note *resourcev1.ActivityNote
	if c != nil && c.read && c.method != nil && c.method.Verb != resourcev1.Method_METHOD_UNSPECIFIED && c.store == tx.Store() {
		return nil // with validate_only: it is not committed
	}
	if c != nil && c.method != nil && c.store == tx.Store() {
		c.mu.Lock()
		note = &resourcev1.ActivityNote{Log: c.log(ctx), Part: c.manual}
		if !c.manual {
			c.payloads(note)
			c.noted = true
		}
		c.mu.Unlock()
	} else {
		note = &resourcev1.ActivityNote{Log: r.internal(ctx, tx, about)}
	}
	note.Log.Changes = int32(changes)
	body, err := proto.Marshal(note)
	if err != nil {
		return fmt.Errorf("audit: writing the note of a call: %w", err)
	}
	tx.Note(body)
	return nil
}

// onlyVolatile reports whether an update changes nothing but what changes all the
// time by itself: such a change has no record.
func onlyVolatile(r *schema.Resource, before, after proto.Message) bool {
	if before == nil || after == nil {
		return false
	}
	was, is := before.ProtoReflect(), after.ProtoReflect()
	if !slices.ContainsFunc(r.Volatile, func(p fieldpath.Path) bool { return p.Has(was) != p.Has(is) || !p.Equal(was, is) }) {
		return false
	}
	return proto.Equal(settled(r, before), settled(r, after))
}

// settled is an object without what is volatile, and without what every change
// changes.
func settled(r *schema.Resource, m proto.Message) proto.Message {
	m = proto.Clone(m)
	for _, p := range r.Volatile {
		p.Clear(m.ProtoReflect())
	}
	if r.Metadata != nil && m.ProtoReflect().Has(r.Metadata) {
		md := r.MetadataOf(m)
		md.UpdateTime, md.ResourceVersion = nil, ""
	}
	return m
}

// internal is the record of a transaction of no call.
func (r *Recorder) internal(ctx context.Context, tx *store.Tx, about string) *resourcev1.ActivityLog {
	out := &resourcev1.ActivityLog{
		Id: tx.Store().NewUID(), RequestId: clip(tx.Info().RequestID, 256), Time: timestamppb.New(tx.Now()), Category: resourcev1.ActivityLog_INTERNAL,
		Principal: tx.Info().Principal, Region: r.o.Region, Host: r.o.Host, Resource: clip(about, maxMessage),
	}
	if by := principalOf(ctx); out.GetPrincipal() == "" {
		out.Principal, out.KeyId = by.Name, by.KeyID
	}
	if domain := store.ServiceOf(ctx); domain != "" {
		out.Service = domain
		if out.GetPrincipal() == "" {
			out.Principal = "services/" + domain
		}
	}
	return out
}

// payloads puts the request and the response of a call into its note. c.mu is
// held.
func (c *Call) payloads(n *resourcev1.ActivityNote) {
	n.Request, n.Log.OmittedRequest = c.payload(c.req)
	if c.method != nil && c.method.Resource != nil && c.answer != nil && fullName(c.answer) == string(c.method.Resource.Message.Descriptor().FullName()) {
		// What it is after the change is in the record of that.
		n.Log.OmittedResponse = &resourcev1.OmittedPayload{Type: fullName(c.answer), Size: int64(proto.Size(c.answer))}
		return
	}
	n.Response, n.Log.OmittedResponse = c.payload(c.answer)
}

// payload is a message without secrets, or what is left out.
func (c *Call) payload(m proto.Message) (*anypb.Any, *resourcev1.OmittedPayload) {
	if m == nil {
		return nil, nil
	}
	name := fullName(m)
	if size := proto.Size(m); size > c.rec.o.MaxPayload {
		return nil, &resourcev1.OmittedPayload{Type: name, Size: int64(size)}
	}
	b, err := proto.Marshal(c.rec.redact.apply(m))
	if err != nil {
		return nil, &resourcev1.OmittedPayload{Type: name, Size: int64(proto.Size(m))}
	}
	return &anypb.Any{TypeUrl: typePrefix + name, Value: b}, nil
}

// typePrefix is before the full name in the URL of a type.
const typePrefix = "type.googleapis.com/"
