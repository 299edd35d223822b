package inventory

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// Function is the service as Knative's func deploys it: whoever runs it has the
// port, and its configuration is the environment. It answers the calls over
// HTTP/1.1: REST, Connect and gRPC-Web.
type Function struct {
	// program is nil until the function has started.
	program atomic.Pointer[program]
	// cancel ends what runs beside the calls, ended is closed when it has.
	cancel context.CancelFunc
	ended  chan struct{}
}

var (
	_ function.Starter           = (*Function)(nil)
	_ function.Stopper           = (*Function)(nil)
	_ function.ReadinessReporter = (*Function)(nil)
	_ function.LivenessReporter  = (*Function)(nil)
)

// New returns a function that has not started.
func New() *Function { return &Function{ended: make(chan struct{})} }

// Start opens the service, and registers it meanwhile it serves.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	c := Config{
		Platform: env["SELVEDGE_URL"], Key: env["SELVEDGE_KEY"], Endpoint: env["SELVEDGE_ENDPOINT"],
		Region: cmp.Or(env["SELVEDGE_REGION"], "local"), Database: env["SELVEDGE_DATABASE"], Data: env["SELVEDGE_DATA"],
		Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	}
	for _, e := range []struct{ name, value string }{
		{"SELVEDGE_URL", c.Platform},
		{"SELVEDGE_KEY", c.Key},
		{"SELVEDGE_ENDPOINT", c.Endpoint},
		{"SELVEDGE_DATABASE", c.Database + c.Data}, // or a folder, which must stay
	} {
		if e.value == "" {
			return &fault.Error{Op: "inventory.Start", Kind: fault.Invalid, Reason: "NOT_CONFIGURED", Field: e.name, Err: errors.New(e.name + " is not set")}
		}
	}
	p, err := open(ctx, c)
	if err != nil {
		return err
	}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(f.ended)
		err := errors.Join(p.run(ctx), p.driver.Close())
		if err != nil {
			c.Logger.Error("inventory ends", slog.Any("error", err))
		}
	}()
	f.program.Store(p)
	return nil
}

// Stop ends the watches and what runs beside the calls.
func (f *Function) Stop(ctx context.Context) error {
	p := f.program.Swap(nil)
	if p == nil {
		return nil
	}
	p.end()
	f.cancel()
	select {
	case <-f.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ready reports whether calls are answered. Whether the service is registered is
// not asked: the platform calls it before it is.
func (f *Function) Ready(context.Context) (bool, error) { return f.program.Load() != nil, nil }

// Alive reports whether what runs beside the calls has not ended.
func (f *Function) Alive(context.Context) (bool, error) {
	select {
	case <-f.ended:
		return false, nil
	default:
		return true, nil
	}
}

// ServeHTTP answers one call.
func (f *Function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := f.program.Load()
	if p == nil {
		fault.Write(w, &fault.Error{Op: "inventory.ServeHTTP", Kind: fault.Unavailable, Reason: "NOT_STARTED", Err: errors.New("the service has not started or has stopped")})
		return
	}
	p.handler.ServeHTTP(w, r)
}
