package devices

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// resolveDevice returns the device that has the alias of the request.
func (s *Service) resolveDevice(ctx context.Context, req *devicesv1.ResolveDeviceRequest) (*devicesv1.Device, error) {
	project, err := resource.Project.Parse(req.GetParent())
	if err != nil {
		return nil, err
	}
	alias := devicesv1.External{Network: req.GetNetwork(), Key: req.GetKey(), Value: req.GetValue()}
	if err := alias.Check(); err != nil {
		return nil, err
	}
	d, err := s.Resolve(ctx, project.ID(), alias)
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(d), nil // the caller's own
}

// addAlias gives the device an alias. One that it has already is no error, so
// that the request can be repeated.
func (s *Service) addAlias(ctx context.Context, req *devicesv1.AddAliasRequest) (*devicesv1.Device, error) {
	return s.edit(ctx, req.GetName(), req.GetAlias(), func(d *devicesv1.Device, i int) error {
		if i < 0 {
			d.Aliases = append(d.Aliases, req.GetAlias())
		}
		return nil
	})
}

// removeAlias takes an alias from the device that has it.
func (s *Service) removeAlias(ctx context.Context, req *devicesv1.RemoveAliasRequest) (*devicesv1.Device, error) {
	return s.edit(ctx, req.GetName(), req.GetAlias(), func(d *devicesv1.Device, i int) error {
		if i < 0 {
			return &fault.Error{
				Op: "devices.RemoveAlias", Name: d.GetName(), Kind: fault.NotFound, Field: "alias",
				Err: fmt.Errorf("%s does not have the alias %s", d.GetName(), req.GetAlias().External()),
			}
		}
		d.Aliases = slices.Delete(d.Aliases, i, i+1)
		return nil
	})
}

// edit changes the aliases of a device, in the transaction of the method. The
// change is told where the alias is among them, or -1.
func (s *Service) edit(ctx context.Context, name string, alias *devicesv1.Alias, change func(*devicesv1.Device, int) error) (*devicesv1.Device, error) {
	if err := alias.External().Check(); err != nil {
		return nil, err
	}
	m, err := s.store.Get(ctx, s.device, resource.Name(name))
	if err != nil {
		return nil, err
	}
	d, ok := m.(*devicesv1.Device)
	if !ok {
		return nil, fmt.Errorf("BUG: devices: %s is a %T", name, m)
	}
	i := slices.IndexFunc(d.GetAliases(), func(a *devicesv1.Alias) bool { return a.External() == alias.External() })
	if err := change(d, i); err != nil {
		return nil, err
	}
	if err := d.Check(); err != nil {
		return nil, err
	}
	return d, s.store.Save(ctx, d, store.SaveOptions{Update: true})
}
