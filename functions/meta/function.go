package meta

import (
	"context"
	"log/slog"
	"os"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/member"
	"selvedge.dev/sdk/store"
)

// Function is the registry as a process of its own, beside the platform and on its
// database. What follows from a change, such as who sees what, is the platform's
// to do, and to end leases too.
type Function struct{ gateway.Hosted }

var _ function.Starter = (*Function)(nil)

// New returns a function that has not started.
func New() *Function { return &Function{} }

// CallerOf is who calls, by his account.
func CallerOf(ctx context.Context) Caller {
	who := iam.PrincipalOf(ctx)
	return Caller{ServiceAccount: who.Kind == iam.ServiceAccount, Project: "projects/" + who.Project}
}

// Start opens the service.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	types, err := member.Types()
	if err != nil {
		return err
	}
	rules, region := Rules{Caller: CallerOf, Core: member.Domains(types)}, member.Region(env)
	o := member.Options{
		First: Plugins(rules), Last: []store.Plugin{Placement{Region: region, Regions: []string{region}}},
		Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	}
	return member.Start(ctx, env, &f.Hosted, o, func(m *member.Member) (member.Served, error) {
		s, err := NewService(m.Store, rules, m.Service)
		return member.Served{Server: s, OpenAPI: metav1.OpenAPI}, err
	})
}
