package iam

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"google.golang.org/protobuf/proto"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/member"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Function is the service of accounts and roles as a process of its own, beside the
// platform and on its database: calls, and tokens for passwords, assertions and
// sessions. The older keys, sign-in at a provider, and projects and organizations of
// those who are to own what they make are the platform's.
type Function struct{ gateway.Hosted }

var _ function.Starter = (*Function)(nil)

// New returns a function that has not started.
func New() *Function { return &Function{} }

// Start opens the service.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	o := member.Options{Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil))}
	return member.Start(ctx, env, &f.Hosted, o, func(m *member.Member) (member.Served, error) {
		permissions, err := permissionsIn(ctx, m.Store)
		if err != nil {
			return member.Served{}, err
		}
		s, err := NewAccounts(m.Store, m.Feed, AccountsOptions{
			Service: m.Service, Issuer: m.Issuer, Permissions: permissions, InUse: unknownUse,
		})
		return member.Served{Server: s, OpenAPI: iamv1.OpenAPI, Doors: []gateway.Service{s}, Run: s.Run}, err
	})
}

// permissionsIn are the permissions that the platform wrote down ([Accounts.Seed]).
func permissionsIn(ctx context.Context, st *store.Store) (all []string, err error) {
	err = st.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
		tx, _ := st.TxOf(ctx)
		all = nil
		return tx.Scan(ctx, store.Scan{Type: iamv1.PermissionType}, func(r *schema.Resource, m proto.Message) bool {
			all = append(all, r.NameOf(m).ID())
			return true
		})
	})
	return all, err
}

// unknownUse refuses to make what its maker is to own: whether there are events,
// series and keys of it the platform alone knows.
func unknownUse(_ context.Context, name resource.Name) (bool, error) {
	return false, &fault.Error{
		Op: "iam.Save", Name: string(name), Kind: fault.Precondition, Reason: "MADE_AT_THE_PLATFORM", Field: "name",
		Err: errors.New("make it at the platform, which knows whether there is something in it, or have an administrator make it"),
	}
}
