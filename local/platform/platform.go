// Package platform is Selvedge on one machine: every engine with its embedded
// default, every function in this process, one data folder and one port.
//
// It only puts parts together. What a part promises is in its own package;
// what this one adds is the order of things: nothing is answered before the
// stores are open, and on the way down the door closes first, then the
// triggers finish what is in hand, then the stores are made durable.
package platform

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	functionsaudit "selvedge.dev/functions/audit"
	"selvedge.dev/functions/devices"
	functionsiam "selvedge.dev/functions/iam"
	"selvedge.dev/functions/logging"
	"selvedge.dev/functions/meta"
	"selvedge.dev/functions/monitoring"
	"selvedge.dev/functions/reason"
	"selvedge.dev/functions/scheduler"
	"selvedge.dev/functions/writer"
	"selvedge.dev/local/cluster/eventing"
	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/registry"
	"selvedge.dev/local/cluster/serving"
	"selvedge.dev/local/collector"
	"selvedge.dev/logstore"
	trail "selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/audit/rules"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/feed"
	"selvedge.dev/sdk/reference/peering"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/ledger"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/catalog"
	"selvedge.dev/tsdb/guard"
	"selvedge.dev/tsdb/ingest/wire"
	"selvedge.dev/tsdb/rollup"
	"selvedge.dev/tsdb/vm"
)

// Config configures a platform.
type Config struct {
	// Data is the folder of everything that it keeps.
	Data string
	// Listen is the address of its port, "127.0.0.1:8080"; port 0 takes any.
	Listen string
	// TLSCert and TLSKey are PEM files; with them the port speaks TLS.
	TLSCert, TLSKey string
	// Region is the region that the platform is; "local" by default.
	Region string
	// Peers are the platforms of other regions, by region. What is here may
	// refer to what is there.
	Peers map[string]Peer
	// RenewPeers are the regions whose platforms have another database than
	// before, on purpose. Any other that has is not believed.
	RenewPeers []string
	// RenewServices are the domains of services that are not the platform's own
	// and have another database than before, on purpose.
	RenewServices []string
	// Primary is the region whose platform has the registry, of which all others
	// have copies; "" is the one that had it, or else the first by name.
	Primary string
	// OwnerTimeout is how long the owner of a resource may be missing before
	// the resource no longer has it; 0 is 5 minutes.
	OwnerTimeout time.Duration
	// OwnerRecheck is how often owners and references in other regions are
	// asked for without a reason to; 0 is 1 hour.
	OwnerRecheck time.Duration
	// Database is the PostgreSQL connection string of the resources; "" keeps
	// them in the data folder.
	Database string
	// Series is the address of the VictoriaMetrics server that keeps the points;
	// "" keeps them in the data folder. See vm.Remote for how it must be set up.
	Series string
	// SeriesCluster are the addresses of the VictoriaMetrics cluster that keeps
	// them instead of such a server; its zero value is none.
	SeriesCluster vm.Cluster
	// Logs is the DSN of the ClickHouse server that keeps the entries of logs,
	// clickhouse://USER:PASSWORD@HOST:9000/DATABASE; "" keeps them in the data
	// folder.
	Logs string
	// MaxSeries bounds the active series of a project that has no bound of its
	// own; 0 is guard's default.
	MaxSeries int
	// QueryMemory bounds the memory of all queries of time series together, in
	// bytes; 0 is 1 GiB. One of them may have half a gigabyte of it.
	QueryMemory int64
	// AdminKey is the bootstrap administrator's key; "" has one made when
	// there is none.
	AdminKey string
	// PublicURL is where people reach the platform; "" is the address that it
	// listens on.
	PublicURL string
	// OIDC is the provider that people sign in at; one without an issuer is none.
	OIDC OIDC
	// FunctionsDomain has functions be hosts, NAME.PROJECT.DOMAIN, instead of paths
	// below /functions/.
	FunctionsDomain string
	// ClosedFunctions asks for a permission to call a function also on this
	// machine.
	ClosedFunctions bool
	// Runner is what runs functions: "process", as is "", or "containerd", with
	// "=SOCKET" behind it where that is not containerd's own default.
	Runner string
	// RunnerNetwork is the file of a CNI configuration, by which containers have
	// networks of their own; "" leaves them in the machine's.
	RunnerNetwork string
	// LocalSubscribers lets triggers deliver to URLs on this machine.
	LocalSubscribers bool
	// Edge also runs the edge runtime of this machine.
	Edge bool
	// Limits bounds what the door for events takes.
	Limits event.Limits
	// JournalBytes bounds the events that wait for delivery, on disk; 0 means
	// the broker's default.
	JournalBytes int64
	// Logger is told of state changes; nil discards.
	Logger *slog.Logger
}

