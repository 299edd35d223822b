package platform

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/reference/peering"
	referencev1 "selvedge.dev/sdk/reference/v1"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/resource"
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
	return &neighbours{p: p, regions: regions, own: own, clients: map[reference.Address]*neighbour{}}
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

// project is the id of the project that a service is of, "" if nobody knows.
func (n *neighbours) project(domain string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.registries {
		if s, err := r.Lookup(domain); err == nil {
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
		return n.p.resources.store.Met(ctx, region+"-"+strings.ReplaceAll(a.Service, ".", "-"), identity)
	}
	c := &neighbour{endpoint, peering.NewClient(peering.Options{
		Platforms: map[string]peering.Platform{n.own: {URL: endpoint}}, Met: met, Logger: n.p.log, Timeout: neighbourTimeout,
		HTTP: &http.Client{Transport: itself{n.p, a.Service}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})}
	n.clients[a] = c
	return c, nil
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
	r.Header.Set("Authorization", "Bearer "+token)
	return http.DefaultTransport.RoundTrip(r)
}

// Establish implements [reference.Peers].
func (n *neighbours) Establish(ctx context.Context, q *reference.EstablishRequest) error {
	to, err := n.to(q.To)
	if err != nil {
		return err
	}
	return to.Establish(ctx, q)
}

// Lookup implements [reference.Peers].
func (n *neighbours) Lookup(ctx context.Context, q *reference.LookupRequest) (*reference.LookupReply, error) {
	to, err := n.to(q.To)
	if err != nil {
		return nil, err
	}
	return to.Lookup(ctx, q)
}

// Dependants implements [reference.Peers].
func (n *neighbours) Dependants(ctx context.Context, q *reference.DependantsRequest) (*reference.DependantsReply, error) {
	to, err := n.to(q.To)
	if err != nil {
		return nil, err
	}
	return to.Dependants(ctx, q)
}

// Release implements [reference.Peers].
func (n *neighbours) Release(ctx context.Context, q *reference.ReleaseRequest) (*reference.ReleaseReply, error) {
	to, err := n.to(q.To)
	if err != nil {
		return nil, err
	}
	return to.Release(ctx, q)
}

// Upgrade implements [reference.Peers].
func (n *neighbours) Upgrade(ctx context.Context, q *reference.UpgradeRequest) error {
	to, err := n.to(q.To)
	if err != nil {
		return err
	}
	return to.Upgrade(ctx, q)
}

// hasService reports whether a service is the platform's own.
func (p *Platform) hasService(domain string) bool {
	for _, s := range p.resources.types.Services() {
		if s.Domain == domain {
			return true
		}
	}
	return false
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
