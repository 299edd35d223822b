package devices

import (
	"context"
	"log/slog"
	"os"
	"time"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/member"
)

// sharedAge is how old an answer about an alias may be where another process may
// have written since.
const sharedAge = time.Second

// Function is the registry as a process of its own, beside the platform and on its
// database. The platform ends the credentials of a device that is deleted here,
// within moments of the answer.
type Function struct{ gateway.Hosted }

var _ function.Starter = (*Function)(nil)

// New returns a function that has not started.
func New() *Function { return &Function{} }

// Start opens the service.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	index := newIndex(sharedAge)
	o := member.Options{Written: index.Written, Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil))}
	return member.Start(ctx, env, &f.Hosted, o, func(m *member.Member) (member.Served, error) {
		s, err := NewService(m.Store, index, Options{Service: m.Service})
		return member.Served{Server: s, OpenAPI: devicesv1.OpenAPI}, err
	})
}
