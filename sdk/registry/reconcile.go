package registry

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
)

// defaultHeartbeat is a third of the lease of a deployment.
const defaultHeartbeat = 20 * time.Second

// runReconcile keeps what is registered as it is to be, until ctx ends: now and
// then, and at once when something of it was removed. What is not possible is
// tried again, and logged once for each reason.
func (r *Registry) runReconcile(ctx context.Context) {
	select {
	case <-r.registered:
	case <-ctx.Done():
		return
	}
	wait, failing := r.o.Heartbeat, ""
	if r.behind {
		wait = r.o.Retry
	}
	for {
		timer := time.NewTimer(time.Duration(float64(wait) * (0.75 + rand.Float64()/4)))
		select {
		case <-timer.C:
		case <-r.missing:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
		_, err := r.reconcile(ctx)
		kind := fault.KindOf(err)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if failing != "" {
				r.log.LogAttrs(ctx, slog.LevelInfo, "registered again", slog.String("service", r.domain))
			}
			wait, failing = r.o.Heartbeat, ""
		case kind == fault.Conflict, kind == fault.Exists: // others do the same
			wait = min(r.o.Retry, r.o.Heartbeat) / patience
		default:
			if reason := fault.ReasonOf(err); reason != failing {
				failing = reason
				r.log.LogAttrs(ctx, slog.LevelWarn, "what is registered cannot be kept as it is to be", slog.String("service", r.domain), slog.Any("error", err))
			}
			wait = min(r.o.Retry, r.o.Heartbeat)
		}
	}
}

// reconcile makes what is registered what it is to be, and returns the names of
// the services that this one relates to.
func (r *Registry) reconcile(ctx context.Context) (related []string, err error) {
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"region", r.ensureRegion},
		{"service", func(ctx context.Context) error {
			s, err := r.ensureService(ctx)
			related = s.Related()
			return err
		}},
		{"deployment", r.ensureDeployment},
		{"resources", r.ensureResources},
	}
	for _, step := range steps {
		if err := step.do(ctx); err != nil {
			return related, fmt.Errorf("registering the %s of %s: %w", step.what, r.domain, err)
		}
	}
	return related, nil
}

// lastService is the service as it was known last, to be made again; an empty one
// if nothing was.
func (r *Registry) lastService() *metav1.Service {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.last.service == nil {
		return &metav1.Service{}
	}
	s := proto.CloneOf(r.last.service)
	s.Metadata, s.Project = nil, ""
	return s
}

// wasDisabled reports whether the deployment was disabled when it was known last:
// removing it does not enable it.
func (r *Registry) wasDisabled() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.last.disabled
}

// keep notes what is known of the service itself, and has what was removed of it
// be made again.
func (r *Registry) keep(e Event) {
	switch {
	case e.Kind == ServiceSet && e.Service.GetName() == r.ownService():
		r.mu.Lock()
		defer r.mu.Unlock()
		r.last.service = e.Service
	case e.Kind == DeploymentSet && e.Deployment.GetName() == r.ownDeployment():
		r.mu.Lock()
		defer r.mu.Unlock()
		r.last.disabled = e.Deployment.GetIsDisabled()
	case e.Kind == ServiceRemoved && e.OldService.GetName() == r.ownService(),
		e.Kind == DeploymentRemoved && e.OldDeployment.GetName() == r.ownDeployment():
		select {
		case r.missing <- struct{}{}:
		default:
		}
	}
}
