// Package function is a service of resources: sites, and the visits of technicians
// to them. api/visits/v1/visits.proto says what there is, service.go what a proto
// file cannot say, and controller.go reacts to changes. What is here is how func
// runs it, and need not be changed.
package function

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"selvedge.dev/sdk/gateway"
	gatewayrpc "selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/remote"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/postgres"
	"selvedge.dev/sdk/store/sqlite"
)

// Function is the service as func deploys it. What it embeds says how it is, and
// ends it.
type Function struct{ gateway.Hosted }

// New makes the function. func calls Start, then Handle with requests, and Stop.
func New() *Function { return &Function{} }

// Handle answers a call: REST, Connect or gRPC-Web.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) { f.ServeHTTP(w, r) }

// driver is a database that belongs to the process.
type driver interface {
	store.Driver
	Close() error
}

// open opens the database: PostgreSQL, or if env names none a file that goes with
// the instance, which is to try things with.
func open(ctx context.Context, env map[string]string, log *slog.Logger) (driver, error) {
	if url := env["SELVEDGE_DATABASE"]; url != "" {
		return postgres.Open(ctx, url, postgres.Options{Logger: log})
	}
	folder, err := os.MkdirTemp("", "visits-")
	if err != nil {
		return nil, err
	}
	log.Warn("resources are kept for as long as this instance runs: SELVEDGE_DATABASE is not set")
	return sqlite.OpenDriver(ctx, filepath.Join(folder, "visits.db"), sqlite.Options{})
}

// Start opens the service. The environment says where the platform is, and by which
// key of a service account it is asked what callers may.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	for _, name := range []string{"SELVEDGE_URL", "SELVEDGE_KEY"} {
		if env[name] == "" {
			return fmt.Errorf("%s is not set", name)
		}
	}
	database, err := open(ctx, env, log)
	if err != nil {
		return err
	}
	who := remote.New(remote.Options{URL: env["SELVEDGE_URL"], Audience: Domain, Function: env[iam.FunctionVariable], Key: env["SELVEDGE_KEY"]})
	s, err := NewService(ctx, Options{Driver: database, Region: cmp.Or(env["SELVEDGE_REGION"], "local"), Authorize: who.Allow, Logger: log})
	if err != nil {
		return errors.Join(err, database.Close())
	}
	calls, err := gatewayrpc.New(gatewayrpc.Options{Servers: []gatewayrpc.Server{s}, Next: http.HandlerFunc(gateway.NotFound), Logger: log})
	if err != nil {
		return errors.Join(err, database.Close())
	}
	f.Open(ctx, gateway.Hosting{
		Handler: remote.Incoming(gateway.New(gateway.Options{
			Authenticator: who, Calls: calls, Logger: log, Ready: func() error { return nil },
			Services: []gateway.Service{gatewayrpc.Doors{Services: []*schema.Service{s.Schema()}}},
		})),
		End: calls.End, Run: s.Run, Close: database.Close, Logger: log,
	})
	return nil
}
