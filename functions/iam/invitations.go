package iam

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

const (
	// invitationLife is how long an invitation is good for by default.
	invitationLife = 7 * 24 * time.Hour
	// maxInvitations bounds the invitations that one sign-in accepts.
	maxInvitations = 100
)

// tokenOf finds the token of a new invitation in a context: the hook of its type
// stores the hash.
type tokenOf struct{}

// hashToken is the stored hash of a token. It is random, so that it needs no
// salt.
func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// invite is a Call of CreateInvitation. The answer has the token, once.
func (a *Accounts) invite(ctx context.Context, do func(context.Context) (proto.Message, error)) (proto.Message, error) {
	token := rand.Text()
	out, err := do(context.WithValue(ctx, tokenOf{}, token))
	if i, ok := out.(*iamv1.Invitation); ok && err == nil {
		// The answer to an earlier request has another hash, which it does not
		// show: the one that is stored tells.
		stored, err := a.invitationOf(ctx, resource.Name(i.GetName()))
		if err != nil {
			return nil, err
		}
		if stored.GetHash() == hashToken(token) {
			i.Token = token
		}
	}
	return out, err
}

// invitationOf reads an invitation.
func (a *Accounts) invitationOf(ctx context.Context, name resource.Name) (out *iamv1.Invitation, err error) {
	err = a.store.Run(ctx, store.Consistent, func(ctx context.Context) error {
		m, err := a.store.Get(ctx, a.invitation, name)
		out, _ = m.(*iamv1.Invitation)
		return err
	})
	return out, err
}

// fillInvitation fills in what a new invitation does not say.
func (a *Accounts) fillInvitation(ctx context.Context, i *iamv1.Invitation) error {
	i.Email = strings.ToLower(i.GetEmail())
	if i.GetHash() != "" {
		return nil
	}
	if i.GetExpireTime() == nil {
		i.ExpireTime = timestamppb.New(a.store.Now().Add(invitationLife))
	}
	token, ok := ctx.Value(tokenOf{}).(string)
	if !ok {
		return errors.New("BUG: iam: an invitation without a token")
	}
	i.Hash, i.State, i.Inviter = hashToken(token), iamv1.Invitation_PENDING, subject(ctx).Member
	i.MakesUser = a.allow(ctx, "iam.users.create", "") == nil
	return nil
}

// checkInvitation refuses an invitation to more than the caller has, or of
// somebody who may do more.
func (a *Accounts) checkInvitation(ctx context.Context, old, i *iamv1.Invitation) error {
	if old != nil {
		return nil
	}
	if !i.GetExpireTime().AsTime().After(a.store.Now()) {
		return invalid("expireTime", "the invitation would be no good: that is past")
	}
	if i.GetMakesUser() {
		if err := a.coversMember(ctx, "email", access.User+i.GetEmail()); err != nil {
			return err
		}
	}
	return a.checkBinding(ctx, nil, bindingBy(i))
}

// bindingBy is the binding that an invitation leads to.
func bindingBy(i *iamv1.Invitation) *iamv1.RoleBinding {
	name := resource.Name(i.GetName())
	scope := string(name.Parent())
	if scope != "" {
		scope += "/"
	}
	return &iamv1.RoleBinding{
		Name: scope + "roleBindings/invitation-" + name.ID(), Role: i.GetRole(), Members: []string{access.User + i.GetEmail()},
	}
}

// notAccepted is the fault of an invitation that cannot be accepted so.
func notAccepted(name, reason, text string) error {
	return &fault.Error{Op: "iam.AcceptInvitation", Name: name, Kind: fault.Precondition, Reason: reason, Err: errors.New(text)}
}

