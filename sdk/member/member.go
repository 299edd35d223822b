// Package member serves one of the platform's own services from a process of its
// own, such as a function that func deploys: beside the platform, on the PostgreSQL
// that both have. It decides as the platform does, by the same accounts, roles and
// bindings, which it follows in the database, and what it changes has the same
// rules, references and records of the audit. What goes on beside the calls, such as
// to end what depends on what was deleted, to hand on records and to publish
// changes, is the platform's.
//
// A member is of a platform of one region, and of its release. References to
// resources of services with databases of their own are made and found at the
// platform alone: where such a one must be asked, the call is refused.
package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/audit/rules"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/iam/feed"
	"selvedge.dev/sdk/iam/remote"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/postgres"
	"selvedge.dev/sdk/watch"
)

// The environment of a member.
const (
	// URLVariable is where the platform is, DatabaseVariable its PostgreSQL. Both
	// are required.
	URLVariable      = "SELVEDGE_URL"
	DatabaseVariable = "SELVEDGE_DATABASE"
	// RegionVariable is the platform's region, "local" if it was told none.
	RegionVariable = "SELVEDGE_REGION"
)

// defaultRegion is the region of a platform that was told none.
const defaultRegion = "local"

// cached bounds the resources in memory, at about a kilobyte each.
const cached = 10_000

// Options are what a member has besides what all have.
type Options struct {
	// First and Last are plugins of the store, before and behind those of every
	// store of the platform.
	First, Last []store.Plugin
	// Written, if not nil, is told of what this process wrote.
	Written func([]store.Write)
	// Logger is told what goes wrong; nil discards.
	Logger *slog.Logger
}

// Member is the platform's store with all that a service on it needs. It may be
// used concurrently.
type Member struct {
	// Store is the platform's, Service what services on it are made with.
	Store   *store.Store
	Service service.Options
	// Feed knows who there is, Issuer whom the platform's tokens are from.
	Feed   *feed.Feed
	Issuer string

	// region is the platform's, and so the store's.
	region string
	who    iam.Authenticator
	driver *postgres.Driver
	hub    *watch.Hub
	log    *slog.Logger
}

// Region is the region that an environment says.
func Region(env map[string]string) string { return cmp.Or(env[RegionVariable], defaultRegion) }

// Open opens the store as the environment says. The platform must have opened it
// before, and run: a database that is not the one of the platform at the URL is
// refused. The member is to be closed.
func Open(ctx context.Context, env map[string]string, o Options) (*Member, error) {
	for _, name := range []string{URLVariable, DatabaseVariable} {
		if env[name] == "" {
			return nil, &fault.Error{Op: "member.Open", Kind: fault.Invalid, Reason: "NOT_CONFIGURED", Field: name, Err: errors.New(name + " is not set")}
		}
	}
	m := &Member{log: o.Logger, region: Region(env)}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if m.driver, err = postgres.Open(ctx, env[DatabaseVariable], postgres.Options{Logger: m.log}); err != nil {
		return nil, err
	}
	if err := m.open(ctx, remote.New(remote.Options{URL: env[URLVariable], Function: env[iam.FunctionVariable]}), o); err != nil {
		return nil, errors.Join(err, m.driver.Close())
	}
	return m, nil
}

// Close closes the database.
func (m *Member) Close() error { return m.driver.Close() }

