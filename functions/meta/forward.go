package meta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Call does a unary method. One that changes something is sent to the owner, if
// this registry is a copy: here it is asked whether the caller has the
// permission, and there whether the change goes with the rules.
func (s *Service) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	if s.copies == nil {
		return s.Service.Call(ctx, m, req)
	}
	switch m.Verb {
	case resourcev1.Method_CREATE, resourcev1.Method_UPDATE, resourcev1.Method_DELETE:
		ctx, record := s.audit.Begin(ctx, s.store, m, req)
		record.PassedOn(s.copies.region)
		out, err := s.copies.send(ctx, m, req)
		record.End(ctx, err)
		return out, err
	default:
		return s.Service.Call(ctx, m, req)
	}
}

// change is a request to change something.
type change struct {
	m   *schema.Method
	req protoreflect.Message
	// name is of what, "" for what is created; object is what it is to be, if it
	// is not deleted.
	name   resource.Name
	object proto.Message
}

// changeOf reads a request.
func changeOf(m *schema.Method, req proto.Message) change {
	c := change{m: m, req: req.ProtoReflect(), name: resource.Name(text(req, "name"))}
	c.req.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() != nil && f.Message().FullName() == m.Resource.Message.Descriptor().FullName() {
			c.object = v.Message().Interface()
		}
		return true
	})
	if m.Verb == resourcev1.Method_UPDATE && c.object != nil {
		c.name = m.Resource.NameOf(c.object)
	}
	return c
}

// text is a field of a request, "" if it has none of that name.
func text(req proto.Message, field protoreflect.Name) string {
	f := req.ProtoReflect().Descriptor().Fields().ByName(field)
	if f == nil || f.Kind() != protoreflect.StringKind {
		return ""
	}
	return req.ProtoReflect().Get(f).String()
}

// send has the owner do a change, and returns it once it was copied.
func (c *copies) send(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	x := changeOf(m, req)
	if err := c.authorize(ctx, x); err != nil {
		return nil, err
	}
	if x.name != "" {
		is, err := c.here(ctx, m.Resource, x.name)
		switch {
		case err != nil:
			return nil, err
		case is != nil && m.Verb == resourcev1.Method_DELETE && m.Resource.MetadataOf(is).GetSyncing().GetOwningRegion() != c.region:
			return c.s.Service.Call(ctx, m, req) // it is known here alone
		}
		if err := c.translate(x, is); err != nil {
			return nil, err
		}
	}
	out, err := c.owner.Call(ctx, c.s.rules.callerOf(ctx), m, req)
	if err != nil && (fault.KindOf(err) == fault.NotFound || fault.ReasonOf(err) == noSuchRegion) {
		adopted, failed := c.adopt(ctx, x)
		switch {
		case failed != nil:
			err = failed
		case adopted:
			out, err = c.owner.Call(ctx, c.s.rules.callerOf(ctx), m, req)
		}
	}
	if err != nil {
		return nil, c.away(x, err)
	}
	return c.arrived(ctx, m.Resource, out)
}

// authorize asks for the permissions of a change, as the owner would.
func (c *copies) authorize(ctx context.Context, x change) error {
	name := x.name
	if x.m.Verb == resourcev1.Method_CREATE {
		name = resource.Name(text(x.req.Interface(), "parent"))
	}
	if err := c.s.authorize(ctx, x.m.Permission, name); err != nil {
		return err
	}
	if f := x.req.Descriptor().Fields().ByName("allow_missing"); x.m.Verb == resourcev1.Method_UPDATE && f != nil && x.req.Get(f).Bool() {
		return c.s.authorize(ctx, x.m.Resource.Permission("create"), name.Parent())
	}
	return nil
}

// here is the object of that name that this registry has, nil for none.
func (c *copies) here(ctx context.Context, r *schema.Resource, name resource.Name) (m proto.Message, err error) {
	err = c.s.store.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
		m, err = c.s.store.Get(ctx, r, name)
		return err
	})
	if fault.KindOf(err) == fault.NotFound {
		return nil, nil
	}
	return m, err
}

// translate puts the owner's version of an object in place of the one that it
// has here, by which the caller said what he means to change.
func (c *copies) translate(x change, is proto.Message) error {
	given := text(x.req.Interface(), "etag")
	md := &resourcev1.Metadata{}
	if x.object != nil && x.object.ProtoReflect().Has(x.m.Resource.Metadata) {
		md = x.m.Resource.MetadataOf(x.object)
		given = md.GetResourceVersion()
	}
	if given == "" {
		return nil
	}
	c.mu.Lock()
	version, known := c.seen[x.name]
	c.mu.Unlock()
	if is == nil || !known || x.m.Resource.MetadataOf(is).GetResourceVersion() != given {
		return &fault.Error{
			Op: "meta.Send", Name: string(x.name), Kind: fault.Conflict, Reason: "ETAG_MISMATCH",
			Err: errors.New("its metadata.resource_version is another: it was changed since"),
		}
	}
	if x.m.Verb == resourcev1.Method_DELETE {
		x.req.Set(x.req.Descriptor().Fields().ByName("etag"), protoreflect.ValueOfString(store.FormatVersion(version)))
		return nil
	}
	md.ResourceVersion = store.FormatVersion(version)
	return nil
}

// arrivalTimeout is how long is waited for a change to be copied, which takes
// some milliseconds over the way from the owner.
const arrivalTimeout = 5 * time.Second

// arrived waits until what the owner answered was copied, and is what is here
// then: who reads after a change reads the change. After a while it is the
// owner's own answer.
func (c *copies) arrived(ctx context.Context, r *schema.Resource, out proto.Message) (proto.Message, error) {
	if out.ProtoReflect().Descriptor().FullName() != r.Message.Descriptor().FullName() {
		return out, nil
	}
	md := r.MetadataOf(out)
	version, err := store.ParseVersion(md.GetResourceVersion())
	if err != nil {
		return out, nil // with validate_only there is none
	}
	timeout := time.NewTimer(arrivalTimeout)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		seen, changed := c.seen[r.NameOf(out)], c.changed
		c.mu.Unlock()
		if seen >= version {
			is, err := c.here(ctx, r, r.NameOf(out))
			if err != nil || is != nil {
				return is, err
			}
			return out, nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			md.ResourceVersion = "" // it would be one of another store
			return out, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// away is why a change is not possible. That the owner does not answer, or does
// not take this platform for a peer, is not the caller's fault.
func (c *copies) away(x change, err error) error {
	switch kind := fault.KindOf(err); {
	case kind == fault.Unavailable, kind == fault.Unauthenticated, fault.ReasonOf(err) == "PERMISSION_DENIED":
		return &fault.Error{
			Op: "meta.Send", Name: string(x.name), Kind: fault.Unavailable, Reason: "OWNER_AWAY",
			Err: fmt.Errorf("the registry is that of the region %s, which does not answer: here it can be read, and not changed: %w", c.region, err),
		}
	}
	return err
}
