package platform

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/local/cluster/serving"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/member"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/reference/peering"
	referencev1 "selvedge.dev/sdk/reference/v1"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// neighbours are the [reference.Peers] of a platform: those of other regions,
// and in its own the services that are not its own, where the registry says
// that they are. These know it by a token of its own.
type neighbours struct {
	p       *Platform
	regions *peering.Client
	own     string

	mu         sync.Mutex
	registries []*registry.Registry
	clients    map[reference.Address]*neighbour
	// doubted are the services that were said to have another database.
	doubted map[string]bool
}

// neighbour is the client of a service at an address.
type neighbour struct {
	endpoint string
	*peering.Client
}

var _ reference.Peers = (*neighbours)(nil)

// newNeighbours makes those of a platform in its own region, beside those of
// other regions.
func newNeighbours(p *Platform, regions *peering.Client, own string) *neighbours {
	return &neighbours{p: p, regions: regions, own: own, clients: map[reference.Address]*neighbour{}, doubted: map[string]bool{}}
}

// join has a registry be asked where services are.
func (n *neighbours) join(r *registry.Registry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.registries = append(n.registries, r)
}

// endpoint is where a service is in the own region, "" if nobody knows.
func (n *neighbours) endpoint(domain string) string {
	for _, r := range n.registries {
		for _, d := range r.Deployments(domain) {
			if d.Region() == n.own && !d.GetIsDisabled() {
				return d.GetEndpoint()
			}
		}
	}
	return ""
}

// project is the id of the project that a service is of, "" if nobody knows. One
// that is in other regions alone is of none here: its accounts are there.
func (n *neighbours) project(domain string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.registries {
		if s, err := r.Lookup(domain); err == nil && slices.Contains(s.Regions(), n.own) {
			return resource.Name(s.GetProject()).Project()
		}
	}
	return ""
}

const (
	// maxNeighbours bounds the clients that are kept.
	maxNeighbours = 1000
	// neighbourTimeout bounds a question: those about owners are asked one after
	// the other.
	neighbourTimeout = 2 * time.Second
)

