package iam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/iam/feed"
	"selvedge.dev/sdk/iam/oidc"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// AccountsOptions are what Accounts need besides their store.
type AccountsOptions struct {
	// Service configures the standard methods. Hooks and custom methods are
	// added to it.
	Service service.Options
	// Issuer is whom the platform's tokens are from, and whom tokens are for.
	Issuer string
	// Permissions are those that doors ask for which are in no proto file.
	Permissions []string
	// Provider signs people in; nil is none. PublicURL is where people reach the
	// platform, which the provider sends them back to.
	Provider  *oidc.Provider
	PublicURL string
	// InUse reports whether a project that nobody made has something that the
	// store does not know of, such as keys and series: who may make projects does
	// not get that by it. Nil is that none has.
	InUse func(ctx context.Context, project resource.Name) (bool, error)
	// Passwords checks passwords; nil makes one.
	Passwords *iam.Passwords
	// KeyLife is after how long the key that signs tokens has a successor; 0 is
	// 30 days.
	KeyLife time.Duration
	// SessionLife is how long a person who signed in need not do so again, however
	// often he refreshes; 0 is 30 days.
	SessionLife time.Duration
}

// Accounts is the service of accounts, roles and bindings: that of
// functions/iam/v1 on the framework of sdk/service.
type Accounts struct {
	*service.Service
	store   *store.Store
	feed    *feed.Feed
	options AccountsOptions
	log     *slog.Logger
	// known are all permissions, sorted.
	known     []string
	passwords *iam.Passwords

	organization, role, permission, invitation *schema.Resource
}

// NewAccounts makes the service over a store with its types. It must be the
// store whose [store.Options].Written is the feed's.
func NewAccounts(st *store.Store, feed *feed.Feed, o AccountsOptions) (*Accounts, error) {
	a := &Accounts{store: st, feed: feed, options: o, log: o.Service.Logger, passwords: o.Passwords}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.options.KeyLife, a.options.SessionLife = cmp.Or(o.KeyLife, keyLife), cmp.Or(o.SessionLife, sessionLife)
	if a.passwords == nil {
		a.passwords = iam.NewPasswords(0)
	}
	i := slices.IndexFunc(st.Types().Services(), func(s *schema.Service) bool {
		return s.Package == iamv1.File_functions_iam_v1_iam_proto.Package()
	})
	if i < 0 {
		return nil, errors.New("iam: the store does not have the service's types")
	}
	for name, to := range map[string]**schema.Resource{
		iamv1.OrganizationType: &a.organization, iamv1.RoleType: &a.role, iamv1.PermissionType: &a.permission, iamv1.InvitationType: &a.invitation,
	} {
		x, ok := st.Types().Type(name)
		if !ok {
			return nil, fmt.Errorf("iam: the store does not have the type %s", name)
		}
		*to = x
	}
	a.known = permissionsOf(st.Types(), o.Permissions)
	so := o.Service
	so.Hooks = append(so.Hooks,
		service.On(service.Hooks[*iamv1.Organization]{
			Validate: a.checkOrganization,
			Saved:    func(ctx context.Context, _, m *iamv1.Organization) error { return a.bindCreator(ctx, m.GetName()) },
			Deleting: func(ctx context.Context, m *iamv1.Organization) error { return a.unbindCreator(ctx, m.GetName()) },
		}),
		service.On(service.Hooks[*iamv1.Project]{
			Validate: a.checkProject,
			Saved:    func(ctx context.Context, _, m *iamv1.Project) error { return a.bindCreator(ctx, m.GetName()) },
			Deleting: func(ctx context.Context, m *iamv1.Project) error { return a.unbindCreator(ctx, m.GetName()) },
		}),
		service.On(service.Hooks[*iamv1.User]{Default: fillUser, Validate: a.checkUser}),
		service.On(service.Hooks[*iamv1.ServiceAccount]{Validate: a.checkServiceAccount}),
		service.On(service.Hooks[*iamv1.ServiceAccountKey]{Default: fillKey, Validate: a.checkKey}),
		service.On(service.Hooks[*iamv1.Group]{Validate: a.checkGroup}),
		service.On(service.Hooks[*iamv1.Role]{Validate: a.checkRole, Deleting: keepBuiltIn}),
		service.On(service.Hooks[*iamv1.RoleBinding]{Validate: a.checkBinding}),
		service.On(service.Hooks[*iamv1.Invitation]{Default: a.fillInvitation, Validate: a.checkInvitation}),
	)
	so.Methods = append(so.Methods,
		service.Handle("Access.TestPermissions", a.testPermissions).Public(),
		service.Handle("Access.ListMyPermissions", a.listMyPermissions).Public(),
		service.Handle("Access.ExplainAccess", a.explainAccess).Public(),
		service.Handle("Access.SetPassword", a.setPassword).Public(),
		service.Handle("Signing.RotateSigningKeys", a.rotateSigningKeys),
		service.Handle("Invitations.AcceptInvitation", a.acceptInvitation).Public(),
	)
	var err error
	a.Service, err = service.New(st.Types().Services()[i], st, so)
	return a, err
}

