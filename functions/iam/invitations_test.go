package iam_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	sdkiam "selvedge.dev/sdk/iam"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// invite invites somebody to be a viewer.
func (w *world) invite(t testing.TB, by, scope string, i *iamv1.Invitation) (*iamv1.Invitation, error) {
	t.Helper()
	return call[*iamv1.Invitation](as(t, by), w, "CreateInvitation", &iamv1.CreateInvitationRequest{Parent: scope, Invitation: i})
}

// Who is invited gets the role: a user who is there, or one who becomes one by
// it. The token is told once, works once, and in its time. SPEC A3
func TestInvitations_Life(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const password = "correct horse battery"
	i, err := w.invite(t, "admin", "projects/p", &iamv1.Invitation{Email: "Ada@Example.com", Role: viewer})
	require.NoError(t, err)
	require.NotEmpty(t, i.GetToken())
	require.Empty(t, i.GetHash())
	require.Equal(t, []any{"ada@example.com", "admin", iamv1.Invitation_PENDING, true}, []any{i.GetEmail(), i.GetInviter(), i.GetState(), i.GetMakesUser()})
	accept := func(i *iamv1.Invitation, token, password, who string) error {
		t.Helper()
		ctx := t.Context()
		if who != "" {
			ctx = as(t, who)
		}
		_, err := call[*iamv1.Invitation](ctx, w, "AcceptInvitation", &iamv1.AcceptInvitationRequest{Name: i.GetName(), Token: token, Password: password})
		return err
	}
	refused(t, accept(i, "x", password, ""), fault.Denied, "WRONG_TOKEN")
	refused(t, accept(&iamv1.Invitation{Name: "projects/p/invitations/no"}, "x", password, ""), fault.Denied, "WRONG_TOKEN")
	refused(t, accept(i, i.GetToken(), "", ""), fault.Precondition, "NOT_SIGNED_IN")
	refused(t, accept(i, i.GetToken(), "", "user:bob@example.com"), fault.Precondition, "NOT_SIGNED_IN")
	require.NoError(t, accept(i, i.GetToken(), password, ""))
	refused(t, accept(i, i.GetToken(), password, "user:ada@example.com"), fault.Precondition, "INVITATION_USED")
	token, _ := form(t, w, url.Values{"grant_type": {"password"}, "username": {"ada@example.com"}, "password": {password}})
	p, err := w.who.Authenticate(t.Context(), "Bearer "+token)
	require.NoError(t, err)
	ctx := sdkiam.WithPrincipal(t.Context(), p)
	require.NoError(t, w.may.Allow(ctx, get, "projects/p/devices/d"))
	require.Error(t, w.may.Allow(ctx, get, "projects/q/devices/d"))

	// A user who is there accepts himself, and not with another's password.
	i, err = w.invite(t, "admin", "", &iamv1.Invitation{Email: "ada@example.com", Role: viewer})
	require.NoError(t, err)
	refused(t, accept(i, i.GetToken(), password, ""), fault.Precondition, "NOT_SIGNED_IN")
	require.NoError(t, accept(i, i.GetToken(), "", "user:ada@example.com"))
	require.NoError(t, w.may.Allow(ctx, get, "projects/q/devices/d"))
	_, err = w.invite(t, "admin", "", &iamv1.Invitation{Email: "a@example.com", Role: viewer, ExpireTime: timestamppb.New(time.Now().Add(-time.Minute))})
	refused(t, err, fault.Invalid, "INVALID_FIELD")
}

// Who may invite hands out no more than he has, not even as somebody whom others
// gave roles, and not when he has it no more.
func TestInvitations_NobodyHandsOutMore(t *testing.T) {
	t.Parallel()
	w, admin := newWorld(t), as(t, "admin")
	require.NoError(t, w.role(admin, "projects/p", "inviter", "iam.invitations.*", get))
	require.NoError(t, w.role(admin, "projects/p", "little", get))
	require.NoError(t, w.bind(admin, "projects/p", "eve", "projects/p/roles/inviter", "user:eve@example.com"))
	_, err := w.invite(t, "user:eve@example.com", "projects/p", &iamv1.Invitation{Email: "bob@example.com", Role: sdkiam.Administrator})
	refused(t, err, fault.Denied, "ROLE_EXCEEDS_OWN")
	i, err := w.invite(t, "user:eve@example.com", "projects/p", &iamv1.Invitation{Email: "bob@example.com", Role: "projects/p/roles/little"})
	require.NoError(t, err)
	require.False(t, i.GetMakesUser(), "who may not make users makes none by invitations")
	accept := &iamv1.AcceptInvitationRequest{Name: i.GetName(), Token: i.GetToken(), Password: "correct horse battery"}
	_, err = call[*iamv1.Invitation](t.Context(), w, "AcceptInvitation", accept)
	refused(t, err, fault.Precondition, "NOT_SIGNED_IN")
	_, err = call[*resourcev1.DeletionPlan](admin, w, "DeleteRoleBinding", &iamv1.DeleteRoleBindingRequest{Name: "projects/p/roleBindings/eve"})
	require.NoError(t, err)
	_, err = call[*iamv1.Invitation](as(t, "user:bob@example.com"), w, "AcceptInvitation", accept)
	refused(t, err, fault.Precondition, "INVITATION_STALE")
}
