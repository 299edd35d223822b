package iam

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
)

// The matrix of principals and permissions: a row per principal, a column per
// permission and project.
func TestAllow_Matrix(t *testing.T) {
	t.Parallel()
	permissions := []string{
		"events.publish", "events.get", "devices.devices.create", "devices.devices.get", "monitoring.timeSeries.list",
		"iam.deviceKeys.create", "iam.keys.create", "iam.keys.delete", "", "no.such.thing",
	}
	f := func(p Principal, project, granted string) {
		t.Helper()
		require.Len(t, granted, len(permissions))
		for i, permission := range permissions {
			err := Allow(p, project, permission)
			if granted[i] == '+' {
				require.NoError(t, err, "%s %s %q", p.Name, permission, project)
				continue
			}
			var e *fault.Error
			require.ErrorAs(t, err, &e, "%s %s %q", p.Name, permission, project)
			require.Equal(t, permission, e.Field)
			if p.Kind == Anonymous {
				require.Equal(t, fault.Unauthenticated, e.Kind)
				continue
			}
			require.Equal(t, fault.Denied, e.Kind)
			require.Equal(t, "PERMISSION_DENIED", e.Reason)
			require.Contains(t, e.Message(), permission)
		}
	}
	admin, project, device := principal(t, "admin"), principal(t, "projects/p"), principal(t, "projects/p/devices/d")
	f(Principal{}, "p", "----------")
	f(Principal{}, "", "----------")
	f(admin, "p", "++++++++++")
	f(admin, "", "++++++++++")
	f(project, "p", "++++++--++")
	f(project, "q", "----------")
	f(project, "", "----------")
	f(device, "p", "+---------")
	f(device, "q", "----------")
	f(device, "", "----------")
	// A principal that nobody made must not profit from its fields.
	f(Principal{Kind: Anonymous, Name: "admin", Project: "p"}, "p", "----------")
	f(Principal{Kind: 99, Name: "admin", Project: "p"}, "p", "----------")
	f(Principal{Kind: Project, Name: "projects/"}, "", "----------")
}

func TestMayPublish_Sources(t *testing.T) {
	t.Parallel()
	const own, other, far = "projects/p/devices/d", "projects/p/devices/e", "projects/q/devices/d"
	f := func(who, source, device, want string) {
		t.Helper()
		p := Principal{}
		if who != "" {
			p = principal(t, who)
		}
		err := MayPublish(p, source, device)
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.Equal(t, want, fault.ReasonOf(err), "%v", err)
	}
	const ours = "//selvedge.dev/"
	f(own, ours+own, "", "")
	f(own, ours+own, own, "")
	f(own, "urn:esn:1", own, "")
	f(own, own, own, "") // Not a source of ours: just text.
	f(own, own, "", "SOURCE_NOT_OWN")
	f(own, "urn:esn:1", "", "SOURCE_NOT_OWN")
	f(own, "urn:esn:1", other, "SOURCE_NOT_OWN")
	f(own, ours+own, other, "SOURCE_NOT_OWN")
	f(own, ours+other, "", "SOURCE_NOT_OWN")
	f(own, ours+other, own, "SOURCE_NOT_OWN")
	f(own, ours+own+"/x", "", "SOURCE_NOT_OWN")
	f(own, ours+"projects/p", "", "SOURCE_NOT_OWN")
	f(own, ours+far, "", "PERMISSION_DENIED")
	f(own, "urn:esn:1", far, "PERMISSION_DENIED")
	f(own, ours+"functions/threshold", own, "PERMISSION_DENIED")

	f("projects/p", ours+own, own, "")
	f("projects/p", ours+own, "", "")
	f("projects/p", "urn:esn:1", "", "")
	f("projects/p", "urn:esn:1", own, "")
	f("projects/p", ours+far, "", "PERMISSION_DENIED")
	f("projects/p", "urn:esn:1", far, "PERMISSION_DENIED")
	f("projects/p", ours+"functions/threshold", "", "PERMISSION_DENIED")

	f("admin", ours+far, own, "")
	f("admin", ours+"functions/threshold", "", "")
	f("admin", "urn:esn:1", "", "")
	f("", ours+own, own, "UNAUTHENTICATED")
	f("", "urn:esn:1", "", "UNAUTHENTICATED")
}

func TestParsePrincipal_Names(t *testing.T) {
	t.Parallel()
	require.Equal(t, Principal{Kind: Admin, Name: "admin"}, principal(t, "admin"))
	require.Equal(t, Principal{Kind: Project, Name: "projects/p", Project: "p"}, principal(t, "projects/p"))
	require.Equal(t, Principal{Kind: Device, Name: "projects/p/devices/d", Project: "p", Device: "projects/p/devices/d"}, principal(t, "projects/p/devices/d"))
	for _, name := range []string{"", "Admin", "projects/", "projects/P", "projects/p/", "projects/p/blueprints/b", "admin/x"} {
		_, err := ParsePrincipal(name)
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "principal", e.Field)
	}
}
