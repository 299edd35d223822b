// Package feed has a process decide who may do what, and know who there is, from
// memory: a [Feed] keeps an engine of sdk/iam/access and a [Directory] of accounts
// as the store has them.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// fed are the types that a Feed follows.
var fed = []string{
	iamv1.OrganizationType, iamv1.ProjectType, iamv1.UserType, iamv1.ServiceAccountType, iamv1.ServiceAccountKeyType, iamv1.GroupType, iamv1.RoleType, iamv1.RoleBindingType, iamv1.SigningKeyType,
}

// Feed keeps an engine and the accounts as the store has them. What a write of
// the same process changed holds when the writer is answered, what another
// process wrote as soon as [Feed.Run] has read of it.
//
// It never believes what a write or a change says, but reads the object again,
// one after the other: a write may have failed, and two may be told of in
// another order than they were committed in.
type Feed struct {
	engine   *access.Engine
	accounts *Directory

	// mu makes reading an object and telling of it one step.
	mu sync.Mutex
	// st is nil before Fill.
	st  *store.Store
	log *slog.Logger
	// known are the versions of the objects that were told of, by type, and at is
	// the last change that Fill saw.
	known map[string]map[resource.Name]store.Seq
	at    store.Seq
}

// New makes a feed of an engine.
func New(e *access.Engine) *Feed {
	f := &Feed{engine: e, accounts: newDirectory(), log: slog.New(slog.DiscardHandler), known: map[string]map[resource.Name]store.Seq{}}
	for _, typ := range fed {
		f.known[typ] = map[resource.Name]store.Seq{}
	}
	return f
}

// readTimeout bounds one look at the store.
const readTimeout = 10 * time.Second

// Fill reads everything there is. Nothing may be decided before it returns.
func (f *Feed) Fill(ctx context.Context, st *store.Store) error {
	f.mu.Lock()
	f.st, f.log = st, st.Logger()
	f.mu.Unlock()
	f.accounts.follow(st.Now)
	var err error
	f.at, err = f.fill(ctx)
	return err
}

// fill reads everything and returns the last change that was seen.
func (f *Feed) fill(ctx context.Context) (store.Seq, error) { return f.Look(ctx, fed...) }

// Look reads all objects of types again and returns the last change that was
// seen.
func (f *Feed) Look(ctx context.Context, types ...string) (store.Seq, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	snapshot, at, err := f.st.Driver().Snapshot(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading accounts and roles: %w", err)
	}
	for _, typ := range types {
		gone := maps.Clone(f.known[typ])
		r, err := f.Type(typ)
		if err == nil {
			err = snapshot.Scan(ctx, store.Scan{Type: typ}, func(rec *store.Record) bool {
				delete(gone, rec.Name)
				f.tell(r, rec.Name, rec)
				return true
			})
		}
		if err != nil {
			return 0, errors.Join(fmt.Errorf("reading accounts and roles: %w", err), snapshot.Close())
		}
		for name := range gone {
			f.tell(r, name, nil)
		}
	}
	return at, snapshot.Close()
}

// Type is a type of the store.
func (f *Feed) Type(name string) (*schema.Resource, error) {
	r, ok := f.st.Types().Type(name)
	if !ok {
		return nil, fmt.Errorf("iam: the store does not have the type %s", name)
	}
	return r, nil
}

// isFed reports whether decisions depend on a type.
func isFed(typ string) bool { return slices.Contains(fed, typ) }

// Written is to be called with what was written, before the writer is told that
// it was: [store.Options].Written. A write that cannot be read again is left to
// Run, which comes to it if it was committed.
func (f *Feed) Written(writes []store.Write) {
	for _, w := range writes {
		if !isFed(w.Type) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		if err := f.Refresh(ctx, w.Type, w.Name); err != nil {
			f.log.WarnContext(ctx, "a change of permissions holds only when it is read again", slog.String("name", string(w.Name)), slog.Any("error", err))
		}
		cancel()
	}
}

// Refresh tells the engine what an object is now.
func (f *Feed) Refresh(ctx context.Context, typ string, name resource.Name) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.st == nil {
		return nil
	}
	r, err := f.Type(typ)
	if err != nil {
		return err
	}
	snapshot, _, err := f.st.Driver().Snapshot(ctx)
	if err != nil {
		return err
	}
	records, err := snapshot.Get(ctx, typ, []resource.Name{name})
	if err = errors.Join(err, snapshot.Close()); err != nil {
		return err
	}
	f.tell(r, name, records[0])
	return nil
}