// to finds who answers for an address.
func (n *neighbours) to(a reference.Address) (reference.Peers, error) {
	if a.Region != n.own || n.p.hasService(a.Service) {
		return n.regions, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	endpoint := n.endpoint(a.Service)
	if endpoint == "" {
		return nil, &fault.Error{
			Op: "platform.Peers", Name: a.Service, Kind: fault.Unavailable, Reason: "PEER_UNKNOWN", Err: fmt.Errorf("%s cannot be reached: it is not deployed there", a),
		}
	}
	if c := n.clients[a]; c != nil && c.endpoint == endpoint {
		return c, nil
	}
	if len(n.clients) >= maxNeighbours {
		clear(n.clients)
	}
	met := func(ctx context.Context, region, identity string) (string, error) {
		return n.p.met(ctx, metName(region, a.Service), a.Service, identity)
	}
	c := &neighbour{endpoint, peering.NewClient(peering.Options{
		Platforms: map[string]peering.Platform{n.own: {URL: endpoint}}, Met: met, Logger: n.p.log, Timeout: neighbourTimeout,
		HTTP: &http.Client{Transport: itself{n.p, a.Service}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})}
	n.clients[a] = c
	return c, nil
}

// metName is the name by which the database of a service in a region is
// remembered.
func metName(region, service string) string {
	return region + "-" + strings.ReplaceAll(service, ".", "-")
}

// forgetRenewed forgets the databases of the peers and services that have
// another one since, on purpose.
func (p *Platform) forgetRenewed(ctx context.Context, st *store.Store, own string) error {
	forget := slices.Clone(p.config.RenewPeers)
	for _, domain := range p.config.RenewServices {
		if member.Has(st.Types(), domain) {
			return fmt.Errorf("the service %q is to be renewed, but it is the platform's own", domain)
		}
		forget = append(forget, metName(own, domain))
	}
	for _, name := range forget {
		if err := st.Forget(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// itself makes requests as the platform itself, to the service of a domain.
type itself struct {
	p      *Platform
	domain string
}

// RoundTrip implements [http.RoundTripper].
func (t itself) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := t.p.accounts.OwnToken(t.domain)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	if t.p.servesFunction(r.URL) { // credentials stay at its door
		r.Header.Set(iam.PlatformHeader, token)
	} else {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// servesFunction reports whether a URL is of a function of this platform.
func (p *Platform) servesFunction(u *url.URL) bool {
	return strings.HasPrefix(u.Path, serving.PathPrefix) && p.isHost(u.Host) || p.serving.Serves(&http.Request{Host: u.Host})
}

// anotherStore is the reason not to believe who has another database than before.
const anotherStore = "ANOTHER_STORE"

// told is the error of a call. Who was not believed, because of another database
// than before, is recognized anew the next time: what he owned may be gone by
// then.
func (n *neighbours) told(a reference.Address, err error) error {
	if fault.ReasonOf(err) == anotherStore && a.Region == n.own {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.clients, a)
	}
	return err
}

// met is the identity that the database of a service had when it was met first.
// One that has another since is believed if it owns nothing here: then nothing
// would go because it does not know of it.
func (p *Platform) met(ctx context.Context, name, domain, identity string) (string, error) {
	st := p.resources.store
	known, err := st.Met(ctx, name, identity)
	if err != nil || known == identity {
		return known, err
	}
	owns, err := owns(ctx, st, domain)
	if err == nil && owns {
		p.neighbours.doubt(domain)
	}
	if err != nil || owns {
		return known, err
	}
	p.log.Warn("a service has another database than before, and owns nothing here: it is believed", slog.String("service", domain))
	if err := st.Forget(ctx, name); err != nil {
		return "", err
	}
	return st.Met(ctx, name, identity)
}

// doubt logs, once, that a service is not believed.
func (n *neighbours) doubt(domain string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.doubted[domain] {
		n.doubted[domain] = true
		n.p.log.Warn("a service has another database than before, and is not believed about what it owns here: "+
			"restore the one that it had, or start this platform once with --renew-service and its domain", slog.String("service", domain))
	}
}

// owns reports whether something here has an owner of a service that was ever
// seen. One that never was is as one whose creation failed. It has a handle of
// its own: who asks may be in the middle of a transaction.
func owns(ctx context.Context, st *store.Store, domain string) (found bool, err error) {
	ctx, tx, err := st.Begin(ctx, store.Consistent)
	if err != nil {
		return false, err
	}
	defer tx.Close()
	for _, s := range st.Types().Services() {
		for _, x := range s.Resources {
			index, ok := x.Index(reference.OwnerPath + ".*.name")
			if !ok || found {
				continue
			}
			all := store.Scan{Type: x.Type, Where: []filter.Condition{{Index: index.Path.String(), Op: filter.Range}}}
			err := tx.Scan(ctx, all, func(_ *schema.Resource, m proto.Message) bool {
				found = slices.ContainsFunc(x.MetadataOf(m).GetOwnerReferences(), func(o *resourcev1.OwnerReference) bool {
					return o.GetUid() != "" && strings.HasPrefix(o.GetType(), domain+"/")
				})
				return !found
			})
			if err != nil {
				return false, fmt.Errorf("looking for what %s owns: %w", domain, err)
			}
		}
	}
	return found, nil
}

// Establish implements [reference.Peers].
func (n *neighbours) Establish(ctx context.Context, q *reference.EstablishRequest) error {
	to, err := n.to(q.To)
	if err != nil {
		return err
	}
	return n.told(q.To, to.Establish(ctx, q))
}

// Lookup implements [reference.Peers].
func (n *neighbours) Lookup(ctx context.Context, q *reference.LookupRequest) (*reference.LookupReply, error) {
	to, err := n.to(q.To)
	if err != nil {
		return nil, err
	}
	reply, err := to.Lookup(ctx, q)
	return reply, n.told(q.To, err)
}

// Dependants implements [reference.Peers].
func (n *neighbours) Dependants(ctx context.Context, q *reference.DependantsRequest) (*reference.DependantsReply, error) {
	to, err := n.to(q.To)
	if err != nil {
		return nil, err
	}
	reply, err := to.Dependants(ctx, q)
	return reply, n.told(q.To, err)
}

// Release implements [reference.Peers].
func (n *neighbours) Release(ctx context.Context, q *reference.ReleaseRequest) (*reference.ReleaseReply, error) {
	to, err := n.to(q.To)
	if err != nil {
		return nil, err
	}
	reply, err := to.Release(ctx, q)
	return reply, n.told(q.To, err)
}

// Upgrade implements [reference.Peers].
func (n *neighbours) Upgrade(ctx context.Context, q *reference.UpgradeRequest) error {
	to, err := n.to(q.To)
	if err != nil {
		return err
	}
	return n.told(q.To, to.Upgrade(ctx, q))
}

// hasService reports whether a service is the platform's own.
func (p *Platform) hasService(domain string) bool { return member.Has(p.resources.types, domain) }

// of are the domains of the services of a project that are in the own region,
// sorted.
func (n *neighbours) of(project string) (domains []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.registries {
		for _, s := range r.Services() {
			if project != "" && resource.Name(s.GetProject()).Project() == project && slices.Contains(s.Regions(), n.own) {
				domains = append(domains, s.Domain())
			}
		}
	}
	slices.Sort(domains)
	return slices.Compact(domains)
}

// servicesOf are the domains of the services of a project that are in the own
// region and not the platform's own, for [member.Acting].
func (p *Platform) servicesOf(_ context.Context, project string) ([]string, error) {
	return slices.DeleteFunc(p.neighbours.of(project), p.hasService), nil
}

// admittedKey is in the context of a call that a peerDoor let in.
type admittedKey struct{}

// allowPeer says who may call as a peer: whom a binding gives the permission, and
// whom the peerDoor let in.
func (p *Platform) allowPeer(ctx context.Context, permission string, name resource.Name) error {
	if ctx.Value(admittedKey{}) != nil {
		return nil
	}
	return p.access.Allow(ctx, permission, name)
}

// peerDoor lets services that are not the platform's own do some things without
// the permission to call as a peer, which would be about everything there is:
// say that an owner of theirs went, ask about what is owned by one, and what
// becomes of others when a resource goes that says it is theirs.
type peerDoor struct {
	*peering.Server
	p *Platform
}

// Call is that of the server.
func (d *peerDoor) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	if d.p.access.Allow(ctx, m.Permission, "") == nil || !d.owns(ctx, req) {
		return d.Server.Call(ctx, m, req)
	}
	out, err := d.Server.Call(context.WithValue(ctx, admittedKey{}, true), m, req)
	if found, ok := out.(*referencev1.LookupResponse); ok {
		for _, a := range found.GetAnswers() {
			if !a.GetRefers() {
				a.Object = nil // what is not owned by the caller's is not his to know of
			}
		}
	}
	return out, err
}

// owns reports whether a request is about ownees of resources of a service that
// the caller is the service account of.
func (d *peerDoor) owns(ctx context.Context, req proto.Message) bool {
	who := iam.PrincipalOf(ctx)
	if who.Kind != iam.ServiceAccount {
		return false
	}
	his := func(owner *referencev1.Ref) bool {
		domain, _, _ := strings.Cut(owner.GetType(), "/")
		return domain != "" && !d.p.hasService(domain) && who.Project != "" && d.p.neighbours.project(domain) == who.Project
	}
	switch q := req.(type) {
	case *referencev1.ReleaseRequest:
		return q.GetOwner() && his(q.GetTarget())
	case *referencev1.LookupRequest:
		for _, item := range q.GetItems() {
			if item.GetPath() != reference.OwnerPath || !his(item.GetTarget()) {
				return false
			}
		}
		return true
	case *referencev1.DependantsRequest:
		return his(&referencev1.Ref{Type: d.p.owningService(ctx, q.GetOf()) + "/"})
	}
	return false
}

// owningService is the domain of the service that a resource is for, by its
// metadata, "" if it says none.
func (p *Platform) owningService(ctx context.Context, r *referencev1.Ref) string {
	x, ok := p.resources.types.Type(r.GetType())
	if !ok || x.Metadata == nil {
		return ""
	}
	domain := ""
	err := p.resources.store.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
		m, err := p.resources.store.Get(ctx, x, resource.Name(r.GetName()))
		if err == nil {
			domain = x.MetadataOf(m).GetServices().GetOwningService()
		}
		return err
	})
	if err != nil {
		return ""
	}
	return domain
}
