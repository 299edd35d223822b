package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/watch"
)

// Allow is that of sdk/iam, for [Options]: what a principal may do by what it is
// alone, as in a process that knows of no bindings. A platform has an
// iam.Authorizer instead.
func Allow(ctx context.Context, permission string, name resource.Name) error {
	return iam.Allow(iam.PrincipalOf(ctx), name.Project(), permission)
}

// context is that of the call, in which roles may depend on what is asked for.
func (c *call) context(ctx context.Context) context.Context {
	return iam.WithRequest(ctx, func(path string) []string { return valuesAt(c.req, path, nil) })
}

// valuesAt are the values at a path of a message as conditions have them, none
// if it is no path, or one to a secret.
func valuesAt(m protoreflect.Message, path string, secrets []fieldpath.Path) []string {
	p, err := fieldpath.Parse(m.Descriptor(), path)
	if err != nil || slices.ContainsFunc(secrets, func(s fieldpath.Path) bool { return fieldpath.Covers(s, p) }) {
		return nil
	}
	var values []string
	p.Values(m, func(v fieldpath.Value) bool {
		switch x := v.Interface().(type) {
		case protoreflect.Message, protoreflect.List, protoreflect.Map, []byte, nil:
		case protoreflect.EnumNumber:
			if name := v.Desc.Enum().Values().ByNumber(x); name != nil {
				values = append(values, string(name.Name()))
			}
		default:
			values = append(values, v.String())
		}
		return true
	})
	return values
}

// allow asks whether the caller has the permission on a name.
func (s *Service) allow(ctx context.Context, permission string, name resource.Name) error {
	if s.options.Authorize == nil {
		return &fault.Error{
			Op: "service.Authorize", Name: string(name), Kind: fault.Denied, Reason: "PERMISSION_DENIED", Field: permission,
			Err: fmt.Errorf("the permission %s is needed, and nobody has it: the service has no policy", permission),
		}
	}
	return s.options.Authorize(ctx, permission, name)
}

// allowList asks whether the caller may list, or watch, what is below a parent.
// Who may not all of it may be shown a part: then the result says which.
func (s *Service) allowList(ctx context.Context, permission, parent string) (watch.Visible, error) {
	fixed, across := fixedPart(parent)
	t, err := s.ask(ctx, permission, fixed)
	if t == nil && (err == nil || !across || s.options.Visible == nil || fault.KindOf(err) != fault.Denied) {
		return nil, err
	}
	audit.Of(ctx).Asked(ctx, permission, fixed, true) // of a part
	return func(ctx context.Context, r *schema.Resource, m proto.Message) bool {
		return s.sees(iam.WithResource(ctx, Fields(r, m)), permission, r.NameOf(m))
	}, nil
}

// sees reports whether the caller has the permission on a name.
func (s *Service) sees(ctx context.Context, permission string, name resource.Name) bool {
	if s.options.Visible != nil {
		return s.options.Visible(ctx, permission, name)
	}
	return s.allow(ctx, permission, name) == nil
}

// fixedPart is the part of a parent's name before the first wildcard: whoever
// may do something with that may with all that the whole stands for. Across is
// whether there are several parents.
func fixedPart(parent string) (fixed resource.Name, across bool) {
	if parent == "" {
		return "", true
	}
	segments := strings.Split(parent, "/")
	for i, s := range segments {
		if s == resource.Wildcard {
			return resource.Name(strings.Join(segments[:max(0, i-1)], "/")), true
		}
	}
	return resource.Name(parent), false
}

// readParent reads the parent of a list or watch.
func readParent(r *schema.Resource, s string) (schema.Parent, error) {
	p, err := schema.ParseParent(r, s)
	return p, atField("parent", err)
}

// readName reads the name of an object of the type in a field of a request.
func readName(r *schema.Resource, field, s string) (resource.Name, error) {
	n, err := r.Parse(s)
	return n, atField(field, err)
}

// atField is a fault of a value with the field of the request that has it, in
// place of the part of the value. It is nil for nil.
func atField(field string, err error) error {
	var e *fault.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	out := *e
	out.Field = field
	return &out
}
