// Package devices is the registry of devices and their blueprints: the service
// of functions/devices/v1 on the framework of sdk/service, and the
// [devicesv1.Reader] of the process that it runs in.
//
// What a type is and how its objects refer to each other is in devices.proto.
// Here are the rules that a proto file cannot say, the methods about aliases,
// and what a device's end entails: its credentials go with it. The Reader's
// answers are exact in the process that writes: what a write changed is read
// as it is now by everyone who asks after the write returned.
package devices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// Options are what a Service needs besides its store.
type Options struct {
	// Service configures the standard methods. Hooks and custom methods are
	// added to it.
	Service service.Options
	// Deleted, if not nil, is told of devices that are no more, and until when
	// their credentials were made: these go too, and later ones are those of a
	// device of the same name that was made since. It is told at least once,
	// again after an error, and also after a crash.
	Deleted func(ctx context.Context, device string, until time.Time) error
}

// Service is the registry.
type Service struct {
	*service.Service
	store   *store.Store
	options Options
	log     *slog.Logger
	*reader
}

var _ devicesv1.Reader = (*Service)(nil)

// NewService makes the registry over a store with its types. It must be the store
// whose [store.Options].Written is the Written of [NewIndex].
func NewService(st *store.Store, index *Index, o Options) (*Service, error) {
	desc, err := describe(st.Types())
	if err != nil {
		return nil, err
	}
	s := &Service{store: st, options: o, log: o.Service.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.reader, err = newReader(st, index); err != nil {
		return nil, err
	}
	so := o.Service
	so.Hooks = append(so.Hooks,
		service.On(service.Hooks[*devicesv1.Device]{Validate: func(_ context.Context, _, d *devicesv1.Device) error { return d.Check() }}),
		service.On(service.Hooks[*devicesv1.Blueprint]{Validate: func(_ context.Context, _, b *devicesv1.Blueprint) error { return b.Check() }}),
	)
	so.Methods = append(so.Methods,
		service.Handle("Aliases.ResolveDevice", s.resolveDevice),
		service.Handle("Aliases.AddAlias", s.addAlias),
		service.Handle("Aliases.RemoveAlias", s.removeAlias),
	)
	s.Service, err = service.New(desc, st, so)
	return s, err
}

// describe finds the service among the types of a store.
func describe(types *schema.Registry) (*schema.Service, error) {
	for _, s := range types.Services() {
		if s.Package == devicesv1.File_functions_devices_v1_devices_proto.Package() {
			return s, nil
		}
	}
	return nil, errors.New("devices: the store does not have the service's types")
}

// deletedCursor is the name under which the store keeps how far Run is.
const deletedCursor = "devices-deleted"

// Run follows the changes of devices until ctx ends: it tells Options.Deleted of
// those that are no more, and has the [Reader] know what other processes wrote.
func (s *Service) Run(ctx context.Context) error {
	return s.store.Tail(ctx, deletedCursor, func(ctx context.Context, changes []store.Change) error {
		for _, c := range changes {
			if c.Type == deviceType {
				s.index.changed(c.Name, c.Before, c.After)
			}
		}
		for _, c := range changes {
			if c.Type != deviceType || c.After != nil {
				continue
			}
			if err := s.Ended(ctx, c.Name); err != nil {
				return fmt.Errorf("end of %s: %w", c.Name, err)
			}
		}
		return nil
	})
}

// Ended tells Options.Deleted of a device that was deleted: that its end is now,
// or, if there is one of that name again, when that one was made. Run calls it, and
// who has credentials of devices whose end Run may not have seen.
func (s *Service) Ended(ctx context.Context, name resource.Name) error {
	if s.options.Deleted == nil {
		return nil
	}
	at := s.store.Now() // before looking: what is made later is another's
	err := s.store.Run(ctx, store.Consistent, func(ctx context.Context) error {
		m, err := s.store.Get(ctx, s.device, name)
		if err == nil {
			at = before(s.device.MetadataOf(m).GetCreateTime().AsTime())
		}
		return err
	})
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return err
	}
	return s.options.Deleted(ctx, string(name), at)
}

// Made are when devices were made, the zero time for those that there are not.
func (s *Service) Made(ctx context.Context, names []resource.Name) (made []time.Time, err error) {
	err = s.store.Run(ctx, store.Consistent, func(ctx context.Context) error {
		all, err := s.store.BatchGet(ctx, s.device, names)
		made = make([]time.Time, len(all))
		for i, m := range all {
			if m != nil {
				made[i] = s.device.MetadataOf(m).GetCreateTime().AsTime()
			}
		}
		return err
	})
	return made, err
}

// before is before all of the millisecond of t: times are kept no finer
// elsewhere.
func before(t time.Time) time.Time { return t.Truncate(time.Millisecond).Add(-1) }

// Call is that of the service. Who deletes a device by its name can rely on
// its credentials being gone when he is answered.
func (s *Service) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	out, err := s.Service.Call(ctx, m, req)
	del, ok := req.(*devicesv1.DeleteDeviceRequest)
	if !ok || err != nil || del.GetValidateOnly() {
		return out, err
	}
	if _, err := s.Device(ctx, del.GetName()); fault.KindOf(err) != fault.NotFound {
		return out, nil // it lives: the deletion waits for others
	}
	if err := s.Ended(ctx, resource.Name(del.GetName())); err != nil {
		// Run does it: the deletion is done and cannot be taken back.
		s.log.WarnContext(ctx, "credentials of a deleted device are still there", slog.String("device", del.GetName()), slog.Any("error", err))
	}
	return out, nil
}

// Register makes a device of that name unless there is one: what the platform
// does for the machine that it runs on.
func (s *Service) Register(ctx context.Context, name resource.Name) error {
	err := s.save(ctx, name, &devicesv1.Device{Name: string(name)})
	if fault.KindOf(err) == fault.Exists {
		return nil
	}
	return err
}
