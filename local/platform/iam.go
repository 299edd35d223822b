package platform

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	functionsaudit "selvedge.dev/functions/audit"
	functionsiam "selvedge.dev/functions/iam"
	"selvedge.dev/functions/logging"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/iam/feed"
	"selvedge.dev/sdk/iam/oidc"
	"selvedge.dev/sdk/member"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

// doorPermissions are the permissions that doors ask for which are in no proto
// file of a service.
var doorPermissions = []string{
	iam.Publish,
	"iam.deviceKeys.create", "iam.deviceKeys.delete", "iam.deviceKeys.list",
	"iam.keys.create", "iam.keys.delete", "iam.keys.list",
	"logging.losses.list",
	"monitoring.metricDescriptors.create", "monitoring.metricDescriptors.delete", "monitoring.metricDescriptors.list",
	"monitoring.timeSeries.create", "monitoring.timeSeries.delete", "monitoring.timeSeries.list",
	"monitoring.timeSeriesBounds.get", "monitoring.timeSeriesBounds.update",
	createSnapshot, "platform.status.get",
	"reference.peers.call",
	"triggers.deadLetters.get", "triggers.deadLetters.list", "triggers.deadLetters.replay", "triggers.traces.get",
}

// OIDC is an OpenID Connect provider.
type OIDC struct {
	// Issuer is its address, ClientID what it calls this platform.
	Issuer, ClientID string
	// SecretFile is the file with the client's secret; "" is a public client.
	SecretFile string
}

// openProvider makes the provider that people sign in at, nil for none.
func (p *Platform) openProvider(publicURL string) (*oidc.Provider, error) {
	c := p.config.OIDC
	if c.Issuer == "" {
		return nil, nil
	}
	var secret []byte
	if c.SecretFile != "" {
		var err error
		if secret, err = os.ReadFile(c.SecretFile); err != nil {
			return nil, fmt.Errorf("the secret of the OpenID Connect client: %w", err)
		}
	}
	return oidc.New(oidc.Options{
		Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: string(bytes.TrimSpace(secret)), RedirectURL: publicURL + functionsiam.CallbackPath,
	})
}

// newAccess makes what decides who may do what. It knows nothing before
// openAccounts.
func (p *Platform) newAccess(types *schema.Registry) error {
	engine := access.New(access.Options{Implied: iam.ImpliedOn(member.Domains(types))})
	p.feed = feed.New(engine)
	var err error
	p.access, err = iam.NewAuthorizer(engine)
	return err
}

// openAccounts opens the service of accounts and roles, and has decisions know
// what there is.
func (p *Platform) openAccounts(ctx context.Context) error {
	st := p.resources.store
	if err := p.feed.Fill(ctx, st); err != nil {
		return err
	}
	identity, err := st.Identity(ctx)
	if err != nil {
		return err
	}
	issuer := event.Authority + "platforms/" + identity
	public := strings.TrimSuffix(cmp.Or(p.config.PublicURL, p.URL()), "/")
	provider, err := p.openProvider(public)
	if err != nil {
		return err
	}
	p.accounts, err = functionsiam.NewAccounts(st, p.feed, functionsiam.AccountsOptions{
		Service: p.resources.options, Issuer: issuer, Permissions: slices.Concat(clusterPermissions(), logging.Permissions(), functionsaudit.Permissions(), doorPermissions), Provider: provider, PublicURL: public, InUse: p.inUse,
	})
	if err != nil {
		return err
	}
	p.who = iam.NewAccountAuthenticator(p.feed.Accounts(), issuer, p.keyring)
	return p.accounts.Seed(ctx)
}

// inUse reports whether a project has keys, descriptors of metrics or events.
func (p *Platform) inUse(ctx context.Context, project resource.Name) (bool, error) {
	keys, err := p.keyring.List(ctx, iam.Query{Project: project.ID(), Limit: 1})
	if err != nil || len(keys) > 0 {
		return true, err
	}
	metrics, err := p.metrics.List(ctx, project.ID())
	if err != nil || len(metrics) > 0 {
		return true, err
	}
	return p.logDoors.HasEvents(ctx, project.ID())
}

// maxKeys bounds the keys that are read at once.
const maxKeys = 1000

// revokeEnded revokes the keys of devices that ended while this platform was away:
// of several on one database each has keys of its own, and any of them may have told
// the database that it knows of the end.
func (p *Platform) revokeEnded(ctx context.Context) error {
	for after := ""; ; {
		keys, err := p.keyring.List(ctx, iam.Query{Kind: iam.Device, After: after, Limit: maxKeys})
		if err != nil {
			return fmt.Errorf("reading the keys of devices: %w", err)
		}
		names := make([]resource.Name, len(keys))
		for i, k := range keys {
			names[i], after = resource.Name(k.Principal), k.ID
		}
		made, err := p.registry.Made(ctx, names)
		if err != nil {
			return fmt.Errorf("reading the devices that have keys: %w", err)
		}
		for i, k := range keys {
			if !made[i].IsZero() && made[i].Before(k.CreateTime) {
				continue
			}
			if err := p.registry.Ended(ctx, names[i]); err != nil {
				return fmt.Errorf("the keys of %s: %w", k.Principal, err)
			}
		}
		if len(keys) < maxKeys {
			return nil
		}
	}
}
