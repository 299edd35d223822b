package function

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	visitsv1 "selvedge.dev/api/visits/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/watch"
)

//go:generate go run ./infra/proto -root api -generate selvedge.dev/api

// Domain is the service's name: its permissions begin with the first word of it,
// "visits.sites.create".
const Domain = "visits.example.com"

// rules are what the proto file cannot say about visits.
var rules = service.Hooks[*visitsv1.Visit]{
	Validate: func(_ context.Context, old, v *visitsv1.Visit) error {
		if old.GetDone() && !v.GetDone() {
			return &fault.Error{
				Op: "visits.Visit", Name: v.GetName(), Kind: fault.Precondition, Reason: "OVER", Field: "done",
				Err: errors.New("a visit that is over does not come again"),
			}
		}
		return nil
	},
}

// Options are what the service needs.
type Options struct {
	// Driver is its database, Region that of the platform.
	Driver store.Driver
	Region string
	// Authorize says what a caller may; nil denies everything.
	Authorize func(ctx context.Context, permission string, name resource.Name) error
	// Logger is told what goes wrong; nil discards.
	Logger *slog.Logger
}

// Service is the service of sites and visits.
type Service struct {
	*service.Service
	store      *store.Store
	policies   *policy.Policies
	hub        *watch.Hub
	references *reference.Controller
	site, kind *schema.Resource
}

// NewService makes the service over its database. Run belongs to it.
func NewService(ctx context.Context, o Options) (*Service, error) {
	types := new(schema.Registry)
	desc := visitsv1.AddTo(types)
	if err := types.Check(); err != nil {
		return nil, err
	}
	s := &Service{}
	home := &resourcev1.MultiRegionPolicy{EnabledRegions: []string{o.Region}, DefaultControlRegion: o.Region}
	s.policies = policy.New(types, home, func(ctx context.Context, holder *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
		return policy.Local(s.store)(ctx, holder, name)
	})
	references := reference.New(reference.Options{Region: o.Region, Logger: o.Logger})
	s.store = store.New(o.Driver, types, store.Options{
		Plugins: append(plugins.Standard(plugins.Options{Policies: s.policies}), references), Logger: o.Logger,
	})
	if err := s.store.Reindex(ctx); err != nil {
		return nil, err
	}
	s.hub = watch.NewHub(s.store, watch.HubOptions{Logger: o.Logger})
	s.references = references.Control(s.store)
	s.site, _ = types.Type(Domain + "/Site")
	s.kind, _ = types.Type(Domain + "/Visit")
	var err error
	s.Service, err = service.New(desc, s.store, service.Options{
		Authorize: o.Authorize, Hub: s.hub, Planner: references, Policies: s.policies, Logger: o.Logger,
		Hooks: []service.Hook{service.On(rules)},
	})
	return s, err
}

// Run does what goes on beside the calls, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{s.hub.Run, s.references.Run, s.count} {
		g.Go(func() error {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	return g.Wait()
}
