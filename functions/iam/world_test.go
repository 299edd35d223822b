package iam_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/iam"
	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	sdkiam "selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/iam/feed"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
)

// issuer is the issuer of the worlds.
const issuer = "//selvedge.dev/platforms/test"

// world is the service as a platform sets it up, over a database file.
type world struct {
	*iam.Accounts
	feed *feed.Feed
	// may is what decides, who is what tells who calls.
	may     *sdkiam.Authorizer
	who     sdkiam.Authenticator
	driver  *sqlite.Driver
	methods map[string]*schema.Method
}

// nobody knows no credentials.
type nobody struct{}

// Authenticate implements sdk/iam.Authenticator.
func (nobody) Authenticate(context.Context, string) (sdkiam.Principal, error) {
	return sdkiam.Principal{}, &fault.Error{Kind: fault.Unauthenticated, Reason: "UNKNOWN_KEY"}
}

// newWorld is the service over a new database.
func newWorld(t testing.TB) *world {
	t.Helper()
	driver, err := sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "resources.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	return over(t, driver)
}

// over makes the service over a driver.
func over(t testing.TB, driver *sqlite.Driver) *world {
	t.Helper()
	return overWith(t, driver, func(*iam.AccountsOptions) {})
}

// overWith is over with other options.
func overWith(t testing.TB, driver *sqlite.Driver, change func(*iam.AccountsOptions)) *world {
	t.Helper()
	types := new(schema.Registry)
	desc := iamv1.AddTo(types)
	require.NoError(t, types.Check())
	w := &world{driver: driver, methods: map[string]*schema.Method{}}
	for _, m := range desc.Methods {
		w.methods[string(m.Desc.Name())] = m
	}
	engine := access.New(access.Options{Implied: sdkiam.ImpliedOn([]string{desc.Domain, "events"})})
	var err error
	w.may, err = sdkiam.NewAuthorizer(engine)
	require.NoError(t, err)
	w.feed = feed.New(engine)
	var st *store.Store
	policies := policy.New(types, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"local"}, DefaultControlRegion: "local"},
		func(ctx context.Context, typ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
			m, err := policy.Local(st)(ctx, typ, name)
			if fault.KindOf(err) == fault.NotFound && typ.Options.GetImplicit() {
				return nil, nil
			}
			return m, err
		})
	references := reference.New(reference.Options{Region: "local"})
	st = store.New(driver, types, store.Options{
		Plugins: append(plugins.Standard(plugins.Options{Policies: policies}), references), Cached: 1 << 12, Written: w.feed.Written,
	})
	require.NoError(t, w.feed.Fill(t.Context(), st))
	o := iam.AccountsOptions{
		Issuer: issuer, Passwords: sdkiam.NewPasswords(1000), Permissions: []string{"events.publish", "devices.devices.get"},
		Service: service.Options{Authorize: w.may.Allow, Visible: w.may.Visible, Planner: references, Policies: policies},
	}
	change(&o)
	w.Accounts, err = iam.NewAccounts(st, w.feed, o)
	require.NoError(t, err)
	require.NoError(t, w.Seed(t.Context()))
	w.who = sdkiam.NewAccountAuthenticator(w.feed.Accounts(), issuer, nobody{})
	return w
}

// as is a context of a principal; a user is called by his address.
func as(t testing.TB, principal string) context.Context {
	t.Helper()
	if email, ok := cutUser(principal); ok {
		return sdkiam.WithPrincipal(t.Context(), sdkiam.Principal{Kind: sdkiam.User, Name: "users/" + email[:3], Email: email})
	}
	p, err := sdkiam.ParsePrincipal(principal)
	require.NoError(t, err)
	return sdkiam.WithPrincipal(t.Context(), p)
}

// cutUser is the address of "user:ADDRESS".
func cutUser(s string) (string, bool) {
	if len(s) > 5 && s[:5] == "user:" {
		return s[5:], true
	}
	return "", false
}

// call does a method.
func call[M proto.Message](ctx context.Context, w *world, method string, req proto.Message) (M, error) {
	m, err := w.Call(ctx, w.methods[method], req)
	out, _ := m.(M)
	return out, err
}

// bind gives members a role in a scope.
func (w *world) bind(ctx context.Context, scope, id, role string, members ...string) error {
	_, err := call[*iamv1.RoleBinding](ctx, w, "CreateRoleBinding", &iamv1.CreateRoleBindingRequest{
		Parent: scope, RoleBindingId: id, RoleBinding: &iamv1.RoleBinding{Role: role, Members: members},
	})
	return err
}

// role makes a role in a project or an organization.
func (w *world) role(ctx context.Context, scope, id string, permissions ...string) error {
	_, err := call[*iamv1.Role](ctx, w, "CreateRole", &iamv1.CreateRoleRequest{
		Parent: scope, RoleId: id, Role: &iamv1.Role{Grants: []*iamv1.Grant{{Permissions: permissions}}},
	})
	return err
}

// user makes a user.
func (w *world) user(t testing.TB, id, email string) {
	t.Helper()
	_, err := call[*iamv1.User](as(t, "admin"), w, "CreateUser", &iamv1.CreateUserRequest{UserId: id, User: &iamv1.User{Email: email}})
	require.NoError(t, err)
}

// account makes a service account.
func (w *world) account(t testing.TB, project, id string) string {
	t.Helper()
	a, err := call[*iamv1.ServiceAccount](as(t, "admin"), w, "CreateServiceAccount", &iamv1.CreateServiceAccountRequest{
		Parent: "projects/" + project, ServiceAccountId: id, ServiceAccount: &iamv1.ServiceAccount{},
	})
	require.NoError(t, err)
	return a.GetName()
}

// key makes a key of a service account.
func (w *world) key(ctx context.Context, account, id string, k *iamv1.ServiceAccountKey) (*iamv1.ServiceAccountKey, error) {
	return call[*iamv1.ServiceAccountKey](ctx, w, "CreateServiceAccountKey", &iamv1.CreateServiceAccountKeyRequest{
		Parent: account, ServiceAccountKeyId: id, ServiceAccountKey: k,
	})
}

// refused requires a fault.
func refused(t testing.TB, err error, kind fault.Kind, reason string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, fault.KindOf(err), "%v", err)
	require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
}

// nameOf is a name.
func nameOf(s string) resource.Name { return resource.Name(s) }

// run runs the feed until the test ends, as a platform does.
func (w *world) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.feed.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
}

// soon is how long a change of another process may take to hold here.
const soon = time.Second
