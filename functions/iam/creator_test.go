package iam_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/functions/iam"
	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	sdkiam "selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// makes is a world in which ada and bob may make projects and organizations, and
// nothing else.
func makes(t *testing.T) *world {
	t.Helper()
	w := overWith(t, newWorld(t).driver, func(o *iam.AccountsOptions) {
		o.InUse = func(_ context.Context, project resource.Name) (bool, error) { return project == "projects/keys", nil }
	})
	require.NoError(t, w.bind(as(t, "admin"), "", "makers", sdkiam.ProjectCreator, "user:ada@example.com", "user:bob@example.com"))
	return w
}

// project makes a project.
func (w *world) project(ctx context.Context, id, organization string) error {
	_, err := call[*iamv1.Project](ctx, w, "CreateProject", &iamv1.CreateProjectRequest{ProjectId: id, Project: &iamv1.Project{Organization: organization}})
	return err
}

// sees is whether somebody sees a project, and what he sees of all of them.
func (w *world) sees(t *testing.T, ctx context.Context, id string) (bool, []string) {
	t.Helper()
	_, err := call[*iamv1.Project](ctx, w, "GetProject", &iamv1.GetProjectRequest{Name: "projects/" + id})
	all, listed := call[*iamv1.ListProjectsResponse](ctx, w, "ListProjects", &iamv1.ListProjectsRequest{})
	require.NoError(t, listed)
	var names []string
	for _, p := range all.GetProjects() {
		names = append(names, p.GetName())
	}
	return err == nil, names
}

// Who makes a project owns it from the moment that it is there, nobody else who
// may make some sees it, and its owner deletes it.
func TestCreator_Owns(t *testing.T) {
	t.Parallel()
	w := makes(t)
	ada, bob, admin := as(t, "user:ada@example.com"), as(t, "user:bob@example.com"), as(t, "admin")
	require.NoError(t, w.project(ada, "hers", ""))
	require.NoError(t, w.project(bob, "his", ""))
	saw, all := w.sees(t, ada, "hers")
	require.True(t, saw)
	require.Equal(t, []string{"projects/hers"}, all)
	saw, all = w.sees(t, bob, "hers")
	require.False(t, saw)
	require.Equal(t, []string{"projects/his"}, all)
	for _, x := range []*world{w, over(t, w.driver)} {
		require.NoError(t, x.may.Allow(ada, get, "projects/hers/devices/d"))
		require.Error(t, x.may.Allow(bob, get, "projects/hers/devices/d"))
		require.Error(t, x.may.Allow(ada, get, ""))
	}
	require.NoError(t, w.bind(ada, "projects/hers", "b", viewer, "user:carl@example.com"), "he hands on what he has")
	refused(t, w.project(bob, "hers", ""), fault.Exists, "ALREADY_EXISTS")

	// It goes when nothing but the binding is below it, and with it.
	remove := &iamv1.DeleteProjectRequest{Name: "projects/hers"}
	_, err := call[*resourcev1.DeletionPlan](ada, w, "DeleteProject", proto.CloneOf(remove))
	refused(t, err, fault.Precondition, "HAS_CHILDREN")
	_, err = call[*resourcev1.DeletionPlan](ada, w, "DeleteRoleBinding", &iamv1.DeleteRoleBindingRequest{Name: "projects/hers/roleBindings/b"})
	require.NoError(t, err)
	check := proto.CloneOf(remove)
	check.ValidateOnly = true
	plan, err := call[*resourcev1.DeletionPlan](ada, w, "DeleteProject", check)
	require.NoError(t, err)
	require.False(t, plan.GetBlocked())
	require.Equal(t, "projects/hers/roleBindings/creator", plan.GetConsequences()[1].GetName())
	_, err = call[*resourcev1.DeletionPlan](ada, w, "DeleteProject", remove)
	require.NoError(t, err)
	require.Error(t, w.may.Allow(ada, get, "projects/hers/devices/d"))
	require.NoError(t, w.project(bob, "hers", ""), "the name is free")
	require.Error(t, w.may.Allow(ada, get, "projects/hers/devices/d"))

	// An administrator takes it away.
	_, err = call[*resourcev1.DeletionPlan](admin, w, "DeleteRoleBinding", &iamv1.DeleteRoleBindingRequest{Name: "projects/his/roleBindings/creator"})
	require.NoError(t, err)
	saw, _ = w.sees(t, bob, "his")
	require.False(t, saw)
}

