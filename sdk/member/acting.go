package member

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

// Acting is a server whose calls by the account of a service that is not the
// platform's own are that service's: what it creates here must say so, by
// metadata.services. The account of a service is one of its project that may
// change its record in the registry.
type Acting struct {
	rpc.Server
	// Of are the domains of the services of a project that are in this region and
	// not the platform's own, sorted.
	Of func(ctx context.Context, project string) ([]string, error)
	// Visible reports whether the caller has a permission.
	Visible func(ctx context.Context, permission string, name resource.Name) bool
}

// Call is that of the server.
func (a Acting) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	if m.Verb == resourcev1.Method_CREATE || m.Verb == resourcev1.Method_UPDATE {
		domain, err := a.acting(ctx, m, req)
		if err != nil {
			return nil, err
		}
		if domain != "" {
			ctx = store.WithService(ctx, domain)
		}
	}
	return a.Server.Call(ctx, m, req)
}

// acting is the service that calls, "" if somebody else does. An account of
// several acts as the one that the request says.
func (a Acting) acting(ctx context.Context, m *schema.Method, req proto.Message) (string, error) {
	who := iam.PrincipalOf(ctx)
	if who.Kind != iam.ServiceAccount {
		return "", nil
	}
	all, err := a.Of(ctx, who.Project)
	if err != nil {
		return "", err
	}
	var mine []string
	for _, domain := range all {
		if a.Visible(ctx, "meta.services.update", resource.Name("services/"+domain)) {
			mine = append(mine, domain)
		}
	}
	switch said := saidOwner(m, req); {
	case len(mine) == 0:
		return "", nil
	case slices.Contains(mine, said):
		return said, nil
	}
	return mine[0], nil
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
