package platform

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// asService is a server whose calls by the account of a service that is not the
// platform's own are that service's: what it creates here must say so, by
// metadata.services. The account of a service is one of its project that may
// change its record in the registry.
type asService struct {
	rpc.Server
	p *Platform
}

// Call is that of the server.
func (s asService) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	if m.Verb == resourcev1.Method_CREATE || m.Verb == resourcev1.Method_UPDATE {
		if domain := s.p.acting(ctx, m, req); domain != "" {
			ctx = store.WithService(ctx, domain)
		}
	}
	return s.Server.Call(ctx, m, req)
}

// acting is the service that calls, "" if somebody else does. An account of
// several acts as the one that the request says.
func (p *Platform) acting(ctx context.Context, m *schema.Method, req proto.Message) string {
	who := iam.PrincipalOf(ctx)
	if who.Kind != iam.ServiceAccount {
		return ""
	}
	var mine []string
	for _, domain := range p.neighbours.of(who.Project) {
		if !p.hasService(domain) && p.access.Visible(ctx, "meta.services.update", resource.Name("services/"+domain)) {
			mine = append(mine, domain)
		}
	}
	switch said := saidOwner(m, req); {
	case len(mine) == 0:
		return ""
	case slices.Contains(mine, said):
		return said
	}
	return mine[0]
}

// saidOwner is the owning service that the object in a request says, "" if it
// says none.
func saidOwner(m *schema.Method, req proto.Message) string {
	if m.Resource == nil || m.Resource.Metadata == nil {
		return ""
	}
	owner := ""
	req.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() != nil && !f.IsList() && !f.IsMap() && f.Message().FullName() == m.Resource.Message.Descriptor().FullName() {
			if x := v.Message(); x.Has(m.Resource.Metadata) {
				owner = m.Resource.MetadataOf(x.Interface()).GetServices().GetOwningService()
			}
		}
		return true
	})
	return owner
}

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
