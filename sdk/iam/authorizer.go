package iam

import (
	"context"
	"net/http"

	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/resource"
)

// Authorizer says what principals may do, by an engine that knows the roles and
// who has them. It is what the doors of a platform ask.
type Authorizer struct{ engine *access.Engine }

// NewAuthorizer makes the authorizer of an engine, which has [BuiltIn] roles from
// then on, and [Implied] in its options.
func NewAuthorizer(e *access.Engine) (*Authorizer, error) {
	for _, r := range BuiltIn() {
		if err := e.SetRole(r); err != nil {
			return nil, err
		}
	}
	return &Authorizer{e}, nil
}

// requestKey finds the fields of a request in a context.
type requestKey struct{}

// WithRequest returns a context of a request of which fields tells the values at
// a path, none if there are none: what conditions on requests are about.
func WithRequest(ctx context.Context, fields func(path string) []string) context.Context {
	return context.WithValue(ctx, requestKey{}, fields)
}

// resourceKey finds in a context what is known of a resource.
type resourceKey struct{}

// known is what is known of the fields of a resource: their values, or that they
// are whatever conditions want.
type known struct {
	fields func(path string) []string
	any    bool
}

// WithResource returns a context in which a question is about a resource of
// which fields tells the values at a path, none if there are none: what
// conditions on stored fields are about. It is for that question alone.
func WithResource(ctx context.Context, fields func(path string) []string) context.Context {
	return context.WithValue(ctx, resourceKey{}, known{fields: fields})
}

// WithAnyResource returns a context in which a question is whether there can be
// a resource with fields of which the answer is yes. Whoever asks so and hears
// yes reads the resource and asks again, by [WithResource]: yes by itself allows
// nothing.
func WithAnyResource(ctx context.Context) context.Context {
	return context.WithValue(ctx, resourceKey{}, known{any: true})
}

// Question is a question of the principal of a context.
func Question(ctx context.Context, permission string, name resource.Name) access.Question {
	p := PrincipalOf(ctx)
	fields, _ := ctx.Value(requestKey{}).(func(path string) []string)
	about, _ := ctx.Value(resourceKey{}).(known)
	return access.Question{
		Subject:    access.Subject{Member: p.Member(), Attributes: p.attributes()},
		Permission: permission, Resource: string(name), Request: fields, Fields: about.fields, AnyFields: about.any, Address: AddressOf(ctx),
	}
}

// attributes are what a parameter of a role can be: "project", "device", "email"
// and "name" of the principal.
func (p Principal) attributes() map[string]string {
	if p.Kind != Device && p.Kind != User && p.Kind != ServiceAccount {
		return nil
	}
	return map[string]string{"name": p.Name, "project": p.Project, "device": p.Device.ID(), "email": p.Email}
}

// Allow is nil if the principal of the context has the permission on the
// resource of that name, "" being the platform. A denial is as that of the
// function [Allow].
func (a *Authorizer) Allow(ctx context.Context, permission string, name resource.Name) error {
	if a.engine.Decide(Question(ctx, permission, name)).Allowed {
		return nil
	}
	return denial(PrincipalOf(ctx), name, permission)
}

// Visible reports whether Allow is nil.
func (a *Authorizer) Visible(ctx context.Context, permission string, name resource.Name) bool {
	return a.engine.Decide(Question(ctx, permission, name)).Allowed
}

// Authorize is Allow for the principal of a request in a project (an id, or ""
// for none), in the form that services take.
func (a *Authorizer) Authorize(r *http.Request, project, permission string) error {
	return a.Allow(r.Context(), permission, scopeOf(project))
}

// MayPublish is the function [MayPublish] for the principal of a context.
func (a *Authorizer) MayPublish(ctx context.Context, source, device string) error {
	return MayPublishBy(PrincipalOf(ctx), source, device, func(project string) error { return a.Allow(ctx, Publish, scopeOf(project)) })
}
