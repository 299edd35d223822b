package platform

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	functionsaudit "selvedge.dev/functions/audit"
	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/logstore"
	trail "selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/audit/rules"
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
	p.auditRules = new(rules.Rules)
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
	keys, err := p.openAuditKeys(filepath.Join(dir, "keys"), identity)
	if err != nil {
		return fmt.Errorf("open the keys of the audit: %w", err)
	}
	p.auditKeys, p.auditRelay = keys, relayName(keys.Keys())
	p.trail, err = trail.Open(dir, trail.Options{Signer: keys, Logger: p.log})
	if err != nil {
		return fmt.Errorf("open the trail of the audit: %w", err)
	}
	p.onClose(p.trail.Close)
	return nil
}

// openAuditKeys opens the keys of the trail. Of several platforms on one database
// each has its own trail: no two sign under one name.
func (p *Platform) openAuditKeys(dir, identity string) (*trail.Keyring, error) {
	name, err := trail.KeyringName(dir)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = "selvedge.dev/platforms/" + identity
		if p.config.Database != "" {
			name += "." + strings.ToLower(rand.Text()[:8])
		}
	}
	return trail.OpenKeyring(dir, name, nil)
}

// rotateAuditKey makes the next signing key of the trail.
func (p *Platform) rotateAuditKey() error {
	if err := p.auditKeys.Rotate(); err != nil {
		return err
	}
	keys := p.auditKeys.Keys()
	p.log.Info("the audit is signed with another key", slog.String("key", keys[len(keys)-1].ID()))
	return nil
}

// relayPrefix begins the names of the relays of all platforms on the database. One
// that had no other name was that of an earlier release.
const relayPrefix = "audit"

// relayName is the name of the relay into a trail, by its first key, which no other
// trail has.
func relayName(keys chain.Keys) string {
	id := keys[0].ID()
	return relayPrefix + "-" + id[strings.LastIndexByte(id, '+')+1:]
}

// How long a platform may be away, while others run, until nothing is kept in the
// feed for its trail any more, and how often that is looked at.
const (
	relayGone  = 7 * 24 * time.Hour
	relayCheck = time.Hour
)

// runRelayCheck forgets the relays of platforms that are gone, until ctx ends.
func (p *Platform) runRelayCheck(ctx context.Context) error {
	tick := time.NewTicker(relayCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		gone, err := p.resources.store.Forsake(ctx, relayPrefix, p.auditRelay, time.Now().Add(-relayGone))
		if err != nil && ctx.Err() == nil {
			p.log.Warn("other platforms' relays of the audit are not checked", slog.Any("error", err))
		}
		for _, name := range gone {
			p.log.Warn("the feed is no longer kept for a platform that is gone", slog.String("relay", name), slog.Duration("for", relayGone))
		}
	}
}

// runAudit records until ctx ends.
func (p *Platform) runAudit(ctx context.Context) error {
	keeper := &functionsaudit.Keeper{Trail: p.trail, Logs: auditLogs{p.intake}, Logger: p.log}
	relay := audit.NewRelay(p.resources.store, keeper.Take, audit.RelayOptions{Name: p.auditRelay, Labels: p.auditRules.Labels, Logger: p.log})
	g, ctx := errgroup.WithContext(ctx)
	for name, run := range map[string]func(context.Context) error{
		"relay": relay.Run, "trail": p.trail.Run, "expiry": p.runTrailExpiry, "relays": p.runRelayCheck,
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
