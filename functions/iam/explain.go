package iam

import (
	"context"
	"errors"
	"net/netip"

	"google.golang.org/protobuf/proto"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// authenticated is who calls, unless nobody knows.
func authenticated(ctx context.Context) (iam.Principal, error) {
	p := iam.PrincipalOf(ctx)
	if p.Kind == iam.Anonymous {
		return p, &fault.Error{Op: "iam.Access", Kind: fault.Unauthenticated, Reason: "UNAUTHENTICATED", Err: errors.New("it needs credentials: Authorization: Bearer KEY")}
	}
	return p, nil
}

// question is a question of the caller as the call would ask it that needs the
// permission: if it depends on the fields of a resource of this store, with the
// resource as it is stored. A list of what is below a name needs that there can
// be something to list. Another's call is another request, so that nothing is
// known of that; an update may be refused for what it would leave.
func (a *Accounts) question(ctx context.Context, who access.Subject, permission string, name resource.Name) (access.Question, error) {
	q := iam.Question(ctx, permission, name)
	q.Request, q.Subject = nil, who
	if a.feed.Engine().Decide(q).Allowed {
		return q, nil
	}
	some := q
	if some.AnyFields = true; !a.feed.Engine().Decide(some).Allowed {
		return q, nil
	}
	r, lists := a.typeOf(permission)
	if r == nil {
		return q, nil
	}
	if _, err := r.Parse(string(name)); err != nil {
		q.AnyFields = lists
		return q, nil
	}
	err := a.store.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
		m, err := a.store.GetShared(ctx, r, name)
		if err == nil {
			q.Fields = service.Fields(r, m)
		}
		return err
	})
	if fault.KindOf(err) == fault.NotFound {
		err = nil
	}
	return q, err
}

// typeOf is the type of the resources that a permission is for, nil if no method
// of a service here asks for it, and whether it is for lists of them.
func (a *Accounts) typeOf(permission string) (r *schema.Resource, lists bool) {
	for _, s := range a.store.Types().Services() {
		for _, m := range s.Methods {
			if m.Permission != permission || m.Resource == nil {
				continue
			}
			r = m.Resource
			switch m.Verb {
			case resourcev1.Method_LIST, resourcev1.Method_SEARCH:
				lists = true
			case resourcev1.Method_WATCH:
				lists = lists || m.Collection
			}
		}
	}
	return r, lists
}

// testPermissions answers TestPermissions.
func (a *Accounts) testPermissions(ctx context.Context, req *iamv1.TestPermissionsRequest) (*iamv1.TestPermissionsResponse, error) {
	if _, err := authenticated(ctx); err != nil {
		return nil, err
	}
	out := &iamv1.TestPermissionsResponse{}
	for _, p := range req.GetPermissions() {
		q, err := a.question(ctx, subject(ctx), p, resource.Name(req.GetResource()))
		if err != nil {
			return nil, err
		}
		if a.feed.Engine().Decide(q).Allowed {
			out.Permissions = append(out.Permissions, p)
		}
	}
	return out, nil
}

// listMyPermissions answers ListMyPermissions.
func (a *Accounts) listMyPermissions(ctx context.Context, req *iamv1.ListMyPermissionsRequest) (*iamv1.ListMyPermissionsResponse, error) {
	if _, err := authenticated(ctx); err != nil {
		return nil, err
	}
	who := subject(ctx)
	out := &iamv1.ListMyPermissionsResponse{Member: who.Member}
	for _, g := range a.feed.Engine().Permissions(who, req.GetResource(), a.known) {
		out.Permissions = append(out.Permissions, &iamv1.ListMyPermissionsResponse_MyPermission{Permission: g.Permission, Conditional: g.Conditional})
	}
	return out, nil
}

// explain is the permission to be told about others.
const explain = "iam.access.explain"