// Nobody owns by making it what others have there already.
func TestCreator_TakesNothing(t *testing.T) {
	t.Parallel()
	w := makes(t)
	ada, admin := as(t, "user:ada@example.com"), as(t, "admin")
	w.account(t, "accounts", "robot")
	require.NoError(t, w.bind(admin, "projects/bindings", "b", viewer, "user:carl@example.com"))
	for _, id := range []string{"accounts", "bindings", "keys"} {
		refused(t, w.project(ada, id, ""), fault.Exists, "IN_USE")
		_, err := call[*iamv1.Project](ada, w, "UpdateProject", &iamv1.UpdateProjectRequest{Project: &iamv1.Project{Name: "projects/" + id}, AllowMissing: true})
		refused(t, err, fault.Denied, "PERMISSION_DENIED")
		require.Error(t, w.may.Allow(ada, get, nameOf("projects/"+id+"/devices/d")))
		require.NoError(t, w.project(admin, id, ""), "an administrator owns it anyway")
	}
	require.NoError(t, w.project(ada, "account", ""), "another name that begins like it")

	// A creation that comes to nothing leaves nothing.
	_, err := call[*iamv1.Project](ada, w, "CreateProject", &iamv1.CreateProjectRequest{ProjectId: "preview", Project: &iamv1.Project{}, ValidateOnly: true})
	require.NoError(t, err)
	require.Error(t, w.may.Allow(ada, get, "projects/preview/devices/d"))
	_, err = call[*iamv1.RoleBinding](admin, w, "GetRoleBinding", &iamv1.GetRoleBindingRequest{Name: "projects/preview/roleBindings/creator"})
	refused(t, err, fault.NotFound, "NOT_FOUND")
}

// Who is an administrator of what a project is in gets no binding of his own, and
// no one whom bindings do not name; what is in an organization that somebody made
// is his by that.
func TestCreator_Above(t *testing.T) {
	t.Parallel()
	w := makes(t)
	ada, bob, admin := as(t, "user:ada@example.com"), as(t, "user:bob@example.com"), as(t, "admin")
	bound := func(scope string) bool {
		t.Helper()
		_, err := call[*iamv1.RoleBinding](admin, w, "GetRoleBinding", &iamv1.GetRoleBindingRequest{Name: scope + "/roleBindings/creator"})
		if err != nil {
			refused(t, err, fault.NotFound, "NOT_FOUND")
		}
		return err == nil
	}
	_, err := call[*iamv1.Organization](ada, w, "CreateOrganization", &iamv1.CreateOrganizationRequest{OrganizationId: "hers", Organization: &iamv1.Organization{}})
	require.NoError(t, err)
	require.True(t, bound("organizations/hers"))
	refused(t, w.project(bob, "in", "organizations/hers"), fault.Denied, "PERMISSION_DENIED")
	require.NoError(t, w.project(ada, "in", "organizations/hers"))
	require.False(t, bound("projects/in"))
	require.NoError(t, w.may.Allow(ada, get, "projects/in/devices/d"))
	require.NoError(t, w.project(admin, "of-admin", ""))
	require.False(t, bound("projects/of-admin"))

	// A role there that ends, or is less than everything, is not enough.
	require.NoError(t, w.bind(ada, "organizations/hers", "b", sdkiam.Administrator, "user:bob@example.com"))
	_, err = call[*iamv1.RoleBinding](ada, w, "UpdateRoleBinding", &iamv1.UpdateRoleBindingRequest{
		RoleBinding: &iamv1.RoleBinding{Name: "organizations/hers/roleBindings/b", DisableForChildScopes: true}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"disable_for_child_scopes"}},
	})
	require.NoError(t, err)
	require.NoError(t, w.project(bob, "of-bob", "organizations/hers"))
	require.True(t, bound("projects/of-bob"))

	robot := as(t, w.account(t, "p", "robot"))
	require.NoError(t, w.bind(admin, "", "robots", sdkiam.ProjectCreator, "serviceAccount:projects/p/serviceAccounts/robot"))
	require.NoError(t, w.project(robot, "of-robot", ""))
	require.True(t, bound("projects/of-robot"))
	require.NoError(t, w.may.Allow(robot, get, "projects/of-robot/devices/d"))
}