// acceptInvitation answers AcceptInvitation.
func (a *Accounts) acceptInvitation(ctx context.Context, req *iamv1.AcceptInvitationRequest) (*iamv1.Invitation, error) {
	i, err := a.invitationOf(ctx, resource.Name(req.GetName()))
	if fault.KindOf(err) == fault.NotFound || err == nil && subtle.ConstantTimeCompare([]byte(hashToken(req.GetToken())), []byte(i.GetHash())) != 1 {
		return nil, &fault.Error{
			Op: "iam.AcceptInvitation", Name: req.GetName(), Kind: fault.Denied, Reason: "WRONG_TOKEN", Field: "token",
			Err: errors.New("there is no such invitation, or the token is another's"),
		}
	}
	if err != nil {
		return nil, err
	}
	if p := iam.PrincipalOf(ctx); p.Kind == iam.User && p.Email == i.GetEmail() {
		return a.accept(ctx, i, nil)
	}
	_, _, there := a.feed.Accounts().UserByEmail(i.GetEmail())
	if there || !i.GetMakesUser() || req.GetPassword() == "" {
		return nil, notAccepted(i.GetName(), "NOT_SIGNED_IN", "sign in as "+i.GetEmail()+" to accept the invitation, or give a password if you may become a user by it")
	}
	if err := a.covers(access.Subject{Member: i.GetInviter()}, "email", access.User+i.GetEmail()); err != nil {
		return nil, err
	}
	hash, err := a.passwords.Hash(ctx, req.GetPassword())
	if err != nil {
		return nil, err
	}
	return a.accept(ctx, i, &iamv1.User{
		Name: newUserName(), Email: i.GetEmail(), DisplayName: req.GetDisplayName(), State: iamv1.User_ACTIVE, PasswordHash: hash,
	})
}

// newUserName is the name of a user that nobody chose.
func newUserName() string { return "users/u" + strings.ToLower(rand.Text()) }

// accept accepts an invitation for the user of its address, who is made with it
// unless that is nil.
func (a *Accounts) accept(ctx context.Context, i *iamv1.Invitation, user *iamv1.User) (*iamv1.Invitation, error) {
	name := resource.Name(i.GetName())
	binding := bindingBy(i)
	scope := string(name.Parent())
	if !a.feed.Engine().Covers(access.Subject{Member: i.GetInviter()}, scope, i.GetRole()) {
		return nil, notAccepted(i.GetName(), "INVITATION_STALE", "who invited does not have that role any more")
	}
	follows, err := a.policy(ctx)
	if a.options.Service.Policies != nil && scope != "" {
		follows, err = a.options.Service.Policies.For(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	var out *iamv1.Invitation
	err = a.store.Run(policy.With(ctx, follows), store.Transaction, func(ctx context.Context) error {
		m, err := a.store.Get(ctx, a.invitation, name)
		if err != nil {
			return err
		}
		var ok bool
		if out, ok = m.(*iamv1.Invitation); !ok {
			return fmt.Errorf("BUG: iam: %s is a %T", name, m)
		}
		switch {
		case out.GetState() != iamv1.Invitation_PENDING:
			return notAccepted(i.GetName(), "INVITATION_USED", "the invitation was accepted before")
		case !out.GetExpireTime().AsTime().After(a.store.Now()):
			return notAccepted(i.GetName(), "INVITATION_EXPIRED", "the invitation expired at "+out.GetExpireTime().AsTime().Format(time.RFC3339))
		}
		out.State = iamv1.Invitation_ACCEPTED
		writes := []proto.Message{out}
		if user != nil {
			writes = append(writes, proto.CloneOf(user))
		}
		for _, m := range append(writes, proto.CloneOf(binding)) {
			if err := a.store.Save(ctx, m, store.SaveOptions{Create: m != out, Update: m == out, Reason: "invited"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out = proto.CloneOf(out)
	out.Hash = ""
	return out, nil
}

// acceptAll makes a user of a person whom a provider vouches for, if he was
// invited, and accepts his invitations. It returns the name, "" if there are
// none.
func (a *Accounts) acceptAll(ctx context.Context, person iam.Claims) (string, error) {
	email := strings.ToLower(person.Email)
	pending, err := filter.Parse(a.invitation, fmt.Sprintf("email = %q", email))
	if err != nil {
		return "", nil // an address that no invitation has
	}
	var all []proto.Message
	err = a.store.Run(ctx, store.Consistent, func(ctx context.Context) error {
		page, err := a.store.List(ctx, a.invitation, store.Query{Filter: pending, Limit: maxInvitations})
		if err == nil {
			all = page.Objects
		}
		return err
	})
	user := &iamv1.User{
		Name: newUserName(), Email: email, State: iamv1.User_ACTIVE,
		Identities: []*iamv1.Identity{{Issuer: person.Issuer, Subject: person.Subject}},
	}
	name := ""
	for _, m := range all {
		i, ok := m.(*iamv1.Invitation)
		if !ok || i.GetState() != iamv1.Invitation_PENDING {
			continue
		}
		made := user
		if name != "" {
			made = nil
		}
		switch _, err := a.accept(ctx, i, made); {
		case err == nil:
			name = user.GetName()
		case fault.KindOf(err) != fault.Precondition:
			return name, err
		}
	}
	return name, err
}
