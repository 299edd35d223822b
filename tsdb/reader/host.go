package reader

import (
	"context"
	"log/slog"
	"net/http"
	"os"

	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/remote"
)

// The memory that one query of a process of its own may take, and all together.
const (
	QueryBytes  = 128 << 20
	MemoryBytes = 256 << 20
)

// Authorize is nil when the caller of r has the permission on the project (an id,
// "" for none), whose descriptors are then known, and else the error to answer
// with.
type Authorize func(r *http.Request, project, permission string) error

// Host opens a door to series as a process of its own, for queries alone: there may
// be as many of them as questions ask for, beside the platform that takes the
// points. The platform is asked who calls; door makes the door, which authorizes by
// the function that it gets. See [Open] for the environment.
func Host(ctx context.Context, env map[string]string, at *gateway.Hosted, door func(*Reader, Authorize, *slog.Logger) gateway.Service) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	series, err := Open(env, log)
	if err != nil {
		return err
	}
	who := remote.New(remote.Options{URL: env[URLVariable], Function: env[iam.FunctionVariable], Key: env[KeyVariable]})
	authorize := func(r *http.Request, project, permission string) error {
		if err := who.AllowIn(r.Context(), project, permission); err != nil || project == "" {
			return err
		}
		return series.Load(r.Context(), project)
	}
	at.Open(ctx, gateway.Hosting{
		Handler: remote.Incoming(gateway.New(gateway.Options{
			Authenticator: who, Services: []gateway.Service{door(series, authorize, log)}, Logger: log, Ready: func() error { return nil },
		})),
		Close: series.Close, Logger: log,
	})
	return nil
}
