package platform

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"selvedge.dev/functions/meta"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/schema"
)

// peersCall is the permission to call as the platform of another region.
const peersCall = "reference.peers.call"

// metaRules are the rules of the registry: service accounts make services, for
// their projects, and the platform's own services are those that everybody uses.
func (p *Platform) metaRules(core []string) meta.Rules {
	return meta.Rules{Caller: func(ctx context.Context) meta.Caller {
		if claimed, ok := ctx.Value(claimedKey{}).(meta.Caller); ok && p.access.Allow(ctx, peersCall, "") == nil {
			return claimed
		}
		return meta.CallerOf(ctx)
	}, Core: core}
}

// runRegistry registers the platform's region and services, from within, closes
// registered, and follows the registry until ctx ends. What it needs of the
// platform is running: the hub, and the registry's own Run.
func (p *Platform) runRegistry(ctx context.Context, registered chan<- struct{}) error {
	var open []*registry.Registry
	defer func() {
		for _, r := range open {
			r.Close()
		}
	}()
	// The registry itself brings the region.
	for _, s := range []*schema.Service{p.meta.Schema(), p.accounts.Schema(), p.registry.Schema(), p.scheduler.Schema(), p.reason.Schema()} {
		r, err := p.register(ctx, s)
		switch {
		case err == nil:
			open = append(open, r)
			p.neighbours.join(r)
		case ctx.Err() != nil:
			return nil // it stops before it began
		default:
			return err
		}
	}
	close(registered)
	<-ctx.Done()
	return nil
}

// registerRetry is about how long to wait while the registry of another region,
// which starts at the same time, cannot be reached: at most 16 times as much.
const registerRetry = 250 * time.Millisecond

// register registers a service of the platform.
func (p *Platform) register(ctx context.Context, s *schema.Service) (*registry.Registry, error) {
	itself := s == p.meta.Schema()
	region := p.config.Region
	if region == "" {
		region = defaultRegion
	}
	r, err := registry.Open(ctx, registry.Options{
		Meta:   p.meta.Local(meta.Caller{ServiceAccount: true, Registry: itself}),
		Region: region, NewRegion: itself, Retry: registerRetry,
		Service:    registry.Service{Versions: []*schema.Service{s}},
		Deployment: registry.Deployment{Endpoint: cmp.Or(strings.TrimSuffix(p.config.PublicURL, "/"), p.URL())},
		Logger:     p.log,
	})
	if err != nil {
		return nil, fmt.Errorf("registering %s: %w", s.Domain, err)
	}
	return r, nil
}
