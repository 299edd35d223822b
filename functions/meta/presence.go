package meta

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Lease is for how long a deployment counts as running after a sign of life: three
// times the pause between two, so that one that is lost changes nothing.
const Lease = time.Minute

// leaseChecks is how often leases are looked at.
const leaseChecks = Lease / 4

// expired is why Run saves a deployment of which nothing was heard.
const expired = "LEASE_EXPIRED"

// presence is the plugin that says when a deployment was heard of last, by the
// clock of the store. A sign of life is that somebody writes RUNNING without a
// time. Whatever else callers say about it does not count, such as what they
// read before.
type presence struct{}

var _ store.Plugin = presence{}

// Prepare implements [store.Plugin].
func (presence) Prepare(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	after, ok := w.After.(*metav1.Deployment)
	if !ok || !w.Asked() || copying(ctx) != nil {
		return nil
	}
	before, _ := w.Before.(*metav1.Deployment)
	is := after.GetPresence()
	if is.GetState() == metav1.Presence_RUNNING && is.GetLastSeenTime() == nil {
		after.Presence = &metav1.Presence{State: metav1.Presence_RUNNING, LastSeenTime: timestamppb.New(tx.Now())}
		return nil
	}
	after.Presence = proto.CloneOf(before.GetPresence())
	return nil
}

// runLeases looks at the leases until ctx ends. The first time is a lease after
// its start: nobody could be heard of before.
func (s *Service) runLeases(ctx context.Context) {
	timer := time.NewTimer(Lease)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := s.Expire(ctx); err != nil && ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "leases cannot be looked at", slog.Any("error", err))
		}
		timer.Reset(leaseChecks)
	}
}

// Expire says of every deployment that was not heard of for a [Lease] that it is
// gone. Nothing else becomes of it: it is removed by operators alone.
func (s *Service) Expire(ctx context.Context) error {
	var late []resource.Name
	err := s.store.Run(ctx, store.Consistent, func(ctx context.Context) error {
		tx, _ := s.store.TxOf(ctx)
		late = nil
		return tx.Scan(ctx, store.Scan{Type: metav1.DeploymentType}, func(_ *schema.Resource, m proto.Message) bool {
			if d, ok := m.(*metav1.Deployment); ok && isLate(d, tx.Now()) {
				late = append(late, resource.Name(d.GetName()))
			}
			return true
		})
	})
	if err != nil {
		return fmt.Errorf("reading the deployments: %w", err)
	}
	for _, name := range late {
		if err := s.expire(ctx, name); err != nil {
			return fmt.Errorf("ending the lease of %s: %w", name, err)
		}
		s.log.LogAttrs(ctx, slog.LevelWarn, "a deployment is not heard of any more", slog.String("deployment", string(name)))
	}
	return nil
}

// expire says of a deployment that it is gone, unless it was heard of meanwhile.
func (s *Service) expire(ctx context.Context, name resource.Name) error {
	return s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		tx, _ := s.store.TxOf(ctx)
		m, err := s.store.Get(ctx, typ(tx, metav1.DeploymentType), name)
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		d, ok := m.(*metav1.Deployment)
		if !ok || !isLate(d, tx.Now()) {
			return nil
		}
		d.Presence.State = metav1.Presence_GONE
		return s.store.Save(ctx, d, store.SaveOptions{Update: true, Reason: expired})
	})
}

// isLate reports whether a deployment that counts as running was not heard of
// for a lease.
func isLate(d *metav1.Deployment, now time.Time) bool {
	is := d.GetPresence()
	return is.GetState() == metav1.Presence_RUNNING && now.Sub(is.GetLastSeenTime().AsTime()) >= Lease
}
