package service

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// custom is what answers a custom method: a function of the options, in the
// transaction that the method wants.
func (s *Service) custom(m *method, f Custom) (serve, stream, error) {
	switch {
	case f.stream != nil:
		return nil, func(ctx context.Context, c *call, send func(proto.Message) error) error {
			name, on, err := s.admit(ctx, c)
			if err == nil {
				err = on.before(ctx, c.m.Resource, name)
			}
			if err != nil {
				return err
			}
			return f.stream(ctx, c.req.Interface(), func(out proto.Message) error { return send(c.m.shown(out)) })
		}, nil
	case f.serve == nil:
		return nil, nil, fmt.Errorf("service: nothing answers %s", m.Name)
	}
	return func(ctx context.Context, c *call) (proto.Message, error) {
		name, on, err := s.admit(ctx, c)
		if err != nil {
			return nil, err
		}
		below := name // what follows the policy
		if c.m.name == nil && name != "" {
			below += "/-/-"
		}
		do := func(ctx context.Context) (proto.Message, error) {
			if err := on.stored(ctx, c.m.Resource, name); err != nil {
				return nil, err
			}
			out, err := f.serve(ctx, c.req.Interface())
			if err == nil {
				err = on.left(ctx, c.m.Resource, name)
			}
			return out, err
		}
		var out proto.Message
		switch m.Options.GetTransaction() {
		case resourcev1.Transaction_MANUAL:
			if err = on.before(ctx, c.m.Resource, name); err != nil {
				return nil, err
			}
			if ctx, err = s.prepare(ctx, c, below); err != nil {
				return nil, err
			}
			out, err = f.serve(ctx, c.req.Interface())
		case resourcev1.Transaction_READ_ONLY:
			err = s.store.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
				out, err = do(ctx)
				return err
			})
		case resourcev1.Transaction_SNAPSHOT:
			return s.write(ctx, c, below, do)
		}
		if err != nil {
			return nil, err
		}
		return c.m.shown(out), nil
	}, nil, nil
}

// admit asks for the permission of a custom method, on the name or the parent
// of the request, and checks the request. It returns what the request is about,
// and the terms that the resource of that name must meet. A method about no one
// resource needs a permission without.
func (s *Service) admit(ctx context.Context, c *call) (name resource.Name, on *terms, err error) {
	if name, err = c.about(); err != nil {
		return "", nil, err
	}
	if !c.m.public {
		if on, err = s.ask(ctx, c.m.Permission, name); err != nil {
			return "", nil, err
		}
		if on != nil && (c.m.Resource == nil || c.m.name == nil) {
			return "", nil, on.denied
		}
	}
	return name, on, s.rules.check("service.Call", c.req.Interface())
}

// about is the name that a custom method is about: that of its resource, or the
// part of its parent that has no wildcard. A method of no type that the service
// knows is about a project, or about everything.
func (c *call) about() (resource.Name, error) {
	if r := c.m.Resource; r != nil {
		if c.m.name != nil {
			return readName(r, "name", text(c.req, c.m.name))
		}
		parent := text(c.req, c.m.parent)
		if c.m.parent == nil {
			return "", nil
		}
		if _, err := schema.ParseParent(r, parent); err != nil {
			return "", err
		}
		fixed, _ := fixedPart(parent)
		return fixed, nil
	}
	for _, said := range []string{text(c.req, c.m.name), text(c.req, c.m.parent)} {
		if n, err := resource.Project.Parse(said); err == nil {
			return n, nil
		}
	}
	return "", nil
}
