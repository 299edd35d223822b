package iam_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	sdkiam "selvedge.dev/sdk/iam"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// viewer is a built-in role.
const viewer = "services/iam.selvedge.dev/roles/viewer"

// get is a permission that viewers have.
const get = "devices.devices.get"

// What a binding grants holds when its creation was answered, and no longer when
// its deletion was: of the binding, of the group, of the role. SPEC A3
func TestAccounts_ChangesHoldAtOnce(t *testing.T) {
	t.Parallel()
	w, admin, ada := newWorld(t), as(t, "admin"), as(t, "user:ada@example.com")
	const device = "projects/p/devices/d"
	refused(t, w.may.Allow(ada, get, device), fault.Denied, "PERMISSION_DENIED")
	require.NoError(t, w.bind(admin, "projects/p", "b", viewer, "user:ada@example.com"))
	require.NoError(t, w.may.Allow(ada, get, device))
	require.Error(t, w.may.Allow(ada, "devices.devices.delete", device))
	require.Error(t, w.may.Allow(ada, get, "projects/q/devices/d"))
	_, err := call[*resourcev1.DeletionPlan](admin, w, "DeleteRoleBinding", &iamv1.DeleteRoleBindingRequest{Name: "projects/p/roleBindings/b"})
	require.NoError(t, err)
	require.Error(t, w.may.Allow(ada, get, device))

	require.NoError(t, w.role(admin, "projects/p", "reader", get))
	_, err = call[*iamv1.Group](admin, w, "CreateGroup", &iamv1.CreateGroupRequest{
		Parent: "projects/p", GroupId: "g", Group: &iamv1.Group{Members: []string{"user:ada@example.com"}},
	})
	require.NoError(t, err)
	require.NoError(t, w.bind(admin, "projects/p", "c", "projects/p/roles/reader", "group:projects/p/groups/g"))
	require.NoError(t, w.may.Allow(ada, get, device))
	members := func(all ...string) {
		t.Helper()
		_, err := call[*iamv1.Group](admin, w, "UpdateGroup", &iamv1.UpdateGroupRequest{
			Group: &iamv1.Group{Name: "projects/p/groups/g", Members: all}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"members"}},
		})
		require.NoError(t, err)
	}
	members()
	require.Error(t, w.may.Allow(ada, get, device))
	members("domain:example.com")
	require.NoError(t, w.may.Allow(ada, get, device))
	_, err = call[*iamv1.Role](admin, w, "UpdateRole", &iamv1.UpdateRoleRequest{
		Role: &iamv1.Role{Name: "projects/p/roles/reader", Grants: []*iamv1.Grant{{Permissions: []string{"devices.devices.list"}}}},
	})
	require.NoError(t, err)
	require.Error(t, w.may.Allow(ada, get, device))
	require.NoError(t, w.may.Allow(ada, "devices.devices.list", device))
}

// A role in an organization is one in its projects, also in those that are put
// into it later. SPEC A3
func TestAccounts_Organizations(t *testing.T) {
	t.Parallel()
	w, admin, ada := newWorld(t), as(t, "admin"), as(t, "user:ada@example.com")
	for id, parent := range map[string]string{"top": "", "mid": "organizations/top"} {
		if parent != "" {
			continue
		}
		_, err := call[*iamv1.Organization](admin, w, "CreateOrganization", &iamv1.CreateOrganizationRequest{OrganizationId: id, Organization: &iamv1.Organization{}})
		require.NoError(t, err)
	}
	_, err := call[*iamv1.Organization](admin, w, "CreateOrganization", &iamv1.CreateOrganizationRequest{OrganizationId: "mid", Organization: &iamv1.Organization{ParentOrganization: "organizations/top"}})
	require.NoError(t, err)
	_, err = call[*iamv1.Organization](admin, w, "UpdateOrganization", &iamv1.UpdateOrganizationRequest{Organization: &iamv1.Organization{Name: "organizations/top", ParentOrganization: "organizations/mid"}})
	refused(t, err, fault.Invalid, "INVALID_FIELD")
	require.NoError(t, w.bind(admin, "organizations/top", "b", viewer, "user:ada@example.com"))
	require.Error(t, w.may.Allow(ada, get, "projects/p/devices/d"))
	_, err = call[*iamv1.Project](admin, w, "CreateProject", &iamv1.CreateProjectRequest{ProjectId: "p", Project: &iamv1.Project{Organization: "organizations/mid"}})
	require.NoError(t, err)
	require.NoError(t, w.may.Allow(ada, get, "projects/p/devices/d"))
	_, err = call[*resourcev1.DeletionPlan](admin, w, "DeleteOrganization", &iamv1.DeleteOrganizationRequest{Name: "organizations/mid"})
	require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
	_, err = call[*resourcev1.DeletionPlan](admin, w, "DeleteProject", &iamv1.DeleteProjectRequest{Name: "projects/p"})
	require.NoError(t, err)
	require.Error(t, w.may.Allow(ada, get, "projects/p/devices/d"))
}

