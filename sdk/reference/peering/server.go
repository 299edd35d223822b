package peering

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/reference"
	referencev1 "selvedge.dev/sdk/reference/v1"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

// ServerOptions configure a Server.
type ServerOptions struct {
	// Region is that of the store.
	Region string
	// Types are the types of the store: it is asked about their services.
	Types *schema.Registry
	// Answers are those of the store: its [reference.Controller].
	Answers reference.Peers
	// Identity is what tells the store from all others: [store.Store.Identity].
	Identity func(ctx context.Context) (string, error)
	// Authorize is nil if the principal of ctx has the permission on a name,
	// here always "": what belongs to no project. A nil Authorize denies
	// everything.
	Authorize func(ctx context.Context, permission string, name resource.Name) error
}

// Server answers for a store.
type Server struct {
	o      ServerOptions
	schema *schema.Service
}

// NewServer makes a Server.
func NewServer(o ServerOptions) *Server {
	return &Server{o: o, schema: referencev1.AddTo(new(schema.Registry))}
}

// Schema describes the service.
func (s *Server) Schema() *schema.Service { return s.schema }

// Stream does a streaming method, of which there is none.
func (s *Server) Stream(_ context.Context, m *schema.Method, _ proto.Message, _ func(proto.Message) error) error {
	return &fault.Error{Op: "peering.Stream", Kind: fault.Unsupported, Err: fmt.Errorf("%s does not stream", m.Name)}
}

// Call does a method.
func (s *Server) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	if s.o.Authorize == nil {
		return nil, &fault.Error{Op: "peering.Call", Kind: fault.Denied, Reason: "PERMISSION_DENIED", Field: m.Permission, Err: errors.New("nobody may call it: there is no policy")}
	}
	if err := s.o.Authorize(ctx, m.Permission, ""); err != nil {
		return nil, err
	}
	q, ok := req.(interface{ GetTo() *referencev1.Address })
	if !ok {
		return nil, &fault.Error{Op: "peering.Call", Kind: fault.Unsupported, Err: fmt.Errorf("%s is not a method of peers", m.Name)}
	}
	to := addressOf(q.GetTo())
	if to.Region != s.o.Region || !s.has(to.Service) {
		return nil, &fault.Error{Op: "peering.Call", Name: to.Service, Kind: fault.Unavailable, Reason: "WRONG_STORE", Err: fmt.Errorf("this is not %s", to)}
	}
	return s.answer(ctx, to, req)
}

// has reports whether the store has the service.
func (s *Server) has(service string) bool {
	return slices.ContainsFunc(s.o.Types.Services(), func(x *schema.Service) bool { return x.Domain == service })
}

// answer answers a request that is for this store.
func (s *Server) answer(ctx context.Context, to reference.Address, req proto.Message) (proto.Message, error) {
	identity, err := s.o.Identity(ctx)
	if err != nil {
		return nil, err
	}
	by := &referencev1.Address{Service: to.Service, Region: s.o.Region, Store: identity}
	switch q := req.(type) {
	case *referencev1.EstablishRequest:
		targets := each(q.GetTargets(), targetOf)
		if err := asked(to, targets, func(t reference.Target) reference.Ref { return t.Ref }); err != nil {
			return nil, err
		}
		err := s.o.Answers.Establish(ctx, &reference.EstablishRequest{To: to, Source: refOf(q.GetSource()), Targets: targets})
		return &referencev1.EstablishResponse{Authority: by}, err
	case *referencev1.LookupRequest:
		items := each(q.GetItems(), itemOf)
		if err := asked(to, items, func(i reference.LookupItem) reference.Ref { return i.Ref }); err != nil {
			return nil, err
		}
		reply, err := s.o.Answers.Lookup(ctx, &reference.LookupRequest{To: to, Items: items})
		if err != nil {
			return nil, err
		}
		return &referencev1.LookupResponse{Authority: by, Answers: each(reply.Answers, answer)}, nil
	case *referencev1.DependantsRequest:
		of := refOf(q.GetOf())
		if err := asked(to, []reference.Ref{of}, func(r reference.Ref) reference.Ref { return r }); err != nil {
			return nil, err
		}
		reply, err := s.o.Answers.Dependants(ctx, &reference.DependantsRequest{To: to, Of: of, Owners: q.GetOwners()})
		if err != nil {
			return nil, err
		}
		return &referencev1.DependantsResponse{Authority: by, Dependants: each(reply.Dependants, dependant)}, nil
	case *referencev1.ReleaseRequest:
		reply, err := s.o.Answers.Release(ctx, &reference.ReleaseRequest{To: to, Target: refOf(q.GetTarget()), Owner: q.GetOwner(), Gone: q.GetGone()})
		if err != nil {
			return nil, err
		}
		return &referencev1.ReleaseResponse{Authority: by, Left: int64(reply.Left), Held: reply.Held}, nil
	case *referencev1.UpgradeRequest:
		err := s.o.Answers.Upgrade(ctx, &reference.UpgradeRequest{To: to, Service: q.GetService(), Version: q.GetVersion(), Instead: q.GetInstead()})
		return &referencev1.UpgradeResponse{Authority: by}, err
	}
	return nil, &fault.Error{Op: "peering.Call", Kind: fault.Unsupported, Err: fmt.Errorf("there is no answer to %s", req.ProtoReflect().Descriptor().FullName())}
}

// asked checks that what is asked about is of the service that is asked, and
// not too much.
func asked[T any](to reference.Address, list []T, of func(T) reference.Ref) error {
	if len(list) > maxItems {
		return &fault.Error{Op: "peering.Call", Kind: fault.TooLarge, Reason: "TOO_MANY_ITEMS", Err: fmt.Errorf("%d resources at once, more than %d", len(list), maxItems)}
	}
	for _, x := range list {
		r := of(x)
		if service, _, ok := strings.Cut(r.Type, "/"); !ok || service != to.Service {
			return &fault.Error{
				Op: "peering.Call", Name: string(r.Name), Kind: fault.Unavailable, Reason: "WRONG_STORE",
				Err: fmt.Errorf("%s is not a type of %s", r.Type, to.Service),
			}
		}
	}
	return nil
}
