package platform

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	functionsaudit "selvedge.dev/functions/audit"
	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/logstore"
	trail "selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/sdk/audit"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// auditBucket is where the entries of the audit are.
const auditBucket = auditv1.Bucket

// expireTrail is how often the data of records is erased that are older than
// they are to be kept.
const expireTrail = time.Hour

// newRecorder makes what notes the calls. What its rules say counts once the
// service of the audit is open.
func (p *Platform) newRecorder(region string) *audit.Recorder {
	p.auditRules = new(functionsaudit.Rules)
	host, err := os.Hostname()
	if err != nil {
		p.log.Warn("records of the audit do not say which machine", slog.Any("error", err))
	}
	return audit.New(audit.Options{Region: region, Host: host, Reads: p.auditRules.Reads, Logger: p.log})
}

// openAudit opens the service of the audit and the trail.
func (p *Platform) openAudit(ctx context.Context, r *resources) (err error) {
	p.audit, err = functionsaudit.NewService(r.store, functionsaudit.Options{Service: r.options, Logs: p.logs, Rules: p.auditRules})
	if err != nil {
		return err
	}
	identity, err := r.store.Identity(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(p.config.Data, "audit")
	keys, err := trail.OpenKeyring(filepath.Join(dir, "keys"), "selvedge.dev/platforms/"+identity, nil)
	if err != nil {
		return fmt.Errorf("open the keys of the audit: %w", err)
	}
	p.trail, err = trail.Open(dir, trail.Options{Signer: keys, Logger: p.log})
	if err != nil {
		return fmt.Errorf("open the trail of the audit: %w", err)
	}
	p.onClose(p.trail.Close)
	return nil
}

// runAudit records until ctx ends.
func (p *Platform) runAudit(ctx context.Context) error {
	keeper := &functionsaudit.Keeper{Trail: p.trail, Logs: auditLogs{p.intake}, Logger: p.log}
	relay := audit.NewRelay(p.resources.store, keeper.Take, audit.RelayOptions{Labels: p.auditRules.Labels, Logger: p.log})
	g, ctx := errgroup.WithContext(ctx)
	for name, run := range map[string]func(context.Context) error{
		"relay": relay.Run, "trail": p.trail.Run, "expiry": p.runTrailExpiry,
		"calls": func(ctx context.Context) error { return p.recorder.Run(ctx, p.resources.store) },
	} {
		g.Go(func() error {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("audit: %s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// runTrailExpiry erases the data of records that are older than they are to be
// kept, until ctx ends. Their headers stay, so that the chains can be verified.
func (p *Platform) runTrailExpiry(ctx context.Context) error {
	tick := time.NewTicker(expireTrail)
	defer tick.Stop()
	for {
		for _, project := range p.trail.Projects() {
			var policies []trail.Policy
			for category := range resourcev1.ActivityLog_Category_value {
				policies = append(policies, trail.Policy{Category: category, Keep: p.auditRules.Keep(project, category)})
			}
			if _, err := p.trail.Retain(ctx, project, policies); err != nil && ctx.Err() == nil {
				p.log.ErrorContext(ctx, "old records of the audit not erased", slog.String("project", project), slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// auditLogs has the intake say of each entry why it was refused.
type auditLogs struct{ *intake.Intake }

// Write implements functionsaudit.Logs.
func (l auditLogs) Write(ctx context.Context, entries []logstore.Entry) ([]error, error) {
	outcomes, err := l.Intake.Write(ctx, entries)
	if err != nil {
		return nil, err
	}
	refused := make([]error, len(outcomes))
	for i := range outcomes {
		refused[i] = outcomes[i].Err
	}
	return refused, nil
}