// explainAccess answers ExplainAccess.
func (a *Accounts) explainAccess(ctx context.Context, req *iamv1.ExplainAccessRequest) (*iamv1.ExplainAccessResponse, error) {
	if _, err := authenticated(ctx); err != nil {
		return nil, err
	}
	who, address := subject(ctx), iam.AddressOf(ctx)
	full := a.allow(ctx, explain, resource.Name(req.GetResource()))
	if m := req.GetMember(); m != "" && m != who.Member {
		if full != nil {
			return nil, full
		}
		if err := access.CheckMember(m); err != nil && iam.Implied(m) == nil {
			return nil, invalid("member", "%w", err)
		}
		who, address = access.Subject{Member: m}, netip.Addr{}
	}
	if text := req.GetAddress(); text != "" {
		var err error
		if address, err = netip.ParseAddr(text); err != nil {
			return nil, invalid("address", "%q is no address", text)
		}
	}
	q, err := a.question(iam.WithAddress(ctx, address), who, req.GetPermission(), resource.Name(req.GetResource()))
	if err != nil {
		return nil, err
	}
	e := a.feed.Engine().Explain(q)
	out := &iamv1.ExplainAccessResponse{
		Allowed: e.Allowed, RoleBinding: e.Binding, Role: e.Role, Grant: int32(e.Grant), Member: e.Member, Scope: e.Scope,
	}
	if full != nil || e.Allowed {
		return out, nil // who may not look at bindings is not told of those of others
	}
	out.Roles, out.Scopes = e.Holders, e.Scopes
	for _, n := range e.Near {
		out.NearMisses = append(out.NearMisses, &iamv1.ExplainAccessResponse_NearMiss{
			RoleBinding: n.Binding, Role: n.Role, Grant: int32(n.Grant), Failed: n.Failed.Names(),
		})
	}
	return out, nil
}

// setPassword answers SetPassword.
func (a *Accounts) setPassword(ctx context.Context, req *iamv1.SetPasswordRequest) (*iamv1.User, error) {
	p, err := authenticated(ctx)
	if err != nil {
		return nil, err
	}
	name := resource.Name(req.GetName())
	account, known := a.feed.Accounts().Account(string(name))
	denied := a.allow(ctx, "iam.users.setPassword", name)
	switch {
	case denied == nil && known:
		if err := a.coversMember(ctx, "name", access.User+account.Email); err != nil {
			return nil, err
		}
	case p.Name != string(name):
		if denied != nil {
			return nil, denied
		}
	default:
		_, hash, _ := a.feed.Accounts().UserByEmail(account.Email)
		if err := a.passwords.Check(ctx, account.Email, iam.AddressOf(ctx).String(), hash, req.GetOldPassword()); err != nil {
			return nil, err
		}
	}
	hash := ""
	if req.GetPassword() != "" {
		if hash, err = a.passwords.Hash(ctx, req.GetPassword()); err != nil {
			return nil, err
		}
	}
	var out *iamv1.User
	follows, err := a.policy(ctx)
	if err != nil {
		return nil, err
	}
	r, err := a.feed.Type(iamv1.UserType)
	if err != nil {
		return nil, err
	}
	sessions, err := a.feed.Type(iamv1.SessionType)
	if err != nil {
		return nil, err
	}
	err = a.store.Run(policy.With(ctx, follows), store.Transaction, func(ctx context.Context) error {
		m, err := a.store.Get(ctx, r, name)
		if err != nil {
			return err
		}
		out, _ = m.(*iamv1.User)
		out.PasswordHash = hash
		// Who signed in with another one does so again.
		open, err := a.sessionsOf(ctx, sessions, ofUser(out.GetName()), maxSessions)
		if err != nil {
			return err
		}
		if err := a.end(ctx, sessions, open...); err != nil {
			return err
		}
		return a.store.Save(ctx, out, store.SaveOptions{Update: true})
	})
	if err != nil {
		return nil, err
	}
	out = proto.CloneOf(out)
	out.PasswordHash = ""
	return out, nil
}
