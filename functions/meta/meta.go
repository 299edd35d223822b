// Package meta is the registry of regions, services, deployments and types of
// resources: the service of functions/meta/v1 on the framework of sdk/service.
// How services register themselves and find each other is sdk/registry.
//
// What a resource must be by itself is in the contract. Here is what it must be
// beside others ([Plugins]): who may write it, that what is imported is wherever
// the importer is, and which services may see what. These rules hold for every
// change, whoever makes it. A [Service] also has a Run, by which the visibility
// of one service follows the changes of the others, and deployments of which
// nothing is heard are said to be gone. Everything here is safe for concurrent
// use.
//
// One region owns all of it. The registries of the others are copies
// ([Service.Follow]): whole, kept while the owner is away, and read like it.
package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/proto"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// Caller is what the registry needs to know of who calls. The zero value is a
// person, or nobody.
type Caller struct {
	// ServiceAccount is whether it is one: only those create services, each for
	// its Project, "projects/P".
	ServiceAccount bool
	Project        string
	// Registry is whether it is the registry itself, of this region or another:
	// nobody else writes regions.
	Registry bool
}

// callerKey finds the Caller of a context that a [Local] made.
type callerKey struct{}

// Rules are what the registry's own plugins go by.
type Rules struct {
	// Caller says who calls; nil is that nobody is more than a person.
	Caller func(ctx context.Context) Caller
	// Core are the domains of the services that every other service uses.
	Core []string
}

// callerOf is who calls.
func (r Rules) callerOf(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(Caller); ok {
		return c
	}
	if r.Caller == nil {
		return Caller{}
	}
	return r.Caller(ctx)
}

// Plugins are the rules of the registry for its store: to be put before those
// that every store has.
func Plugins(r Rules) []store.Plugin {
	return []store.Plugin{original{bundle{r}}, original{&rules{Rules: r}}, original{visibility{}}, presence{}}
}

// original is a plugin for what is no copy: of a copy everything was decided
// where it is from.
type original struct{ store.Plugin }

// Prepare implements [store.Plugin].
func (o original) Prepare(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	if copying(ctx) != nil {
		return nil
	}
	return o.Plugin.Prepare(ctx, tx, w)
}

// Service is the registry.
type Service struct {
	*service.Service
	store *store.Store
	log   *slog.Logger
	rules Rules
	// authorize is nil if the caller may do something.
	authorize func(ctx context.Context, permission string, name resource.Name) error
	// audit records what is passed on; nil does not.
	audit *audit.Recorder
	// copies are set if this is a copy of the registry of another region.
	copies *copies
}

// NewService makes the registry over a store with its types and the [Plugins] of the
// same rules. Hooks are added to the options.
func NewService(st *store.Store, r Rules, o service.Options) (*Service, error) {
	s := &Service{store: st, log: o.Logger, rules: r, audit: o.Audit}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	o.Hooks = append(o.Hooks,
		service.On(service.Hooks[*metav1.Service]{Validate: func(_ context.Context, _, x *metav1.Service) error { return x.Check() }}),
		service.On(service.Hooks[*metav1.Deployment]{Validate: func(_ context.Context, _, x *metav1.Deployment) error { return x.Check() }}),
		service.On(service.Hooks[*metav1.Resource]{Validate: func(_ context.Context, _, x *metav1.Resource) error { return x.Check() }}),
	)
	authorize, visible := o.Authorize, o.Visible
	o.Authorize = func(ctx context.Context, permission string, name resource.Name) error {
		switch {
		case local(ctx):
			return nil
		case authorize != nil:
			return authorize(ctx, permission, name)
		}
		return &fault.Error{
			Op: "meta.Authorize", Name: string(name), Kind: fault.Denied, Reason: "PERMISSION_DENIED", Field: permission,
			Err: fmt.Errorf("the permission %s is needed, and nobody has it: the service has no policy", permission),
		}
	}
	if visible != nil {
		o.Visible = func(ctx context.Context, permission string, name resource.Name) bool {
			return local(ctx) || visible(ctx, permission, name)
		}
	}
	s.authorize = o.Authorize
	desc, err := describe(st.Types())
	if err != nil {
		return nil, err
	}
	s.Service, err = service.New(desc, st, o)
	return s, err
}

// local reports whether a [Local] calls, which may do everything.
func local(ctx context.Context) bool {
	_, ok := ctx.Value(callerKey{}).(Caller)
	return ok
}

// describe finds the service among the types of a store.
func describe(types *schema.Registry) (*schema.Service, error) {
	for _, s := range types.Services() {
		if s.Package == metav1.File_functions_meta_v1_meta_proto.Package() {
			return s, nil
		}
	}
	return nil, errors.New("meta: the store does not have the service's types")
}

// Local calls the registry from within its process, without a door in between:
// so that it can register itself before it serves, and so that the services of
// one process do not wait for each other. It is trusted.
type Local struct {
	service *Service
	caller  Caller
}

// Local is a way to call the service as that caller.
func (s *Service) Local(as Caller) Local { return Local{s, as} }

// Call does a unary method.
func (l Local) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	return l.service.Call(l.as(ctx), m, proto.Clone(req))
}

// as is a context of the caller, who is the platform itself.
func (l Local) as(ctx context.Context) context.Context {
	return audit.As(context.WithValue(ctx, callerKey{}, l.caller), "services/meta.selvedge.dev")
}

// Watch does a method that watches. The messages are recv's own.
func (l Local) Watch(ctx context.Context, m *schema.Method, req proto.Message, recv func(proto.Message) error) error {
	return l.service.Stream(l.as(ctx), m, proto.Clone(req), func(msg proto.Message) error {
		return recv(proto.Clone(msg))
	})
}

// typ is one of the registry's types.
func typ(tx *store.Tx, name string) *schema.Resource {
	r, ok := tx.Types().Type(name)
	if !ok {
		panic("BUG: meta: the store does not have " + name)
	}
	return r
}

// pinned is the object of that name with the pending writes, nil if there is
// none. That it stays as it is until the commit becomes a condition of the
// transaction. A read by name would be none beside a reference to the object,
// which only asks that it lives.
func pinned[M proto.Message](ctx context.Context, tx *store.Tx, kind string, name resource.Name) (M, error) {
	var out M
	err := tx.Scan(ctx, store.Scan{Type: kind, From: name, To: name + "\x00", Limit: 1}, func(_ *schema.Resource, m proto.Message) bool {
		out, _ = m.(M)
		return false
	})
	if err != nil {
		return out, fmt.Errorf("reading %s: %w", name, err)
	}
	return out, nil
}