// Nobody hands out more than he has, in whatever way: a binding, a role, a group
// that is bound, a key of an account that is bound, an account or a user that
// bindings name already. SPEC A3
func TestAccounts_NobodyHandsOutMore(t *testing.T) {
	t.Parallel()
	w, admin := newWorld(t), as(t, "admin")
	require.NoError(t, w.role(admin, "projects/p", "keeper", "iam.*", get))
	require.NoError(t, w.bind(admin, "projects/p", "keeper", "projects/p/roles/keeper", "user:eve@example.com"))
	eve := as(t, "user:eve@example.com")
	exceeds := func(err error) {
		t.Helper()
		refused(t, err, fault.Denied, "ROLE_EXCEEDS_OWN")
	}
	const me = "user:eve@example.com"
	require.NoError(t, w.role(eve, "projects/p", "less", get))
	require.NoError(t, w.bind(eve, "projects/p", "less", "projects/p/roles/less", "user:bob@example.com"))
	exceeds(w.bind(eve, "projects/p", "x", sdkiam.Administrator, me))
	exceeds(w.role(eve, "projects/p", "more", "devices.*"))
	refused(t, w.bind(eve, "", "x", "projects/p/roles/less", me), fault.Denied, "PERMISSION_DENIED")
	refused(t, w.bind(eve, "projects/q", "x", "projects/p/roles/less", me), fault.Denied, "PERMISSION_DENIED")
	refused(t, w.bind(admin, "projects/q", "x", "projects/p/roles/less", me), fault.Invalid, "INVALID_FIELD")
	_, err := call[*iamv1.Role](eve, w, "UpdateRole", &iamv1.UpdateRoleRequest{Role: &iamv1.Role{
		Name: "projects/p/roles/less", Grants: []*iamv1.Grant{{Permissions: []string{"*"}}},
	}})
	exceeds(err)
	refused(t, w.role(admin, "services/iam.selvedge.dev", "mine", get), fault.Denied, "ROLE_IS_BUILT_IN")
	_, err = call[*resourcev1.DeletionPlan](admin, w, "DeleteRole", &iamv1.DeleteRoleRequest{Name: viewer})
	refused(t, err, fault.Denied, "ROLE_IS_BUILT_IN")

	require.NoError(t, w.bind(admin, "", "group", sdkiam.Administrator, "group:projects/p/groups/admins"))
	_, err = call[*iamv1.Group](eve, w, "CreateGroup", &iamv1.CreateGroupRequest{Parent: "projects/p", GroupId: "admins", Group: &iamv1.Group{Members: []string{me}}})
	exceeds(err)
	_, err = call[*iamv1.Group](eve, w, "CreateGroup", &iamv1.CreateGroupRequest{Parent: "projects/p", GroupId: "mine", Group: &iamv1.Group{Members: []string{me}}})
	require.NoError(t, err)

	account := w.account(t, "p", "robot")
	_, err = w.key(eve, account, "k", &iamv1.ServiceAccountKey{})
	require.NoError(t, err)
	require.NoError(t, w.bind(admin, "", "robot", sdkiam.Administrator, "serviceAccount:"+account, "serviceAccount:projects/p/serviceAccounts/later"))
	_, err = w.key(eve, account, "l", &iamv1.ServiceAccountKey{})
	exceeds(err)
	_, err = call[*iamv1.ServiceAccount](eve, w, "CreateServiceAccount", &iamv1.CreateServiceAccountRequest{
		Parent: "projects/p", ServiceAccountId: "later", ServiceAccount: &iamv1.ServiceAccount{},
	})
	exceeds(err)

	require.NoError(t, w.bind(admin, "", "users", "services/iam.selvedge.dev/roles/viewer", "user:mel@example.com"))
	_, err = call[*iamv1.User](eve, w, "CreateUser", &iamv1.CreateUserRequest{UserId: "mel", User: &iamv1.User{Email: "mel@example.com"}})
	refused(t, err, fault.Denied, "PERMISSION_DENIED")

	// A project's key makes no keys but those of devices: see the table.
	_, err = w.key(as(t, "projects/p"), account, "m", &iamv1.ServiceAccountKey{})
	refused(t, err, fault.Denied, "PERMISSION_DENIED")
}

