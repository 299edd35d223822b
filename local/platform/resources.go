package platform

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/functions/devices"
	devicesv1 "selvedge.dev/functions/devices/v1"
	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/functions/logging"
	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/functions/meta"
	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/functions/reason"
	reasonv1 "selvedge.dev/functions/reason/v1"
	"selvedge.dev/functions/scheduler"
	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/member"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/reference/peering"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/postgres"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/watch"
)

// defaultRegion is the region of a platform that was told none.
const defaultRegion = "local"

// cachedResources bounds the resources that are kept in memory: at about a
// kilobyte each, 64 MiB for a fleet that is in use as a whole.
const cachedResources = 1 << 16

// resources are what is made of the framework: one store with the types of
// every service, and what runs beside it.
type resources struct {
	types    *schema.Registry
	store    *store.Store
	hub      *watch.Hub
	control  *reference.Controller
	peers    *peering.Server
	policies *policy.Policies
	options  service.Options
}

// openDriver opens the database of the resources.
func (p *Platform) openDriver(ctx context.Context) (store.Driver, error) {
	if p.config.Database != "" {
		d, err := postgres.Open(ctx, p.config.Database, postgres.Options{Logger: p.log})
		if err != nil {
			return nil, err
		}
		p.onClose(d.Close)
		return d, nil
	}
	d, err := sqlite.OpenDriver(ctx, filepath.Join(p.config.Data, "resources.db"), sqlite.Options{})
	if err != nil {
		return nil, err
	}
	p.onClose(d.Close)
	return d, nil
}

// openResources opens the store of the resources, with the services on it.
func (p *Platform) openResources(ctx context.Context) error {
	driver, err := p.openDriver(ctx)
	if err != nil {
		return err
	}
	region := p.config.Region
	if region == "" {
		region = defaultRegion
	}
	types, err := member.Types()
	if err != nil {
		return err
	}
	r := &resources{types: types}
	peers, err := p.openPeers(region)
	if err != nil {
		return err
	}
	r.policies = member.Policies(types, member.ServicePolicy(p.regions(region), region), func() *store.Store { return r.store })
	p.neighbours = newNeighbours(p, peers, region)
	references := reference.New(reference.Options{
		Peers: p.neighbours, Region: region, OwnerTimeout: p.config.OwnerTimeout, Recheck: p.config.OwnerRecheck, Logger: p.log,
	})
	if err := p.newAccess(types); err != nil {
		return err
	}
	index, rules := devices.NewIndex(), p.metaRules(member.Domains(types))
	p.buckets, p.recorder = logging.NewCatalog(), p.newRecorder(region)
	r.store = store.New(driver, r.types, store.Options{
		Plugins: member.Plugins(meta.Plugins(rules), r.policies, region, meta.Placement{Region: region, Regions: p.regions(region)}, references, p.recorder),
		Cached:  cachedResources, Logger: p.log,
		Written: func(writes []store.Write) {
			index.Written(writes)
			p.buckets.Written(writes)
			p.feed.Written(writes)
		},
	})
	if err := r.store.Reindex(ctx); err != nil {
		return err
	}
	if err := p.forgetRenewed(ctx, r.store, region); err != nil {
		return err
	}
	pages, err := service.NewPages(nil)
	if err != nil {
		return err
	}
	r.hub = watch.NewHub(r.store, watch.HubOptions{Pages: pages, Logger: p.log})
	r.control = references.Control(r.store)
	r.peers = peering.NewServer(peering.ServerOptions{Region: region, Types: r.types, Answers: r.control, Identity: r.store.Identity, Authorize: p.allowPeer})
	r.options = service.Options{
		Authorize: p.authorize, Hub: r.hub, Planner: references, Policies: r.policies, Logger: p.log,
		Visible: p.access.Visible, Audit: p.recorder,
	}
	p.resources = r
	if err := p.openAccounts(ctx); err != nil {
		return err
	}
	if p.meta, err = p.openMeta(ctx, rules, region); err != nil {
		return err
	}
	if err := p.openReason(r); err != nil {
		return err
	}
	if err := p.openAudit(ctx, r); err != nil {
		return err
	}
	p.registry, err = devices.NewService(r.store, index, devices.Options{Service: r.options, Deleted: p.keyring.RevokeBefore})
	if err != nil {
		return err
	}
	if p.config.Database != "" {
		if err := p.revokeEnded(ctx); err != nil {
			return err
		}
	}
	return p.registry.Import(ctx, p.db)
}

// openReason opens the services of logs, timers and scripts.
func (p *Platform) openReason(r *resources) (err error) {
	if p.logging, err = logging.NewRegistry(r.store, p.buckets, r.options); err != nil {
		return err
	}
	options := scheduler.Options{Service: r.options, Publish: p.publishChanges, Shared: p.config.Database != ""}
	if p.scheduler, err = scheduler.NewService(r.store, options); err != nil {
		return err
	}
	p.reason, err = reason.NewService(r.store, r.options)
	return err
}

// runResources runs what belongs to the store until ctx ends.
func (p *Platform) runResources(ctx context.Context) error {
	relay := watch.NewRelay(p.resources.store, p.publishChanges, watch.RelayOptions{Wanted: p.wanted, Logger: p.log})
	g, ctx := errgroup.WithContext(ctx)
	for name, run := range map[string]func(context.Context) error{
		"watch": p.resources.hub.Run, "references": p.resources.control.Run, "relay": relay.Run, "devices": p.registry.Run, "iam": p.feed.Run, "accounts": p.accounts.Run, "meta": p.meta.Run, "scheduler": p.scheduler.Run, "reason": p.reason.Run,
	} {
		g.Go(func() error {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	if p.config.Database != "" { // others may write to it too
		g.Go(func() error { return p.resources.store.Follow(ctx) })
	}
	return g.Wait()
}

// wanted reports whether a trigger is for an event. The changes of resources that
// none is for are no loss: who wants them watches.
func (p *Platform) wanted(e event.Event) bool {
	return p.broker.Wants(&e)
}

// publishChanges publishes the changes of resources.
func (p *Platform) publishChanges(ctx context.Context, events []event.Event) error {
	_, err := p.broker.Publish(ctx, events)
	return err
}

// newCalls is the handler of the services on the framework.
func (p *Platform) newCalls() (*rpc.Handler, rpc.Doors, error) {
	servers := []rpc.Server{p.registry, p.accounts, p.meta, p.scheduler, p.reason, p.logging, p.audit}
	doors := rpc.Doors{OpenAPI: map[string][]byte{
		p.registry.Schema().Domain: devicesv1.OpenAPI, p.accounts.Schema().Domain: iamv1.OpenAPI, p.meta.Schema().Domain: metav1.OpenAPI,
		p.scheduler.Schema().Domain: schedulerv1.OpenAPI, p.reason.Schema().Domain: reasonv1.OpenAPI,
		p.logging.Schema().Domain: loggingv1.OpenAPI, p.audit.Schema().Domain: auditv1.OpenAPI,
	}}
	for _, s := range servers {
		doors.Services = append(doors.Services, s.Schema())
	}
	for i, s := range servers {
		servers[i] = member.Acting{Server: s, Of: p.servicesOf, Visible: p.access.Visible}
	}
	h, err := rpc.New(rpc.Options{Servers: servers, Internal: []rpc.Server{&peerDoor{p.resources.peers, p}}, Next: http.HandlerFunc(gateway.NotFound), Logger: p.log})
	return h, doors, err
}
