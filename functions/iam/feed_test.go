package iam_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	sdkiam "selvedge.dev/sdk/iam"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// same requires that two worlds decide alike.
func same(t *testing.T, want, got *world) {
	t.Helper()
	require.Empty(t, difference(t, want, got))
}

// difference is a question that two worlds do not decide alike, "" if they do.
func difference(t *testing.T, want, got *world) string {
	t.Helper()
	for _, who := range []string{"user:ada@example.com", "user:bob@example.org", "projects/p/serviceAccounts/s"} {
		ctx := as(t, who)
		for _, on := range []string{"", "projects/p/devices/d", "projects/q/devices/d", "organizations/o"} {
			for _, permission := range []string{get, "iam.roles.list", "events.publish"} {
				if (want.may.Allow(ctx, permission, nameOf(on)) == nil) != (got.may.Allow(ctx, permission, nameOf(on)) == nil) {
					return fmt.Sprintf("%s %s on %q", who, permission, on)
				}
			}
		}
	}
	return ""
}

// Whatever is written, by many at once and with and without success, the process
// that wrote decides as one that has just started does, and another one soon.
func TestFeed_Model(t *testing.T) {
	t.Parallel()
	w, admin := newWorld(t), as(t, "admin")
	other := over(t, w.driver)
	other.run(t)
	members := []string{"user:ada@example.com", "domain:example.org", "serviceAccount:projects/p/serviceAccounts/s", "group:projects/p/groups/g0", "group:projects/p/groups/g1"}
	scopes := []string{"", "projects/p", "projects/q", "organizations/o"}
	_, err := call[proto.Message](admin, w, "CreateOrganization", &iamv1.CreateOrganizationRequest{OrganizationId: "o", Organization: &iamv1.Organization{}})
	require.NoError(t, err)
	step := func(random *rand.Rand) error {
		some := members[random.IntN(len(members)):]
		switch random.IntN(6) {
		case 0, 1:
			return w.bind(admin, scopes[random.IntN(len(scopes))], fmt.Sprint("b", random.IntN(4)), []string{viewer, sdkiam.ProjectEditor}[random.IntN(2)], some...)
		case 2:
			scope := scopes[random.IntN(len(scopes))]
			if scope != "" {
				scope += "/"
			}
			_, err := call[*resourcev1.DeletionPlan](admin, w, "DeleteRoleBinding", &iamv1.DeleteRoleBindingRequest{Name: fmt.Sprint(scope, "roleBindings/b", random.IntN(4))})
			return err
		case 3, 4:
			_, err := call[proto.Message](admin, w, "UpdateGroup", &iamv1.UpdateGroupRequest{
				Group: &iamv1.Group{Name: fmt.Sprint("projects/p/groups/g", random.IntN(2)), Members: some}, AllowMissing: true, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"members"}},
			})
			return err
		default:
			_, err := call[proto.Message](admin, w, "UpdateProject", &iamv1.UpdateProjectRequest{
				Project:      &iamv1.Project{Name: "projects/p", Organization: []string{"", "organizations/o"}[random.IntN(2)]},
				AllowMissing: true, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"organization"}},
			})
			return err
		}
	}
	for round := range uint64(10) {
		done := make(chan error)
		const writers = 4
		for i := range uint64(writers) {
			go func() {
				random := rand.New(rand.NewPCG(round, i))
				for range 5 {
					if err := step(random); err != nil && fault.KindOf(err) != fault.NotFound && fault.KindOf(err) != fault.Exists {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range writers {
			require.NoError(t, <-done)
		}
		same(t, over(t, w.driver), w)
	}
	require.Eventually(t, func() bool { return difference(t, w, other) == "" }, soon, time.Millisecond)
}

// Changes that were forgotten before they were read are made up for: what is gone
// is gone.
func TestFeed_TrimmedChanges(t *testing.T) {
	t.Parallel()
	w, admin := newWorld(t), as(t, "admin")
	require.NoError(t, w.bind(admin, "projects/p", "b", viewer, "user:ada@example.com"))
	other := over(t, w.driver)
	_, err := call[*resourcev1.DeletionPlan](admin, w, "DeleteRoleBinding", &iamv1.DeleteRoleBindingRequest{Name: "projects/p/roleBindings/b"})
	require.NoError(t, err)
	require.NoError(t, w.bind(admin, "projects/q", "b", viewer, "user:ada@example.com"))
	snapshot, last, err := w.driver.Snapshot(t.Context())
	require.NoError(t, err)
	require.NoError(t, snapshot.Close())
	require.NoError(t, w.driver.Trim(t.Context(), last))
	require.NoError(t, other.may.Allow(as(t, "user:ada@example.com"), get, "projects/p/devices/d"), "it has not heard")
	other.run(t)
	ada := as(t, "user:ada@example.com")
	require.Eventually(t, func() bool {
		return other.may.Allow(ada, get, "projects/p/devices/d") != nil && other.may.Allow(ada, get, "projects/q/devices/d") == nil
	}, soon, time.Millisecond)
}

// What is built in is written once, and hashes are shown to nobody.
func TestAccounts_SeedAndHashes(t *testing.T) {
	t.Parallel()
	w, admin := newWorld(t), as(t, "admin")
	version := func() string {
		r, err := call[*iamv1.Role](admin, w, "GetRole", &iamv1.GetRoleRequest{Name: viewer})
		require.NoError(t, err)
		return r.GetMetadata().GetResourceVersion()
	}
	before := version()
	require.NoError(t, w.Seed(t.Context()))
	over(t, w.driver)
	require.Equal(t, before, version())

	w.user(t, "ada", "ada@example.com")
	_, err := call[proto.Message](admin, w, "SetPassword", &iamv1.SetPasswordRequest{Name: "users/ada", Password: "correct horse battery"})
	require.NoError(t, err)
	k, err := w.key(admin, w.account(t, "p", "s"), "k", &iamv1.ServiceAccountKey{})
	require.NoError(t, err)
	for method, req := range map[string]proto.Message{
		"GetUser": &iamv1.GetUserRequest{Name: "users/ada", View: resourcev1.View_FULL}, "BatchGetUsers": &iamv1.BatchGetUsersRequest{Names: []string{"users/ada"}},
		"GetServiceAccountKey":       &iamv1.GetServiceAccountKeyRequest{Name: k.GetName()},
		"BatchGetServiceAccountKeys": &iamv1.BatchGetServiceAccountKeysRequest{Parent: "projects/p/serviceAccounts/s", Names: []string{k.GetName()}},
	} {
		out, err := call[proto.Message](admin, w, method, req)
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprint(out), "sha256", method)
	}
}
