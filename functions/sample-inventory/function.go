package inventory

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/iam"
)

// Function is the service as Knative's func deploys it: whoever runs it has the
// port, and its configuration is the environment. It answers the calls over
// HTTP/1.1: REST, Connect and gRPC-Web. Whether it is registered is not asked of its
// readiness: the platform calls it before it is.
type Function struct{ gateway.Hosted }

var _ interface {
	function.Starter
	function.Stopper
	function.ReadinessReporter
	function.LivenessReporter
} = (*Function)(nil)

// New returns a function that has not started.
func New() *Function { return &Function{} }

// Start opens the service, and registers it meanwhile it serves.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	c := Config{
		Platform: env["SELVEDGE_URL"], Key: env["SELVEDGE_KEY"], Function: env[iam.FunctionVariable], Endpoint: env["SELVEDGE_ENDPOINT"],
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
	f.Open(ctx, gateway.Hosting{Handler: p.handler, End: p.end, Run: p.run, Close: p.driver.Close, Logger: c.Logger})
	return nil
}