// open opens what is on the driver.
func (m *Member) open(ctx context.Context, platform *remote.Platform, o Options) error {
	types, err := Types()
	if err != nil {
		return err
	}
	engine := access.New(access.Options{Implied: iam.ImpliedOn(Domains(types))})
	m.Feed = feed.New(engine)
	authorizer, err := iam.NewAuthorizer(engine)
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // "" is that nobody knows
	recorded := new(rules.Rules)
	recorder := audit.New(audit.Options{Region: m.region, Host: host, Reads: recorded.Reads, Logger: m.log})
	policies := Policies(types, ServicePolicy([]string{m.region}, m.region), func() *store.Store { return m.Store })
	references := reference.New(reference.Options{Region: m.region, Logger: m.log})
	m.Store = store.New(m.driver, types, store.Options{
		Plugins: Plugins(o.First, policies, m.region, append(slices.Clone(o.Last), references, recorder)...), Cached: cached, Logger: m.log,
		Written: func(writes []store.Write) {
			if o.Written != nil {
				o.Written(writes)
			}
			m.Feed.Written(writes)
		},
	})
	if err := m.belongs(ctx, platform); err != nil {
		return err
	}
	if err := m.Feed.Fill(ctx, m.Store); err != nil {
		return err
	}
	recorded.Use(m.Store)
	m.who = iam.NewAccountAuthenticator(m.Feed.Accounts(), m.Issuer, platform)
	m.hub = watch.NewHub(m.Store, watch.HubOptions{Logger: m.log})
	m.Service = service.Options{
		Authorize: authorizer.Allow, Visible: authorizer.Visible, Hub: m.hub, Planner: references, Policies: policies, Audit: recorder, Logger: m.log,
	}
	return nil
}

// belongs refuses a store that is not that of the platform, of this release, and
// of its one region.
func (m *Member) belongs(ctx context.Context, platform *remote.Platform) error {
	identity, err := m.Store.Identity(ctx)
	if err != nil {
		return err
	}
	m.Issuer = event.Authority + "platforms/" + identity
	issuer, err := platform.Issuer(ctx)
	if err != nil {
		return err
	}
	refuse := func(reason, format string, args ...any) error {
		return &fault.Error{Op: "member.Open", Kind: fault.Precondition, Reason: reason, Err: fmt.Errorf(format, args...)}
	}
	if issuer != m.Issuer {
		return refuse("ANOTHER_DATABASE", "%s has the database of %s, and the platform at %s is %s", DatabaseVariable, m.Issuer, URLVariable, issuer)
	}
	if err := m.Store.Indexed(ctx); err != nil {
		return err
	}
	regions, err := all[*metav1.Region](ctx, m.Store, metav1.RegionType)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(regions, func(r *metav1.Region) bool { return resource.Name(r.GetName()).ID() == m.region }) {
		return refuse("NO_SUCH_REGION", "%s is %q, which is no region of the platform", RegionVariable, m.region)
	}
	if len(regions) > 1 {
		return refuse("MANY_REGIONS", "the platform has %d regions, and only one of one region has services as functions", len(regions))
	}
	return nil
}

// all are the objects of a type, of which there are not many.
func all[M proto.Message](ctx context.Context, st *store.Store, name string) (out []M, err error) {
	typ, ok := st.Types().Type(name)
	if !ok {
		return nil, fmt.Errorf("BUG: member: the store does not have the type %s", name)
	}
	err = st.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
		tx, _ := st.TxOf(ctx)
		out = nil
		return tx.Scan(ctx, store.Scan{Type: name}, func(_ *schema.Resource, m proto.Message) bool {
			if x, ok := m.(M); ok {
				out = append(out, x)
			}
			return true
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading what there is of %s: %w", typ.Type, err)
	}
	return out, nil
}

// servicesOf are the domains of the services of a project that are not the
// platform's own.
func (m *Member) servicesOf(ctx context.Context, project string) (domains []string, err error) {
	services, err := all[*metav1.Service](ctx, m.Store, metav1.ServiceType)
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		own := strings.TrimPrefix(s.GetProject(), "projects/")
		if project != "" && own == project && slices.Contains(s.Regions(), m.region) && !Has(m.Store.Types(), s.Domain()) {
			domains = append(domains, s.Domain())
		}
	}
	slices.Sort(domains)
	return domains, nil
}

// lookEvery is how often signing keys are read again, and whose the database is.
const lookEvery = feed.Announced / 3

// look learns of new signing keys, every so often, until ctx ends, or a platform of
// another release has the database: what is written here it would not find.
func (m *Member) look(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := m.Store.Indexed(ctx)
		if fault.KindOf(err) == fault.Precondition {
			return err
		}
		if err = errors.Join(err, m.Feed.Learn(ctx)); err != nil && ctx.Err() == nil {
			m.log.WarnContext(ctx, "signing keys are learned later", slog.Any("error", err))
		}
	}
}
