package monitoring

import (
	"context"
	"log/slog"
	"os"

	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/remote"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/reader"
)

// The memory that one query of a process of its own may take, and all together.
const (
	functionQuery  = 128 << 20
	functionMemory = 256 << 20
)

// Function is the door as a process of its own, for queries alone: there may be as
// many of them as analysts want, beside the platform that takes the points. It
// reads the VictoriaMetrics that keeps the platform's points, and asks the platform who calls and
// what the metrics are; see [reader.Open] for its environment. It computes what a
// rollup would have answered from the points.
type Function struct{ gateway.Hosted }

var _ function.Starter = (*Function)(nil)

// New returns a function that has not started.
func New() *Function { return &Function{} }

// Start opens the door.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	series, err := reader.Open(env, log)
	if err != nil {
		return err
	}
	who := remote.New(remote.Options{URL: env[reader.URLVariable], Function: env[iam.FunctionVariable], Key: env[reader.KeyVariable]})
	door := &Service{
		Engine:      query.New(series.Store, query.Options{MaxBytes: functionQuery, Budget: query.NewBudget(functionMemory, 0)}),
		Descriptors: series, Resources: series, Authorize: series.Guarded(who.AllowIn), Logger: log,
	}
	f.Open(ctx, gateway.Hosting{
		Handler: remote.Incoming(gateway.New(gateway.Options{
			Authenticator: who, Services: []gateway.Service{door}, Logger: log, Ready: func() error { return nil },
		})),
		Close: series.Close, Logger: log,
	})
	return nil
}