// A key of a service account works from one time to another, until it or its
// account is gone or disabled; its secret is told once and never stored.
// SPEC A3
func TestAccounts_Keys(t *testing.T) {
	t.Parallel()
	w, admin := newWorld(t), as(t, "admin")
	account := w.account(t, "p", "robot")
	k, err := w.key(admin, account, "k", &iamv1.ServiceAccountKey{})
	require.NoError(t, err)
	require.NotEmpty(t, k.GetSecret())
	require.Empty(t, k.GetHash())
	name := k.GetName()
	got, err := call[*iamv1.ServiceAccountKey](admin, w, "GetServiceAccountKey", &iamv1.GetServiceAccountKeyRequest{Name: name})
	require.NoError(t, err)
	require.Empty(t, got.GetSecret())
	require.NotContains(t, got.String(), k.GetSecret()[17:])

	p, err := w.who.Authenticate(t.Context(), "Bearer "+k.GetSecret())
	require.NoError(t, err)
	require.Equal(t, sdkiam.Principal{Kind: sdkiam.ServiceAccount, Name: account, Project: "p", KeyID: k.GetKeyId()}, p)
	wrong := []byte(k.GetSecret())
	wrong[len(wrong)-1] ^= 3
	_, err = w.who.Authenticate(t.Context(), "Bearer "+string(wrong))
	refused(t, err, fault.Unauthenticated, "UNKNOWN_KEY")

	denied := func(reason string) {
		t.Helper()
		_, err := w.who.Authenticate(t.Context(), "Bearer "+k.GetSecret())
		refused(t, err, fault.Unauthenticated, reason)
	}
	update := func(method string, req proto.Message) {
		t.Helper()
		_, err := call[proto.Message](admin, w, method, req)
		require.NoError(t, err)
	}
	times := func(begin, end time.Time) {
		t.Helper()
		update("UpdateServiceAccountKey", &iamv1.UpdateServiceAccountKeyRequest{
			ServiceAccountKey: &iamv1.ServiceAccountKey{Name: name, NotBefore: timestamppb.New(begin), NotAfter: timestamppb.New(end)},
		})
	}
	now := time.Now()
	times(now.Add(-2*time.Hour), now.Add(-time.Hour))
	denied("KEY_EXPIRED")
	times(now.Add(time.Hour), now.Add(2*time.Hour))
	denied("KEY_NOT_YET")
	times(now.Add(-time.Hour), now.Add(time.Hour))
	_, err = w.who.Authenticate(t.Context(), "Bearer "+k.GetSecret())
	require.NoError(t, err)
	update("UpdateServiceAccount", &iamv1.UpdateServiceAccountRequest{ServiceAccount: &iamv1.ServiceAccount{Name: account, Disabled: true}})
	denied("ACCOUNT_DISABLED")
	update("DeleteServiceAccountKey", &iamv1.DeleteServiceAccountKeyRequest{Name: name})
	denied("UNKNOWN_KEY")
	_, err = w.key(admin, account, "old", &iamv1.ServiceAccountKey{NotAfter: timestamppb.New(now)})
	refused(t, err, fault.Invalid, "INVALID_FIELD")
	_, err = call[proto.Message](admin, w, "UpdateServiceAccountKey", &iamv1.UpdateServiceAccountKeyRequest{
		ServiceAccountKey: &iamv1.ServiceAccountKey{Name: account + "/serviceAccountKeys/new"}, AllowMissing: true,
	})
	refused(t, err, fault.NotFound, "NOT_FOUND")
}

// A request that comes again makes no second key, and is not told the secret.
func TestAccounts_KeyOfARepeatedRequest(t *testing.T) {
	t.Parallel()
	w, admin := newWorld(t), as(t, "admin")
	account := w.account(t, "p", "robot")
	make := func() *iamv1.ServiceAccountKey {
		k, err := call[*iamv1.ServiceAccountKey](admin, w, "CreateServiceAccountKey", &iamv1.CreateServiceAccountKeyRequest{
			Parent: account, ServiceAccountKeyId: "k", ServiceAccountKey: &iamv1.ServiceAccountKey{}, RequestId: "d1b1b9d4-1a0f-4a53-b6a6-d5ab0ad6a7ea",
		})
		require.NoError(t, err)
		return k
	}
	first, again := make(), make()
	require.Equal(t, first.GetKeyId(), again.GetKeyId())
	require.NotEmpty(t, first.GetSecret())
	require.Empty(t, again.GetSecret())
}

