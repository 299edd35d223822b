// Package scheduler is the service of timers: it posts an event at each slot of
// each timer, exactly one for a slot.
//
// What a timer is, is in functions/scheduler/v1, and what is said by a crontab,
// in functions/scheduler/cron. Here is what fires them ([Service.Run]): a heap
// of when timers are due, filled from the store and kept by its changes. Timers
// that are due are read, their events published, and then what they did is
// saved. A crash between the last two posts the same events again, under the
// same source and id, which the broker drops. Where several processes have one
// store, one of them fires, by a lease ([Options.Shared]).
//
// [Function] sets timers for functions that reply events.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// Options are what a Service needs besides its store.
type Options struct {
	// Service configures the standard methods. Hooks and custom methods are
	// added to it. Its clock is that of the timers.
	Service service.Options
	// Publish makes events durable, or returns an error; then they come again.
	Publish func(ctx context.Context, events []event.Event) error
	// Shared is whether other processes have the same store: then only the one
	// that has the lease fires timers.
	Shared bool
}

// Service is the scheduler. Calls may be concurrent; one goroutine at a time may
// use Run and Step.
type Service struct {
	*service.Service
	store   *store.Store
	options Options
	log     *slog.Logger
	now     func() time.Time
	// timer and lease are the types.
	timer, lease *schema.Resource
	schedules    schedules
	engine
}

// NewService makes the scheduler over a store with its types.
func NewService(st *store.Store, o Options) (*Service, error) {
	desc, err := describe(st.Types())
	if err != nil {
		return nil, err
	}
	s := &Service{store: st, options: o, log: o.Service.Logger, now: o.Service.Now}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	for name, to := range map[string]**schema.Resource{schedulerv1.TimerType: &s.timer, schedulerv1.LeaseType: &s.lease} {
		if *to, err = typeOf(st.Types(), name); err != nil {
			return nil, err
		}
	}
	s.engine.holder = st.NewUID()
	so := o.Service
	so.Hooks = append(so.Hooks, service.On(service.Hooks[*schedulerv1.Timer]{Validate: s.validate}))
	so.Methods = append(so.Methods, service.Handle("PingSources.ApplyPingSource", s.applyPingSource))
	s.Service, err = service.New(desc, st, so)
	return s, err
}

// typeOf is one of the types of a store.
func typeOf(types *schema.Registry, name string) (*schema.Resource, error) {
	r, ok := types.Type(name)
	if !ok {
		return nil, fmt.Errorf("scheduler: the store does not have the type %s", name)
	}
	return r, nil
}

// describe finds the service among the types of a store.
func describe(types *schema.Registry) (*schema.Service, error) {
	for _, s := range types.Services() {
		if s.Package == schedulerv1.File_functions_scheduler_v1_scheduler_proto.Package() {
			return s, nil
		}
	}
	return nil, errors.New("scheduler: the store does not have the service's types")
}

// validate checks a timer, and says when it is due if that is another than
// before.
func (s *Service) validate(_ context.Context, old, t *schedulerv1.Timer) error {
	if i := t.GetInterval(); i != nil && i.GetAnchor() == nil {
		i.Anchor = timestamppb.New(s.now().Truncate(time.Second))
		if o := old.GetInterval(); o != nil {
			i.Anchor = o.GetAnchor()
		}
	}
	if err := t.Check(); err != nil {
		return err
	}
	if c := t.GetCron(); c != nil {
		if _, err := s.schedules.cron(c); err != nil {
			return err
		}
	}
	if old != nil && proto.Equal(when(old), when(t)) {
		return nil
	}
	return s.reset(t)
}

// when is what decides about the slots of a timer.
func when(t *schedulerv1.Timer) *schedulerv1.Timer {
	return &schedulerv1.Timer{
		Name: t.GetName(), Schedule: t.GetSchedule(), Jitter: t.GetJitter(), Paused: t.GetPaused(), EndTime: t.GetEndTime(), MaxFires: t.GetMaxFires(),
	}
}

// reset has a timer begin with its first slot after now. One that fires once
// does so even if its time is past, unless it did.
func (s *Service) reset(t *schedulerv1.Timer) error {
	if t.Status == nil {
		t.Status = &schedulerv1.TimerStatus{}
	}
	after := s.now()
	if t.GetAt() != nil {
		after = t.GetStatus().GetLastSlot().AsTime()
		if t.GetStatus().GetLastSlot() == nil {
			after = t.GetAt().AsTime().Add(-1)
		}
	}
	next, err := s.schedules.next(t, after)
	if err != nil {
		return err
	}
	if m := t.GetMaxFires(); m > 0 && t.GetStatus().GetFired() >= m {
		next = time.Time{}
	}
	await(t, next)
	if t.GetPaused() && !next.IsZero() {
		t.Status.State, t.Status.NextSlot, t.Status.NextFire = schedulerv1.TimerStatus_PAUSED, nil, nil
	}
	return nil
}

// within runs a transaction of the platform's own about a name.
func (s *Service) within(ctx context.Context, name resource.Name, f func(ctx context.Context) error) error {
	if s.options.Service.Policies != nil {
		follows, err := s.options.Service.Policies.For(ctx, name)
		if err != nil {
			return err
		}
		ctx = policy.With(ctx, follows)
	}
	return s.store.Run(ctx, store.Transaction, f)
}

// read is the timer of that name, nil if there is none.
func (s *Service) read(ctx context.Context, name resource.Name) (*schedulerv1.Timer, error) {
	m, err := s.store.Get(ctx, s.timer, name)
	if fault.KindOf(err) == fault.NotFound {
		return nil, nil
	}
	t, _ := m.(*schedulerv1.Timer)
	return t, err
}

// Set makes the timer, or changes the one of its name to it, on behalf of the
// platform. With the same mark as the one that there is, it does nothing; "" is
// no mark.
func (s *Service) Set(ctx context.Context, t *schedulerv1.Timer) error {
	return s.within(ctx, resource.Name(t.GetName()), func(ctx context.Context) error {
		old, err := s.read(ctx, resource.Name(t.GetName()))
		if err != nil {
			return err
		}
		fresh := proto.CloneOf(t)
		if old != nil {
			if mark := markOf(t); mark != "" && mark == markOf(old) {
				return nil
			}
			fresh.Status = old.GetStatus()
			annotations := fresh.GetMetadata().GetAnnotations()
			fresh.Metadata = proto.CloneOf(old.GetMetadata())
			for k, v := range annotations {
				if fresh.Metadata.Annotations == nil {
					fresh.Metadata.Annotations = map[string]string{}
				}
				fresh.Metadata.Annotations[k] = v
			}
		}
		if err := s.validate(ctx, old, fresh); err != nil {
			return err
		}
		return s.store.Save(ctx, fresh, store.SaveOptions{})
	})
}

// Cancel deletes the timer of that name, if there is one.
func (s *Service) Cancel(ctx context.Context, name resource.Name) error {
	return s.within(ctx, name, func(ctx context.Context) error {
		return s.store.Delete(ctx, s.timer, name, store.DeleteOptions{AllowMissing: true})
	})
}