// permissionsOf are the permissions of every method of every service, and
// others.
func permissionsOf(types *schema.Registry, others []string) []string {
	all := slices.Clone(others)
	for _, s := range types.Services() {
		for _, m := range s.Methods {
			all = append(all, m.Permission)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// allow asks whether the caller has a permission.
func (a *Accounts) allow(ctx context.Context, permission string, name resource.Name) error {
	if a.options.Service.Authorize == nil {
		return &fault.Error{Op: "iam.Authorize", Name: string(name), Kind: fault.Denied, Reason: "PERMISSION_DENIED", Field: permission}
	}
	return a.options.Service.Authorize(ctx, permission, name)
}

// subject is the caller.
func subject(ctx context.Context) access.Subject { return iam.Question(ctx, "", "").Subject }

// exceeds is the fault of who hands out more than he has.
func exceeds(field, role string, scope string) error {
	where := scope
	if where == "" {
		where = "the platform"
	}
	return &fault.Error{
		Op: "iam.Save", Name: role, Kind: fault.Denied, Reason: "ROLE_EXCEEDS_OWN", Field: field,
		Err: fmt.Errorf("nobody hands out more than he has: on %s you do not have all permissions of %s, without conditions", where, role),
	}
}

// coversMember checks that the caller has all that a member has by bindings:
// whoever makes himself, or somebody, that member hands it out.
func (a *Accounts) coversMember(ctx context.Context, field, member string) error {
	return a.covers(subject(ctx), field, member)
}

// covers is coversMember of somebody.
func (a *Accounts) covers(who access.Subject, field, member string) error {
	for _, has := range a.feed.Engine().HeldBy(member) {
		if !a.feed.Engine().Covers(who, has.Scope, has.Role) {
			return exceeds(field, has.Role, has.Scope)
		}
	}
	return nil
}

// invalid is the fault of a field.
func invalid(field, format string, args ...any) error {
	return &fault.Error{Op: "iam.Save", Kind: fault.Invalid, Reason: "INVALID_FIELD", Field: field, Err: fmt.Errorf(format, args...)}
}

// maxDepth bounds how many organizations are above each other, as the engine
// looks at them.
const maxDepth = 16

// checkOrganization refuses an organization within itself, and one that is put
// into another by somebody who may not change that.
func (a *Accounts) checkOrganization(ctx context.Context, old, m *iamv1.Organization) error {
	parent := m.GetParentOrganization()
	if old == nil {
		if err := a.checkCreator(ctx, m, parent); err != nil {
			return err
		}
	}
	if parent == "" || parent == old.GetParentOrganization() {
		return nil
	}
	if err := a.allow(ctx, a.organization.Permission("update"), resource.Name(parent)); err != nil {
		return err
	}
	for up, depth := parent, 1; up != ""; depth++ {
		if up == m.GetName() || depth > maxDepth {
			return invalid("parentOrganization", "%s would be in itself, or below more than %d others", m.GetName(), maxDepth)
		}
		above, err := a.store.Get(ctx, a.organization, resource.Name(up))
		if err != nil {
			return err
		}
		o, ok := above.(*iamv1.Organization)
		if !ok {
			return fmt.Errorf("BUG: iam: %s is a %T", up, above)
		}
		up = o.GetParentOrganization()
	}
	return nil
}

// checkProject refuses a project that is put into an organization by somebody
// who may not change that.
func (a *Accounts) checkProject(ctx context.Context, old, m *iamv1.Project) error {
	if o := m.GetOrganization(); o != "" && o != old.GetOrganization() {
		if err := a.allow(ctx, a.organization.Permission("update"), resource.Name(o)); err != nil {
			return err
		}
	}
	if old != nil {
		return nil
	}
	return a.checkCreator(ctx, m, m.GetOrganization())
}

// fillUser writes the address in lower case.
func fillUser(_ context.Context, u *iamv1.User) error {
	u.Email = strings.ToLower(u.GetEmail())
	if u.GetState() == iamv1.User_STATE_UNSPECIFIED {
		u.State = iamv1.User_ACTIVE
	}
	return nil
}

// checkUser refuses to make somebody a user who may do more than the caller.
func (a *Accounts) checkUser(ctx context.Context, old, u *iamv1.User) error {
	if err := access.CheckMember(access.User + u.GetEmail()); err != nil {
		return invalid("email", "%w", err)
	}
	same := func(x, y *iamv1.Identity) bool {
		return x.GetIssuer() == y.GetIssuer() && x.GetSubject() == y.GetSubject()
	}
	if old != nil && old.GetEmail() == u.GetEmail() && slices.EqualFunc(old.GetIdentities(), u.GetIdentities(), same) {
		return nil
	}
	return a.coversMember(ctx, "email", access.User+u.GetEmail())
}

// checkServiceAccount refuses to make a service account that may do more than
// the caller, since bindings name it already.
func (a *Accounts) checkServiceAccount(ctx context.Context, old, m *iamv1.ServiceAccount) error {
	if old != nil {
		return nil
	}
	return a.coversMember(ctx, "name", access.ServiceAccount+m.GetName())
}

// checkGroup refuses members that are none, and new ones of a group that may do
// more than the caller.
func (a *Accounts) checkGroup(ctx context.Context, old, m *iamv1.Group) error {
	added := old == nil
	for i, member := range m.GetMembers() {
		if err := access.CheckMember(member); err != nil {
			return invalid(fmt.Sprintf("members[%d]", i), "%w", err)
		}
		added = added || !slices.Contains(old.GetMembers(), member)
	}
	if !added || len(m.GetMembers()) == 0 {
		return nil
	}
	return a.coversMember(ctx, "members", access.Group+m.GetName())
}

// isBuiltIn reports whether a role is the platform's.
func isBuiltIn(role string) bool { return strings.HasPrefix(role, "services/") }

// builtInFault is the fault of a change of a role of the platform.
func builtInFault(name string) error {
	return &fault.Error{
		Op: "iam.Save", Name: name, Kind: fault.Denied, Reason: "ROLE_IS_BUILT_IN", Field: "name",
		Err: errors.New("the roles of services are built in: make one of a project or of an organization"),
	}
}

// keepBuiltIn refuses to delete a role of the platform.
func keepBuiltIn(_ context.Context, m *iamv1.Role) error {
	if isBuiltIn(m.GetName()) {
		return builtInFault(m.GetName())
	}
	return nil
}

// checkRole refuses a role that cannot be, and one that has more than the caller
// has where the role is.
func (a *Accounts) checkRole(ctx context.Context, _, m *iamv1.Role) error {
	if isBuiltIn(m.GetName()) {
		return builtInFault(m.GetName())
	}
	r, scope := feed.RoleOf(m), string(resource.Name(m.GetName()).Parent())
	if err := r.Check(); err != nil {
		return err
	}
	if !a.feed.Engine().CoversRole(subject(ctx), scope, r) {
		return exceeds("grants", r.Name, scope)
	}
	return nil
}

// checkBinding refuses a binding that cannot be, one to a role of elsewhere, and
// one that gives more than the caller has where it holds.
func (a *Accounts) checkBinding(ctx context.Context, _, m *iamv1.RoleBinding) error {
	b, err := feed.BindingOf(m)
	if err != nil {
		return err
	}
	if err := b.Check(); err != nil {
		return err
	}
	scope := resource.Name(b.Role).Parent()
	if !isBuiltIn(b.Role) && !slices.Contains(a.feed.Engine().Scopes(b.Scope), string(scope)) {
		return invalid("role", "%s is a role of %s, which the binding is not in", b.Role, scope)
	}
	stored, err := a.store.Get(ctx, a.role, resource.Name(b.Role))
	if err != nil {
		return invalid("role", "reading the role: %w", err)
	}
	role, ok := stored.(*iamv1.Role)
	if !ok {
		return fmt.Errorf("BUG: iam: %s is a %T", b.Role, stored)
	}
	for name := range b.Params {
		if !slices.Contains(role.GetParams(), name) {
			return invalid("params", "the role has no parameter %q", name)
		}
	}
	for _, name := range role.GetParams() {
		if _, ok := b.Params[name]; !ok {
			return invalid("params", "the role wants a value of the parameter %q", name)
		}
	}
	if !a.feed.Engine().CoversRole(subject(ctx), b.Scope, feed.RoleOf(role)) {
		return exceeds("role", b.Role, b.Scope)
	}
	return nil
}

// policy is a context for what the platform itself writes.
func (a *Accounts) policy(ctx context.Context) (*resourcev1.MultiRegionPolicy, error) {
	if a.options.Service.Policies == nil {
		return nil, nil
	}
	return a.options.Service.Policies.For(ctx, "roleBindings/none") // which no holder is above of
}
