// Package inventory is a service that is not the platform's own: sites, models
// of devices, and orders of them. It shows how one is built, with nothing but
// the public packages; README.md is the tutorial.
//
// The service is inventory.proto and the rules in orders.go. What is here puts
// the framework together, and program.go makes a process of it.
package inventory

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	inventoryv1 "selvedge.dev/functions/sample-inventory/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/reference/peering"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/watch"
)

// Domain is the service's name among services.
const Domain = "inventory.example.com"

// cached bounds the resources in memory, at about a kilobyte each.
const cached = 10_000

// Authorize says whether the caller of a context has a permission on a resource.
type Authorize = func(ctx context.Context, permission string, name resource.Name) error

// Caller calls the methods of other services: an [selvedge.dev/sdk/rpc.Client].
type Caller interface {
	Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error)
}

// Options are what the service needs.
type Options struct {
	// Driver is its database, Region the one that it is in.
	Driver store.Driver
	Region string
	// Authorize says who may call its methods, AuthorizePeers whom the platform
	// is told by what refers to what. Nil denies everything.
	Authorize, AuthorizePeers Authorize
	// Platform is called as this service, Peers ask it about references.
	Platform Caller
	Peers    reference.Peers
	// Logger is told what goes wrong; nil discards.
	Logger *slog.Logger
}

// Service is the inventory.
type Service struct {
	*service.Service
	store   *store.Store
	hub     *watch.Hub
	control *reference.Controller
	// peers answers the platform about owners.
	peers rpc.Server
}

// NewService makes the service over its database. Run belongs to it.
func NewService(ctx context.Context, o Options) (*Service, error) {
	types := new(schema.Registry)
	desc := inventoryv1.AddTo(types)
	if err := types.Check(); err != nil {
		return nil, err
	}
	home := &resourcev1.MultiRegionPolicy{EnabledRegions: []string{o.Region}, DefaultControlRegion: o.Region}
	s := &Service{}
	policies := policy.New(types, home, func(ctx context.Context, holder *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
		return policy.Local(s.store)(ctx, holder, name)
	})
	references := reference.New(reference.Options{Peers: o.Peers, Region: o.Region, Logger: o.Logger})
	s.store = store.New(o.Driver, types, store.Options{
		Plugins: append(plugins.Standard(plugins.Options{Policies: policies}), references), Cached: cached, Logger: o.Logger,
	})
	if err := s.store.Reindex(ctx); err != nil {
		return nil, err
	}
	s.hub = watch.NewHub(s.store, watch.HubOptions{Logger: o.Logger})
	s.control = references.Control(s.store)
	s.peers = peering.NewServer(peering.ServerOptions{
		Region: o.Region, Types: types, Answers: s.control, Identity: s.store.Identity, Authorize: o.AuthorizePeers,
	})
	orders, err := newOrders(s.store, o)
	if err != nil {
		return nil, err
	}
	s.Service, err = service.New(desc, s.store, service.Options{
		Authorize: o.Authorize, Hub: s.hub, Planner: references, Policies: policies, Logger: o.Logger,
		Hooks: []service.Hook{service.On(service.Hooks[*inventoryv1.DeviceOrder]{Validate: orders.validate})},
	})
	return s, err
}

// Answers are what the service tells others of its resources, such as that an
// order is no more.
func (s *Service) Answers() reference.Peers { return s.control }

// Call is that of the service.
func (s *Service) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	if create, ok := req.(*inventoryv1.CreateDeviceOrderRequest); ok && create.GetValidateOnly() {
		ctx = context.WithValue(ctx, dryKey{}, true)
	}
	return s.Service.Call(ctx, m, req)
}

// Run does what goes on beside the calls, until ctx ends: it tells watchers of
// changes, and the platform of owners that went.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{s.hub.Run, s.control.Run} {
		g.Go(func() error {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				return &fault.Error{Op: "inventory.Run", Kind: fault.Internal, Err: err}
			}
			return nil
		})
	}
	return g.Wait()
}
