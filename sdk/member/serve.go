package member

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/iam/remote"
	"selvedge.dev/sdk/schema"
)

// Served is what a member answers.
type Served struct {
	// Server is the service, OpenAPI its description.
	Server  rpc.Server
	OpenAPI []byte
	// Doors are what it answers beside calls.
	Doors []gateway.Service
	// Run, if not nil, goes on beside the calls, until its context ends.
	Run func(ctx context.Context) error
	// Close, if not nil, comes after Run.
	Close func() error
}

// Start has a function answer the calls of a service that serve makes over the
// store that the environment says.
func Start(ctx context.Context, env map[string]string, f *gateway.Hosted, o Options, serve func(m *Member) (Served, error)) error {
	m, err := Open(ctx, env, o)
	if err != nil {
		return err
	}
	s, err := serve(m)
	if err == nil {
		err = m.Host(ctx, f, s)
	}
	if err != nil {
		return errors.Join(err, m.Close())
	}
	return nil
}

// Host has a function answer the calls of a service, over HTTP/1.1: REST, Connect
// and gRPC-Web. The member is closed with the function.
func (m *Member) Host(ctx context.Context, f *gateway.Hosted, s Served) error {
	acting := Acting{Server: s.Server, Of: m.servicesOf, Visible: m.Service.Visible}
	calls, err := rpc.New(rpc.Options{Servers: []rpc.Server{acting}, Next: http.HandlerFunc(gateway.NotFound), Logger: m.log})
	if err != nil {
		return err
	}
	about := s.Server.Schema()
	doors := rpc.Doors{Services: []*schema.Service{about}, OpenAPI: map[string][]byte{about.Domain: s.OpenAPI}}
	handler := remote.Incoming(gateway.New(gateway.Options{
		Authenticator: m.who, Calls: calls, Logger: m.log, Services: slices.Concat([]gateway.Service{doors}, s.Doors),
	}))
	f.Open(ctx, gateway.Hosting{
		Handler: handler, End: calls.End, Logger: m.log,
		Run: func(ctx context.Context) error { return m.run(ctx, s.Run) },
		Close: func() error {
			if s.Close == nil {
				return m.Close()
			}
			return errors.Join(s.Close(), m.Close())
		},
	})
	return nil
}

// run does what goes on beside the calls, until ctx ends: it follows what others
// write, tells watchers, and writes the records of the audit that wait.
func (m *Member) run(ctx context.Context, own func(ctx context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	runs := map[string]func(ctx context.Context) error{
		"accounts": m.Feed.Run, "watch": m.hub.Run, "objects": m.Store.Follow,
		"audit":   func(ctx context.Context) error { return m.Service.Audit.Run(ctx, m.Store) },
		"release": func(ctx context.Context) error { return m.look(ctx, lookEvery) },
	}
	if own != nil {
		runs["service"] = own
	}
	for name, run := range runs {
		g.Go(func() error {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}
