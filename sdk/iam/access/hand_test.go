package access_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/iam/access"
)

// What a grant excepts it does not grant, and who has all but something can hand
// on no more than that.
func TestEngine_Except(t *testing.T) {
	t.Parallel()
	e := access.New(access.Options{})
	role := func(name string, permissions, except []string) access.Role {
		r := access.Role{Name: name, Grants: []access.Grant{{Permissions: permissions, Except: except}}}
		require.NoError(t, e.SetRole(r))
		return r
	}
	role("editor", []string{"*"}, []string{"iam.*", "a.secrets.get"})
	require.NoError(t, e.SetBinding(access.Binding{Name: "b", Scope: "projects/p", Role: "editor", Members: []string{"user:a@x.org"}}))
	who := access.Subject{Member: "user:a@x.org"}
	may := func(permission string) bool {
		return e.Decide(access.Question{Subject: who, Permission: permission, Resource: "projects/p"}).Allowed
	}
	require.True(t, may("a.things.get"))
	require.True(t, may("iamx.keys.get"))
	require.False(t, may("iam.keys.get"))
	require.False(t, may("a.secrets.get"))
	covers := func(want bool, permissions, except []string) {
		t.Helper()
		require.Equal(t, want, e.CoversRole(who, "projects/p", role("wanted", permissions, except)))
		require.Equal(t, want, e.Covers(who, "projects/p", "wanted"))
	}
	covers(true, []string{"*"}, []string{"iam.*", "a.secrets.get"})
	covers(true, []string{"*"}, []string{"iam.*", "a.*"})
	covers(false, []string{"*"}, []string{"iam.*"})
	covers(false, []string{"*"}, []string{"iam.keys.*", "a.secrets.get"})
	covers(false, []string{"*"}, nil)
	covers(true, []string{"b.*"}, nil)
	covers(false, []string{"a.*"}, nil)
	covers(true, []string{"a.*"}, []string{"a.secrets.*"})
	covers(true, []string{"a.things.*"}, nil)
	covers(false, []string{"a.secrets.get"}, nil)
	covers(false, []string{"iam.keys.get"}, nil)
	err := e.SetRole(access.Role{Name: "bad", Grants: []access.Grant{{Permissions: []string{"*"}, Except: []string{"a b"}}}})
	require.ErrorContains(t, err, "is no permission")
}

// What somebody has who becomes a member: its bindings, those of its groups and
// of its domain.
func TestEngine_HeldBy(t *testing.T) {
	t.Parallel()
	e := access.New(access.Options{})
	bind := func(name, scope string, members ...string) {
		require.NoError(t, e.SetBinding(access.Binding{Name: name, Scope: scope, Role: "r", Members: members}))
	}
	bind("own", "projects/p", "user:a@x.org", "user:b@x.org")
	bind("group", "", "group:g")
	bind("domain", "projects/q", "domain:x.org")
	bind("all", "", access.AllUsers)
	require.NoError(t, e.SetGroup("f", []string{"user:a@x.org"}))
	require.NoError(t, e.SetGroup("g", []string{"group:f"}))
	names := func(member string) (out []string) {
		for _, h := range e.HeldBy(member) {
			out = append(out, h.Binding)
		}
		return out
	}
	require.Equal(t, []string{"domain", "group", "own"}, names("user:a@x.org"))
	require.Equal(t, []string{"domain", "own"}, names("user:b@x.org"))
	require.Equal(t, []string{"group"}, names("group:f"))
	require.Empty(t, names("user:c@y.org"))
	require.NoError(t, e.SetParent("projects/p", "organizations/o"))
	require.Equal(t, []string{"projects/p", "organizations/o", ""}, e.Scopes("projects/p/devices/d"))
	require.Equal(t, []string{""}, e.Scopes("users/u"))
}
