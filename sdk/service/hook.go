package service

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/schema"
)

// Hooks are what a type M does beyond the standard methods. They run in the
// transaction of a call, and again with it; an error ends it. What must hold
// for every change, whoever makes it, is a [store.Plugin] instead.
type Hooks[M proto.Message] struct {
	// Default fills in what a new or changed object does not say.
	Default func(ctx context.Context, m M) error
	// Validate refuses an object. Old is the one that it replaces, nil if it is
	// new; it must not be changed.
	Validate func(ctx context.Context, old, m M) error
	// Saved comes after the object was saved, to save others with it: it can
	// write, but no longer read.
	Saved func(ctx context.Context, old, m M) error
	// Deleting comes before an object is deleted. It can read, and then write
	// what goes with it: also delete what is below, which else keeps it.
	Deleting func(ctx context.Context, m M) error
}

// Hook is the [Hooks] of one type, made by [On].
type Hook struct {
	message        protoreflect.FullName
	standIn        func(m proto.Message) bool
	change, saved  func(ctx context.Context, old, m proto.Message) error
	fill, deleting func(ctx context.Context, m proto.Message) error
}

// On hooks into the methods of the type M.
func On[M proto.Message](h Hooks[M]) Hook {
	var zero M
	return Hook{
		message:  zero.ProtoReflect().Descriptor().FullName(),
		standIn:  func(m proto.Message) bool { _, ok := m.(M); return ok },
		fill:     one(h.Default),
		deleting: one(h.Deleting),
		change:   two(h.Validate),
		saved:    two(h.Saved),
	}
}

// one is a hook of one object for any type.
func one[M proto.Message](f func(context.Context, M) error) func(context.Context, proto.Message) error {
	if f == nil {
		return func(context.Context, proto.Message) error { return nil }
	}
	return func(ctx context.Context, m proto.Message) error { return f(ctx, m.(M)) }
}

// two is a hook of an object and the one before for any type.
func two[M proto.Message](f func(context.Context, M, M) error) func(context.Context, proto.Message, proto.Message) error {
	if f == nil {
		return func(context.Context, proto.Message, proto.Message) error { return nil }
	}
	return func(ctx context.Context, old, m proto.Message) error {
		before, _ := old.(M) // nil is none
		return f(ctx, before, m.(M))
	}
}

// addHooks adds hooks to their types.
func (s *Service) addHooks(hooks []Hook) error {
	for _, h := range hooks {
		found := false
		for r, t := range s.types {
			if r.Message.Descriptor().FullName() == h.message && h.standIn(r.New()) {
				t.hooks, found = append(t.hooks, h), true
			}
		}
		if !found {
			return fmt.Errorf("service: %s has no type %s to hook into", s.schema.Domain, h.message)
		}
	}
	return nil
}

// Custom is a method that is not one of the standard ones, made by [Handle] or
// [HandleStream].
type Custom struct {
	name    string
	in, out protoreflect.FullName
	serve   func(ctx context.Context, req proto.Message) (proto.Message, error)
	stream  func(ctx context.Context, req proto.Message, send func(proto.Message) error) error
	public  bool
}

// Handle answers a custom method: its name is "Fleet.PaintRobot", with or
// without the package before it. The method's options say which permission the
// caller needs, on the name or the parent of the request, and in what
// transaction f is called; f is called again with the transaction. The answer
// is kept for a while if the request has an id, so it has no secrets but those
// of resources, which are left out; that of a MANUAL method is not kept.
func Handle[Req, Resp proto.Message](name string, f func(ctx context.Context, req Req) (Resp, error)) Custom {
	c := newCustom[Req, Resp](name)
	c.serve = func(ctx context.Context, req proto.Message) (proto.Message, error) { return f(ctx, req.(Req)) }
	return c
}

// HandleStream answers a custom method with a stream of responses. It has no
// transaction but those that f makes.
func HandleStream[Req, Resp proto.Message](name string, f func(ctx context.Context, req Req, send func(Resp) error) error) Custom {
	c := newCustom[Req, Resp](name)
	c.stream = func(ctx context.Context, req proto.Message, send func(proto.Message) error) error {
		return f(ctx, req.(Req), func(m Resp) error { return send(m) })
	}
	return c
}

// newCustom is a custom method without what answers it.
func newCustom[Req, Resp proto.Message](name string) Custom {
	var req Req
	var resp Resp
	return Custom{name: name, in: req.ProtoReflect().Descriptor().FullName(), out: resp.ProtoReflect().Descriptor().FullName()}
}

// Public is the method for everybody, also without credentials: it finds out by
// itself who may call it, such as by a token in the request.
func (c Custom) Public() Custom {
	c.public = true
	return c
}

// customsOf are the custom methods of a service by their full names.
func customsOf(s *schema.Service, customs []Custom) (map[protoreflect.FullName]Custom, error) {
	out := map[protoreflect.FullName]Custom{}
	for _, c := range customs {
		found := false
		for _, m := range s.Methods {
			if m.Verb != 0 || string(m.Name) != c.name && string(m.Name) != string(s.Package)+"."+c.name {
				continue
			}
			if _, ok := out[m.Name]; ok {
				return nil, fmt.Errorf("service: two functions answer %s", m.Name)
			}
			if c.in != m.Input.Descriptor().FullName() || c.out != m.Output.Descriptor().FullName() || m.Desc.IsStreamingClient() || m.Desc.IsStreamingServer() != (c.stream != nil) {
				return nil, fmt.Errorf("service: the function for %s has another signature", m.Name)
			}
			out[m.Name], found = c, true
		}
		if !found {
			return nil, fmt.Errorf("service: %s has no custom method %s", s.Domain, c.name)
		}
	}
	return out, nil
}
