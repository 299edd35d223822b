package watch

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// single serves a watch of one object: the object as it is, and then every
// change. If changes were trimmed that were not sent yet, the object as it is
// comes again.
func (h *Hub) single(ctx context.Context, m *schema.Method, req proto.Message, visible Visible, send func(proto.Message) error) error {
	r := m.Resource
	name, err := r.Parse(req.ProtoReflect().Get(field(m.Desc.Input(), "name")).String())
	if err != nil {
		return err
	}
	mask, paths, err := newProjection(r, readMask(req.ProtoReflect()))
	if err != nil {
		return err
	}
	out := m.Output.Descriptor()
	// tell sends the object in that field, or, if it is nil, that it is removed.
	tell := func(name resource.Name, seq store.Seq, kind protoreflect.Name, o proto.Message) error {
		msg := m.Output.New()
		if o == nil {
			msg.Set(field(out, "removed"), protoreflect.ValueOfString(string(name)))
		} else {
			msg.Set(field(out, kind), protoreflect.ValueOfMessage(o.ProtoReflect()))
		}
		msg.Set(field(out, "resource_version"), protoreflect.ValueOfString(store.FormatVersion(seq)))
		return send(msg.Interface())
	}
	v := &view{
		key: fmt.Sprintf("%q %q %q", r.Type, name, paths), resource: r, prefix: string(name),
		matches: func(n resource.Name) bool { return n == name }, mask: mask, cursors: map[*cursor]bool{},
	}
	for {
		o, version, seq, err := h.object(ctx, r, name)
		if err != nil {
			return err
		}
		there := may(ctx, visible, r, o)
		if there {
			o = mask.show(o)
		} else {
			o, version = nil, seq // as if there were none
		}
		if err := tell(name, version, "current", o); err != nil {
			return err
		}
		if err := h.follow(ctx, v, seq, func(it *item) error {
			o, was := it.object, there
			_, after := it.objects()
			if there = it.is && may(ctx, visible, r, after); !there {
				o = nil
			}
			if !there && !was || there && was && !it.touched {
				return nil
			}
			return tell(name, it.Seq, "changed", o)
		}); !expired(err) {
			return err
		}
	}
}

// follow calls f with what happens in a view after pos, until there is an error.
func (h *Hub) follow(ctx context.Context, v *view, pos store.Seq, f func(*item) error) error {
	c := h.watch(v, pos)
	defer c.close()
	for {
		items, err := c.next(ctx, h.o.Bookmark)
		if err != nil {
			return err
		}
		for _, it := range items {
			if err := f(it); err != nil {
				return err
			}
		}
	}
}

// object reads an object, without secrets, with its version and the last change
// of the snapshot. It is nil if there is none.
func (h *Hub) object(ctx context.Context, r *schema.Resource, name resource.Name) (o proto.Message, version, seq store.Seq, err error) {
	err = h.st.Run(ctx, store.Consistent, func(ctx context.Context) error {
		tx, _ := h.st.TxOf(ctx)
		seq = tx.Seq()
		version = seq
		o, err = h.st.Get(ctx, r, name)
		return err
	})
	if fault.KindOf(err) == fault.NotFound {
		return nil, version, seq, nil
	}
	if err != nil {
		return nil, 0, 0, err
	}
	redact(r, o)
	if md := r.MetadataOf(o); md != nil {
		version, err = store.ParseVersion(md.GetResourceVersion())
	}
	return o, version, seq, err
}