// Whoever asks is told what he may do, why, and what is missing. SPEC A3
func TestAccounts_Explain(t *testing.T) {
	t.Parallel()
	w, admin, ada := newWorld(t), as(t, "admin"), as(t, "user:ada@example.com")
	require.NoError(t, w.bind(admin, "projects/p", "b", viewer, "domain:example.com"))
	test, err := call[*iamv1.TestPermissionsResponse](ada, w, "TestPermissions", &iamv1.TestPermissionsRequest{
		Resource: "projects/p/devices/d", Permissions: []string{"events.publish", get, "no.such.thing"},
	})
	require.NoError(t, err)
	require.Equal(t, []string{get}, test.GetPermissions())
	mine, err := call[*iamv1.ListMyPermissionsResponse](ada, w, "ListMyPermissions", &iamv1.ListMyPermissionsRequest{Resource: "projects/p"})
	require.NoError(t, err)
	require.Equal(t, "user:ada@example.com", mine.GetMember())
	have := map[string]bool{}
	for _, p := range mine.GetPermissions() {
		have[p.GetPermission()] = !p.GetConditional()
	}
	require.True(t, have[get])
	require.True(t, have["iam.roles.list"])
	require.NotContains(t, have, "iam.roles.create")

	explain := func(member, permission, resource string) *iamv1.ExplainAccessResponse {
		t.Helper()
		e, err := call[*iamv1.ExplainAccessResponse](admin, w, "ExplainAccess", &iamv1.ExplainAccessRequest{Member: member, Permission: permission, Resource: resource})
		require.NoError(t, err)
		return e
	}
	e := explain("user:ada@example.com", get, "projects/p/devices/d")
	require.True(t, e.GetAllowed())
	require.Equal(t, []string{"projects/p/roleBindings/b", viewer, "domain:example.com", "projects/p"}, []string{e.GetRoleBinding(), e.GetRole(), e.GetMember(), e.GetScope()})
	e = explain("user:ada@example.org", get, "projects/p/devices/d")
	require.False(t, e.GetAllowed())
	require.Equal(t, []string{"MEMBER"}, e.GetNearMisses()[0].GetFailed())
	require.Contains(t, e.GetRoles(), viewer)
	require.Equal(t, []string{"projects/p", ""}, e.GetScopes())
	require.True(t, explain("project:p", get, "projects/p").GetAllowed())

	_, err = call[*iamv1.ExplainAccessResponse](ada, w, "ExplainAccess", &iamv1.ExplainAccessRequest{Member: "user:bob@example.com", Permission: get, Resource: "projects/p"})
	refused(t, err, fault.Denied, "PERMISSION_DENIED")
	e, err = call[*iamv1.ExplainAccessResponse](ada, w, "ExplainAccess", &iamv1.ExplainAccessRequest{Permission: get, Resource: "projects/q"})
	require.NoError(t, err)
	require.False(t, e.GetAllowed())
	require.Empty(t, e.GetNearMisses(), "bindings of others")
	_, err = call[proto.Message](t.Context(), w, "TestPermissions", &iamv1.TestPermissionsRequest{})
	refused(t, err, fault.Unauthenticated, "UNAUTHENTICATED")
}

// Everybody with credentials reads which roles and permissions there are, and of
// projects only those of his own.
func TestAccounts_PublicRoles(t *testing.T) {
	t.Parallel()
	w, ada := newWorld(t), as(t, "user:ada@example.com")
	list, err := call[*iamv1.ListRolesResponse](ada, w, "ListRoles", &iamv1.ListRolesRequest{Parent: "services/iam.selvedge.dev"})
	require.NoError(t, err)
	require.Len(t, list.GetRoles(), 8)
	all, err := call[*iamv1.ListPermissionsResponse](ada, w, "ListPermissions", &iamv1.ListPermissionsRequest{Parent: "services/iam.selvedge.dev", PageSize: 1000})
	require.NoError(t, err)
	require.Greater(t, len(all.GetPermissions()), 50)
	_, err = call[*iamv1.ListRolesResponse](ada, w, "ListRoles", &iamv1.ListRolesRequest{Parent: "projects/p"})
	refused(t, err, fault.Denied, "PERMISSION_DENIED")
	_, err = call[*iamv1.ListRolesResponse](t.Context(), w, "ListRoles", &iamv1.ListRolesRequest{Parent: "services/iam.selvedge.dev"})
	refused(t, err, fault.Unauthenticated, "UNAUTHENTICATED")
}

// Another process on the same database knows soon.
func TestFeed_OfAnotherProcess(t *testing.T) {
	t.Parallel()
	w, admin, ada := newWorld(t), as(t, "admin"), as(t, "user:ada@example.com")
	other := over(t, w.driver)
	other.run(t)
	eventually := func(allowed bool) {
		t.Helper()
		require.Eventually(t, func() bool { return (other.may.Allow(ada, get, "projects/p/devices/d") == nil) == allowed }, soon, time.Millisecond)
	}
	require.NoError(t, w.bind(admin, "projects/p", "b", viewer, "user:ada@example.com"))
	eventually(true)
	_, err := call[*resourcev1.DeletionPlan](admin, w, "DeleteRoleBinding", &iamv1.DeleteRoleBindingRequest{Name: "projects/p/roleBindings/b"})
	require.NoError(t, err)
	eventually(false)
	require.NoError(t, w.bind(admin, "projects/p", "c", viewer, "user:ada@example.com"))
	require.NoError(t, over(t, w.driver).may.Allow(ada, get, "projects/p/devices/d"), "one that starts knows all")
}
