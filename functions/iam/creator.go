package iam

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// creatorID is the id of the binding that who makes a project or an organization
// gets with it. Whoever may delete bindings there can take it from him.
const creatorID = "creator"

// creatorBinding is the name of it.
func creatorBinding(scope string) resource.Name {
	return resource.Name(scope + "/roleBindings/" + creatorID)
}

// owns reports whether who makes a scope, which is to be in the one above, owns it
// without a binding of his own: he is an administrator above, and stays the owner
// as long as he is that. Who is no user and no service account has no bindings.
func (a *Accounts) owns(ctx context.Context, scope, above string) bool {
	if kind := iam.PrincipalOf(ctx).Kind; kind != iam.User && kind != iam.ServiceAccount || access.CheckMember(subject(ctx).Member) != nil {
		return true
	}
	for _, s := range []string{scope, above} {
		if s != "" && a.feed.Engine().Covers(subject(ctx), s, iam.Administrator) {
			return true
		}
	}
	return false
}

// checkCreator refuses to make a scope of something that there is already, to
// somebody who does not own that: he would by making it.
func (a *Accounts) checkCreator(ctx context.Context, m proto.Message, above string) error {
	r := a.store.Types().Of(m)
	scope := string(r.NameOf(m))
	if a.owns(ctx, scope, above) {
		return nil
	}
	if _, err := a.store.Get(ctx, r, resource.Name(scope)); fault.KindOf(err) != fault.NotFound {
		return err // it is there, which its writing finds out
	}
	used, err := a.used(ctx, scope)
	if err == nil && !used && a.options.InUse != nil {
		used, err = a.options.InUse(ctx, resource.Name(scope))
	}
	if err == nil && used {
		err = &fault.Error{
			Op: "iam.Save", Name: scope, Kind: fault.Exists, Reason: "IN_USE", Field: "name",
			Err: errors.New("there is something in it already: choose another name, or have an administrator make it"),
		}
	}
	if err == nil {
		a.creations(ctx)[scope] = true
	}
	return err
}

// creationsKey finds what a transaction keeps of creations.
type creationsKey struct{}

// creations are the scopes whose creator is to own them, by [Accounts.checkCreator]
// in the same transaction.
func (a *Accounts) creations(ctx context.Context) map[string]bool {
	if tx, ok := a.store.TxOf(ctx); ok {
		if all, ok := tx.Keep(creationsKey{}, func() any { return map[string]bool{} }).(map[string]bool); ok {
			return all
		}
	}
	return map[string]bool{}
}

// used reports whether the store has something below a name. That it has not is
// checked at the commit.
func (a *Accounts) used(ctx context.Context, scope string) (found bool, err error) {
	tx, ok := a.store.TxOf(ctx)
	if !ok {
		return false, errors.New("BUG: iam: a check without a handle")
	}
	collection, _, _ := strings.Cut(scope, "/")
	for _, s := range a.store.Types().Services() {
		for _, r := range s.Resources {
			if r.Options.GetHidden() || !within(r, collection) {
				continue
			}
			// "0" comes after "/", so that these are all names with the prefix.
			err = tx.Scan(ctx, store.Scan{Type: r.Type, From: resource.Name(scope + "/"), To: resource.Name(scope + "0"), Limit: 1}, func(*schema.Resource, proto.Message) bool {
				found = true
				return false
			})
			if err != nil || found {
				return found, err
			}
		}
	}
	return false, nil
}

// within reports whether objects of a type can be below those of a collection.
func within(r *schema.Resource, collection string) bool {
	for _, p := range r.Patterns {
		if first, rest, _ := strings.Cut(string(p), "/"); first == collection && strings.Contains(rest, "/") {
			return true
		}
	}
	return false
}

// bindCreator gives who made a scope the role of its owner.
func (a *Accounts) bindCreator(ctx context.Context, scope string) error {
	if !a.creations(ctx)[scope] {
		return nil
	}
	err := a.store.Save(ctx, &iamv1.RoleBinding{
		Name: string(creatorBinding(scope)), Role: iam.Administrator, Members: []string{subject(ctx).Member},
	}, store.SaveOptions{Create: true, Reason: "creator"})
	if err != nil {
		return fmt.Errorf("giving %s to who makes it: %w", scope, err)
	}
	return nil
}

// unbindCreator takes the binding away with its scope, which could not be deleted
// by who has no other.
func (a *Accounts) unbindCreator(ctx context.Context, scope string) error {
	r, err := a.feed.Type(iamv1.RoleBindingType)
	if err != nil {
		return err
	}
	return a.store.Delete(ctx, r, creatorBinding(scope), store.DeleteOptions{AllowMissing: true, Reason: "creator"})
}