// Run follows the changes of other processes until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	at, follows := f.at, true
	for ctx.Err() == nil {
		var err error
		if follows {
			at, err = f.follow(ctx, at)
			follows = fault.ReasonOf(err) != "CHANGES_EXPIRED"
		} else {
			at, err = f.fill(ctx) // whatever there was between
			follows = err == nil
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		f.log.WarnContext(ctx, "permissions cannot follow the changes", slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
	return nil
}

// changesAtOnce is how many changes are read at once, retryPause how long Run
// waits after the database did not answer.
const (
	changesAtOnce = 500
	retryPause    = 200 * time.Millisecond
)

// follow waits for changes after one and tells of them; it returns the last.
func (f *Feed) follow(ctx context.Context, at store.Seq) (store.Seq, error) {
	if err := f.st.Driver().Wait(ctx, at); err != nil {
		return at, err
	}
	changes, err := f.st.Driver().Changes(ctx, at, changesAtOnce)
	if err != nil {
		return at, err
	}
	for _, c := range changes {
		if isFed(c.Type) {
			if err := f.Refresh(ctx, c.Type, c.Name); err != nil {
				return at, err
			}
		}
		at = c.Seq
	}
	return at, nil
}

// tell tells the engine and the directory what an object is; a record of nil is
// none. What cannot be is taken for nothing: it grants nothing. f.mu is held.
func (f *Feed) tell(r *schema.Resource, name resource.Name, rec *store.Record) {
	version, was := f.known[r.Type][name]
	switch {
	case rec == nil && !was, rec != nil && was && version == rec.Version:
		return // told already
	case rec == nil:
		delete(f.known[r.Type], name)
	default:
		f.known[r.Type][name] = rec.Version
	}
	m := r.New()
	if rec != nil {
		if err := proto.Unmarshal(rec.Body, m); err != nil {
			f.log.Error("an object of iam cannot be read", slog.String("name", string(name)), slog.Any("error", err))
			rec = nil
		}
	}
	r.SetName(m, name)
	if err := f.apply(m, name, rec != nil); err != nil {
		f.log.Error("an object of iam cannot be used", slog.String("name", string(name)), slog.Any("error", err))
		if err := f.apply(r.New(), name, false); err != nil {
			f.log.Error("an object of iam cannot be removed", slog.String("name", string(name)), slog.Any("error", err))
		}
	}
}

// apply does what an object says, or undoes it if it is not there.
func (f *Feed) apply(m proto.Message, name resource.Name, there bool) error {
	switch m := m.(type) {
	case *iamv1.Organization:
		return f.engine.SetParent(string(name), m.GetParentOrganization())
	case *iamv1.Project:
		return f.engine.SetParent(string(name), m.GetOrganization())
	case *iamv1.Group:
		return f.engine.SetGroup(string(name), m.GetMembers())
	case *iamv1.Role:
		if !there {
			f.engine.DeleteRole(string(name))
			return nil
		}
		return f.engine.SetRole(RoleOf(m))
	case *iamv1.RoleBinding:
		if !there {
			f.engine.DeleteBinding(string(name))
			return nil
		}
		b, err := BindingOf(m)
		if err != nil {
			return err
		}
		return f.engine.SetBinding(b)
	case *iamv1.User:
		f.accounts.setUser(name, orNil(m, there))
	case *iamv1.ServiceAccount:
		f.accounts.setServiceAccount(name, orNil(m, there))
	case *iamv1.ServiceAccountKey:
		return f.accounts.setKey(name, orNil(m, there))
	case *iamv1.SigningKey:
		return f.accounts.setSigningKey(name, orNil(m, there))
	}
	return nil
}

// orNil is an object that is there, and otherwise nil.
func orNil[M any](m *M, there bool) *M {
	if there {
		return m
	}
	return nil
}

// RoleOf is a role as the engine has it.
func RoleOf(m *iamv1.Role) access.Role {
	r := access.Role{Name: m.GetName(), Params: m.GetParams()}
	conditions := func(all []*iamv1.FieldCondition) (out []access.FieldCondition) {
		for _, c := range all {
			out = append(out, access.FieldCondition{Path: c.GetPath(), Values: c.GetValues(), Param: c.GetParam()})
		}
		return out
	}
	for _, g := range m.GetGrants() {
		r.Grants = append(r.Grants, access.Grant{
			SubScope: g.GetSubScope(), Permissions: g.GetPermissions(), Except: g.GetExcept(),
			Fields: conditions(g.GetFields()), Request: conditions(g.GetRequestFields()),
		})
	}
	return r
}

// BindingOf is a binding as the engine has it.
func BindingOf(m *iamv1.RoleBinding) (access.Binding, error) {
	b := access.Binding{
		Name: m.GetName(), Scope: string(resource.Name(m.GetName()).Parent()), Role: m.GetRole(), Members: m.GetMembers(),
		OwnScopeOnly: m.GetDisableForChildScopes(),
	}
	for k, p := range m.GetParams() {
		if b.Params == nil {
			b.Params = map[string]access.Param{}
		}
		b.Params[k] = access.Param{Value: p.GetValue(), Attribute: p.GetAttribute()}
	}
	c := m.GetCondition()
	when := func(t *timestamppb.Timestamp) time.Time {
		if t == nil {
			return time.Time{}
		}
		return t.AsTime()
	}
	b.NotBefore, b.Expire = when(c.GetNotBefore()), when(c.GetExpireTime())
	var err error
	if b.Allow, err = prefixes("condition.allowCidrs", c.GetAllowCidrs()); err != nil {
		return b, err
	}
	b.Deny, err = prefixes("condition.denyCidrs", c.GetDenyCidrs())
	return b, err
}

// prefixes reads CIDRs.
func prefixes(field string, texts []string) (out []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, &fault.Error{Op: "iam.Save", Kind: fault.Invalid, Reason: "INVALID_FIELD", Field: field, Err: fmt.Errorf("%q is no CIDR: want 10.0.0.0/8 or 2001:db8::/32", text)}
		}
		out = append(out, p)
	}
	return out, nil
}

// Accounts are the accounts that the feed knows.
func (f *Feed) Accounts() *Directory { return f.accounts }

// Learn reads the signing keys again, of which no change tells: they are the
// platform's own records. Every process does so some times within [Announced].
func (f *Feed) Learn(ctx context.Context) error {
	_, err := f.Look(ctx, iamv1.SigningKeyType)
	return err
}

// Engine is what decides by what the feed tells it.
func (f *Feed) Engine() *access.Engine { return f.engine }
