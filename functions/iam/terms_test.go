package iam_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
)

// What one is told that one may is what the call itself answers, also when it
// depends on the fields of a resource as it is stored. SPEC A3
func TestTerms_ToldAsDone(t *testing.T) {
	t.Parallel()
	w, admin, ada := newWorld(t), as(t, "admin"), as(t, "user:ada@example.com")
	for _, id := range []string{"ours", "theirs"} {
		_, err := call[*iamv1.Group](admin, w, "CreateGroup", &iamv1.CreateGroupRequest{Parent: "projects/p", GroupId: id, Group: &iamv1.Group{DisplayName: id}})
		require.NoError(t, err)
	}
	_, err := call[*iamv1.Role](admin, w, "CreateRole", &iamv1.CreateRoleRequest{Parent: "projects/p", RoleId: "ours", Role: &iamv1.Role{
		Grants: []*iamv1.Grant{{Permissions: []string{"iam.groups.*"}, Fields: []*iamv1.FieldCondition{{Path: "display_name", Values: []string{"ours"}}}}},
	}})
	require.NoError(t, err)
	require.NoError(t, w.bind(admin, "projects/p", "b", "projects/p/roles/ours", "user:ada@example.com"))

	f := func(want bool, method, permission, about string, req proto.Message) {
		t.Helper()
		_, err := w.Call(ada, w.methods[method], req)
		require.Equal(t, want, err == nil, "%v", err)
		if !want {
			refused(t, err, fault.Denied, "PERMISSION_DENIED")
		}
		test, err := call[*iamv1.TestPermissionsResponse](ada, w, "TestPermissions", &iamv1.TestPermissionsRequest{Resource: about, Permissions: []string{permission}})
		require.NoError(t, err)
		require.Len(t, test.GetPermissions(), map[bool]int{true: 1}[want])
		for _, ctx := range []string{"admin", "user:ada@example.com"} {
			e, err := call[*iamv1.ExplainAccessResponse](as(t, ctx), w, "ExplainAccess", &iamv1.ExplainAccessRequest{Resource: about, Permission: permission, Member: "user:ada@example.com"})
			require.NoError(t, err)
			require.Equal(t, want, e.GetAllowed())
			switch {
			case want:
				require.Equal(t, "projects/p/roleBindings/b", e.GetRoleBinding())
			case ctx == "admin":
				require.Equal(t, []string{"RESOURCE_FIELDS"}, e.GetNearMisses()[0].GetFailed())
			}
		}
	}
	const at = "projects/p/groups/"
	for id, want := range map[string]bool{"ours": true, "theirs": false, "none": false} {
		f(want, "GetGroup", "iam.groups.get", at+id, &iamv1.GetGroupRequest{Name: at + id})
		f(want, "DeleteGroup", "iam.groups.delete", at+id, &iamv1.DeleteGroupRequest{Name: at + id, ValidateOnly: true})
		f(want, "UpdateGroup", "iam.groups.update", at+id, &iamv1.UpdateGroupRequest{
			Group: &iamv1.Group{Name: at + id, Members: []string{"allUsers"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"members"}},
		})
	}
	f(true, "ListGroups", "iam.groups.list", "projects/p", &iamv1.ListGroupsRequest{Parent: "projects/p"})
	f(false, "CreateGroup", "iam.groups.create", "projects/p", &iamv1.CreateGroupRequest{Parent: "projects/p", GroupId: "x", Group: &iamv1.Group{DisplayName: "x"}})

	// Nothing of this is his to hand on.
	require.Error(t, w.bind(ada, "projects/p", "c", "projects/p/roles/ours", "allUsers"))
}