// Platform is an open platform: its port is bound and its stores are open.
type Platform struct {
	config     Config
	log        *slog.Logger
	madeKey    string
	listener   net.Listener
	inside     net.Listener // of this machine's own edge runtime, when the port speaks TLS
	db         *sql.DB
	keyring    *iam.Keyring
	resources  *resources
	registry   *devices.Service
	meta       *meta.Service
	scheduler  *scheduler.Service
	reason     *reason.Service
	iam        *functionsiam.Service
	access     *iam.Authorizer
	feed       *feed.Feed
	accounts   *functionsiam.Accounts
	who        iam.Authenticator
	neighbours *neighbours
	peers      map[string]peering.Platform // by region
	series     tsdb.Store
	rollups    *rollup.Keeper // over series
	guard      *guard.Guard
	operations *monitoring.Operations
	collector  *collector.Service
	objects    *object.Store // of the cluster that this machine is
	images     *registry.Registry
	serving    *serving.Serving
	eventing   *eventing.Eventing
	metrics    *catalog.Catalog
	logs       logstore.Store
	promoted   atomic.Pointer[logstore.Promoted] // labels; once it is known where that is said
	intake     *intake.Intake                    // in front of logs
	buckets    *logging.Catalog
	logging    *logging.Registry
	logDoors   *logging.Doors
	lines      *lines // that functions printed
	recorder   *audit.Recorder
	auditRules *rules.Rules
	audit      *functionsaudit.Service
	trail      *trail.Trail
	auditKeys  *trail.Keyring
	auditRelay string // the name of what relays into trail
	losses     *ledger.SQL
	writer     *writer.Function
	broker     *broker.Broker
	server     *http.Server
	// closers undo Open, the last first.
	closers []func() error
	ready   atomic.Bool
}

// tables are everything that is in the SQL database beside the resources.
const tables = functionsiam.Schema + catalog.Schema + rollup.Schema + ledger.Schema + object.Schema

// Open opens the stores, recovers them, and binds the port. Close the platform
// also when Run is never called.
func Open(ctx context.Context, c Config) (_ *Platform, err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Platform{config: c, log: c.Logger}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open platform in %s: %w", c.Data, err), p.Close())
		}
	}()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, err
	}
	// The port comes first: who is told that it is taken has changed nothing.
	if err := p.listen(ctx); err != nil {
		return nil, err
	}
	if err := p.openStores(ctx); err != nil {
		return nil, err
	}
	if p.madeKey, err = p.keyring.Bootstrap(ctx, c.AdminKey); err != nil {
		return nil, err
	}
	if err := p.openPipeline(ctx); err != nil {
		return nil, err
	}
	p.server, err = p.newServer()
	return p, err
}

// onClose has f called by Close, before what was registered earlier.
func (p *Platform) onClose(f func() error) { p.closers = append(p.closers, f) }

