package meta

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/proto"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// adopt gives the owner what is known here alone of the service that a change is
// about, and of its regions: from a time when this registry was no copy. That
// there is a change is the sign that it is in use. It is false if there is
// nothing.
func (c *copies) adopt(ctx context.Context, x change) (bool, error) {
	name := x.name
	if name == "" {
		name = resource.Name(text(x.req.Interface(), "parent"))
	}
	for name.Parent() != "" {
		name = name.Parent()
	}
	service, children, err := c.alone(ctx, name)
	if err != nil {
		return false, err
	}
	is, _ := x.object.(*metav1.Service)
	adopted := len(children) > 0
	for _, id := range append(is.Regions(), service.Regions()...) {
		region, err := c.here(ctx, c.methods["GetRegion"].Resource, resource.Name("regions/"+id))
		if r, ok := region.(*metav1.Region); err != nil || !ok || !c.isAlone(r) {
			continue
		}
		if err := c.give(ctx, Caller{Registry: true}, "CreateRegion", &metav1.CreateRegionRequest{RegionId: id, Region: &metav1.Region{}}); err != nil {
			return false, err
		}
		adopted = true
	}
	if len(children) == 0 {
		return adopted, nil
	}
	as := Caller{ServiceAccount: true, Project: service.GetProject(), Registry: service.GetProject() == ""}
	service.Metadata = nil
	if err := c.give(ctx, as, "CreateService", &metav1.CreateServiceRequest{ServiceId: service.Domain(), Service: service}); err != nil {
		return false, err
	}
	for _, req := range children {
		method := "CreateResource"
		if _, ok := req.(*metav1.CreateDeploymentRequest); ok {
			method = "CreateDeployment"
		}
		if err := c.give(ctx, as, method, req); err != nil {
			return false, err
		}
	}
	c.s.log.LogAttrs(ctx, slog.LevelInfo, "a service that was known here alone is registered where the registry is", slog.String("service", string(name)), slog.String("region", c.region))
	return true, nil
}

// isAlone reports whether an object is no copy.
func (c *copies) isAlone(m interface{ GetMetadata() *resourcev1.Metadata }) bool {
	return m.GetMetadata().GetSyncing().GetOwningRegion() != c.region
}

// alone is a service, nil if there is none of that name, with the requests that
// make what is of it and known here alone.
func (c *copies) alone(ctx context.Context, name resource.Name) (service *metav1.Service, of []proto.Message, err error) {
	err = c.s.store.Run(ctx, store.Consistent, func(ctx context.Context) error {
		service, of = nil, nil
		tx, _ := c.s.store.TxOf(ctx)
		m, err := c.s.store.Get(ctx, typ(tx, metav1.ServiceType), name)
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		service, _ = m.(*metav1.Service)
		for _, kind := range []string{metav1.DeploymentType, metav1.ResourceType} {
			err := tx.Scan(ctx, store.Scan{Type: kind, From: name + "/", To: name + "0"}, func(_ *schema.Resource, m proto.Message) bool {
				if x, ok := m.(interface{ GetMetadata() *resourcev1.Metadata }); ok && !c.isAlone(x) {
					return true
				}
				switch x := proto.Clone(m).(type) {
				case *metav1.Deployment:
					x.Metadata = nil
					of = append(of, &metav1.CreateDeploymentRequest{Parent: string(name), DeploymentId: x.Region(), Deployment: x})
				case *metav1.Resource:
					x.Metadata = nil
					of = append(of, &metav1.CreateResourceRequest{Parent: string(name), ResourceId: resource.Name(x.GetName()).ID(), Resource: x})
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return service, of, err
}

// give has the owner make something, unless it is there.
func (c *copies) give(ctx context.Context, as Caller, method string, req proto.Message) error {
	_, err := c.owner.Call(ctx, as, c.methods[method], req)
	if fault.KindOf(err) == fault.Exists {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s, of what was known here alone: %w", method, err)
	}
	return nil
}
