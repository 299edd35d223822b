package inventory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	inventoryv1 "selvedge.dev/functions/sample-inventory/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/gateway"
	gatewayrpc "selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/iam/remote"
	"selvedge.dev/sdk/reference/peering"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/postgres"
	"selvedge.dev/sdk/store/sqlite"
)

// Config is how the program runs.
type Config struct {
	// Platform is the address of the platform, Key that of a service account
	// there, which this service is.
	Platform, Key string
	// Function is the name that the platform's door told it, if it is a function
	// behind one.
	Function string
	// Listen is the address to listen at, Endpoint where others reach it; "" is
	// the address that it listens at.
	Listen, Endpoint string
	// Region is the platform's. Database says which PostgreSQL keeps what there
	// is; if it is "", a file in the folder Data does.
	Region, Database, Data string
	// Logger is told what happens; nil discards.
	Logger *slog.Logger
	// Ready, if not nil, is told the address when the service is registered and
	// answers.
	Ready func(url string)
}

// The times of the port, and how long a stop waits for calls.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 2 * time.Minute
	idleTimeout   = 3 * time.Minute
	stopTimeout   = 10 * time.Second
)

// Serve runs the service until ctx ends. It listens at once, since the platform
// may ask it about owners as soon as it knows it, and is ready when it is
// registered.
func Serve(ctx context.Context, c Config) (err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return err
	}
	defer func() {
		if e := listener.Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}()
	if c.Endpoint == "" {
		c.Endpoint = "http://" + listener.Addr().String()
	}
	p, err := open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.driver.Close()) }()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: p.handler, Protocols: protocols, ErrorLog: slog.NewLogLogger(p.Logger.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
	}
	server.RegisterOnShutdown(p.end)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.run(ctx) })
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return server.Shutdown(ctx)
	})
	return g.Wait()
}

// program is a running process.
type program struct {
	Config
	driver  driver
	service *Service
	// handler answers gRPC, gRPC-Web, Connect and REST; end ends the watches.
	handler http.Handler
	end     func()
	// registered is closed when it is.
	registered chan struct{}
}

// driver is a database that belongs to the process.
type driver interface {
	store.Driver
	Close() error
}

// open opens the service on its database; its driver is to be closed.
func open(ctx context.Context, c Config) (_ *program, err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &program{Config: c, registered: make(chan struct{})}
	if c.Database != "" {
		p.driver, err = postgres.Open(ctx, c.Database, postgres.Options{Logger: c.Logger})
	} else {
		p.driver, err = sqlite.OpenDriver(ctx, filepath.Join(c.Data, "inventory.db"), sqlite.Options{})
	}
	if err != nil {
		return nil, err
	}
	if err := p.serve(ctx); err != nil {
		return nil, errors.Join(err, p.driver.Close())
	}
	return p, nil
}

// serve makes the service and what answers at its port.
func (p *program) serve(ctx context.Context) (err error) {
	who := remote.New(remote.Options{URL: p.Platform, Audience: Domain, Function: p.Function, Key: p.Key})
	p.service, err = NewService(ctx, Options{
		Driver: p.driver, Region: p.Region, Authorize: who.Allow, AuthorizePeers: who.AllowPlatform, Logger: p.Logger,
		Platform: &rpc.Client{URL: p.Platform, Key: p.Key},
		Peers: peering.NewClient(peering.Options{
			Platforms: map[string]peering.Platform{p.Region: {URL: p.Platform, Key: p.Key}}, Logger: p.Logger,
			Met: func(ctx context.Context, region, identity string) (string, error) {
				return p.service.store.Met(ctx, region, identity)
			},
		}),
	})
	if err != nil {
		return err
	}
	calls, err := gatewayrpc.New(gatewayrpc.Options{
		Servers: []gatewayrpc.Server{p.service}, Internal: []gatewayrpc.Server{p.service.peers}, Next: http.HandlerFunc(gateway.NotFound), Logger: p.Logger,
	})
	if err != nil {
		return err
	}
	p.end = calls.End
	p.handler = remote.Incoming(gateway.New(gateway.Options{
		Authenticator: who, Calls: calls, Logger: p.Logger, Ready: p.ready,
		Services: []gateway.Service{gatewayrpc.Doors{
			Services: []*schema.Service{p.service.Schema()}, OpenAPI: map[string][]byte{Domain: inventoryv1.OpenAPI},
		}},
	}))
	return nil
}

// run does what goes on beside the calls, until ctx ends.
func (p *program) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.service.Run(ctx) })
	g.Go(func() error { return p.register(ctx, p.service.Schema()) })
	if p.Database != "" { // a revision after this one writes to it too
		g.Go(func() error {
			if err := p.service.store.Follow(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	return g.Wait()
}

// ready is why requests should go elsewhere now.
func (p *program) ready() error {
	select {
	case <-p.registered:
		return nil
	default:
		return &fault.Error{Op: "inventory.Ready", Kind: fault.Unavailable, Reason: "NOT_REGISTERED", Err: errors.New("the service is not registered yet")}
	}
}

// register registers the service with the platform, and stays in touch.
func (p *program) register(ctx context.Context, s *schema.Service) error {
	r, err := registry.Open(ctx, registry.Options{
		Meta: &rpc.Client{URL: p.Platform, Key: p.Key}, Region: p.Region, Key: p.Key, Logger: p.Logger,
		Service:    registry.Service{Versions: []*schema.Service{s}, DisplayName: "Inventory", Endpoint: p.Endpoint},
		Deployment: registry.Deployment{Endpoint: p.Endpoint},
	})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("registering: %w", err)
	}
	defer r.Close()
	close(p.registered)
	if p.Ready != nil {
		p.Ready(p.Endpoint)
	}
	<-ctx.Done()
	return nil
}
