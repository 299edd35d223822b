package prometheus

import (
	"context"
	"log/slog"

	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/tsdb/promql"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/reader"
)

// Function is the door as a process of its own.
type Function struct{ gateway.Hosted }

var _ function.Starter = (*Function)(nil)

// New returns a function that has not started.
func New() *Function { return &Function{} }

// Start opens the door.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	return reader.Host(ctx, env, &f.Hosted, readerDoor)
}

// readerDoor is the door over a reader.
func readerDoor(series *reader.Reader, authorize reader.Authorize, log *slog.Logger) gateway.Service {
	return &Service{
		Engine:    promql.New(series.Store, series, promql.Options{Memory: query.NewBudget(reader.MemoryBytes, 0), MaxBytes: reader.QueryBytes}),
		Authorize: authorize, Logger: log,
	}
}