// openStores opens what is on disk but the broker.
func (p *Platform) openStores(ctx context.Context) (err error) {
	if p.db, err = sqlite.Open(ctx, filepath.Join(p.config.Data, "platform.db"), tables); err != nil {
		return err
	}
	p.onClose(p.db.Close)
	p.keyring = iam.NewKeyring(functionsiam.NewStore(p.db))
	if err := p.openLogs(ctx); err != nil {
		return err
	}
	if err := p.openResources(ctx); err != nil {
		return err
	}
	p.iam = functionsiam.NewService(p.keyring, functionsiam.Options{Authorize: p.access.Authorize, Devices: p.registry, Logger: p.log})
	p.losses = ledger.New(p.db)
	if p.metrics, err = catalog.New(ctx, p.db); err != nil {
		return err
	}
	if err = p.openSeries(ctx); err != nil {
		return err
	}
	p.writer = &writer.Function{Series: p.rollups, Descriptors: p.metrics, Devices: p.registry}
	p.collector, err = collector.Open(ctx, collector.Options{
		Dir: filepath.Join(p.config.Data, "collector"), MaxBytes: p.config.JournalBytes, Series: p.rollups, Descriptors: p.metrics,
		Ledger: p.losses, Wire: wire.Options{Retention: vm.DefaultRetention}, Authorize: p.access.Authorize, Plan: p.writer.Plan, Logger: p.log,
	})
	if err != nil {
		return err
	}
	p.onClose(p.collector.Close)
	p.openLogDoors()
	if err := p.openCluster(ctx); err != nil {
		return err
	}
	p.guard.Enforce()
	return p.removeSnapshots()
}

// Addr is the address that the platform listens on.
func (p *Platform) Addr() net.Addr { return p.listener.Addr() }

// URL is where clients on this machine reach the platform.
func (p *Platform) URL() string {
	if p.config.TLSCert != "" {
		return "https://" + p.listener.Addr().String()
	}
	return "http://" + p.listener.Addr().String()
}

// MadeKey is the administrator's key if Open made one, else "". It is stored
// hashed and cannot be had again.
func (p *Platform) MadeKey() string { return p.madeKey }

// drain is how long requests in hand may take once the platform should stop.
const drain = 10 * time.Second

// Run serves until ctx ends, then stops in order: the port, the edge runtime,
// the triggers. An error means that a part could not go on.
func (p *Platform) Run(ctx context.Context) error {
	triggers, stopTriggers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTriggers()
	delivering := make(chan error, 1)
	go func() { delivering <- p.broker.Run(triggers) }()

	g, ctx := errgroup.WithContext(ctx)
	registered := make(chan struct{})
	g.Go(func() error { return p.runRegistry(ctx, registered) })
	for _, l := range p.listeners() {
		g.Go(func() error {
			select {
			case <-registered:
			case <-ctx.Done():
				return nil
			}
			if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve: %w", err)
			}
			return nil
		})
	}
	g.Go(func() error { return p.runResources(ctx) })
	g.Go(func() error { return p.runExpiry(ctx) })
	g.Go(func() error { return p.rollups.Run(ctx) })
	g.Go(func() error { return p.runFunctions(ctx) })
	g.Go(func() error { return p.eventing.Run(ctx) })
	g.Go(func() error { return p.runImages(ctx) })
	g.Go(func() error { return p.runUsage(ctx) })
	g.Go(func() error { return p.runLogs(ctx) })
	g.Go(func() error { return p.logDoors.Run(ctx) })
	g.Go(func() error { return p.runAudit(ctx) })
	if p.config.Edge {
		g.Go(func() error { return p.runEdge(ctx) })
	}
	var broken error
	g.Go(func() error {
		select {
		case broken = <-delivering:
			delivering <- nil
			if broken == nil {
				broken = errors.New("the triggers ended")
			}
		case <-ctx.Done():
		}
		p.ready.Store(false)
		p.log.Info("stopping")
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		err := p.server.Shutdown(grace)
		if errors.Is(err, context.DeadlineExceeded) {
			p.log.Warn("requests in hand were cut off", slog.Duration("after", drain))
			err = p.server.Close()
		}
		return errors.Join(broken, err)
	})
	p.ready.Store(true)
	err := g.Wait()
	stopTriggers()
	return errors.Join(err, <-delivering)
}

// notReady is what /readyz answers before Run and while the platform stops.
func (p *Platform) notReady() error {
	if p.ready.Load() {
		return nil
	}
	return &fault.Error{Op: "platform", Kind: fault.Unavailable, Reason: "NOT_SERVING", Err: errors.New("starting or stopping")}
}

// Close makes everything durable and releases it. Run must have returned.
func (p *Platform) Close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}
