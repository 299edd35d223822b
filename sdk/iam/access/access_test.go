package access_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam/access"
)

// noon is when the questions of these tests are asked.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// engine is one with roles and bindings.
func engine(t testing.TB, o access.Options, roles []access.Role, bindings ...access.Binding) *access.Engine {
	t.Helper()
	e := access.New(o)
	for _, r := range roles {
		require.NoError(t, e.SetRole(r))
	}
	for _, b := range bindings {
		require.NoError(t, e.SetBinding(b))
	}
	return e
}

// roles are some roles that need no parameters.
var roles = []access.Role{
	{Name: "viewer", Grants: []access.Grant{{Permissions: []string{"devices.devices.get", "devices.devices.list"}}}},
	{Name: "editor", Grants: []access.Grant{{Permissions: []string{"devices.*"}}}},
	{Name: "owner", Grants: []access.Grant{{Permissions: []string{"*"}}}},
}

// SPEC A3: roles in scopes, inherited by what is below.
func TestDecide_Scopes(t *testing.T) {
	t.Parallel()
	e := engine(t, access.Options{}, roles,
		access.Binding{Name: "b1", Scope: "projects/p", Role: "viewer", Members: []string{"user:ada@example.com"}},
		access.Binding{Name: "b2", Scope: "organizations/o", Role: "editor", Members: []string{"user:bob@example.com"}},
		access.Binding{Name: "b3", Scope: "organizations/o", Role: "owner", Members: []string{"user:cyd@example.com"}, OwnScopeOnly: true},
		access.Binding{Name: "b4", Role: "owner", Members: []string{"user:root@example.com"}},
		access.Binding{Name: "b5", Role: "owner", Members: []string{"user:own@example.com"}, OwnScopeOnly: true},
		access.Binding{Name: "b6", Scope: "projects/p", Role: "gone", Members: []string{access.AllUsers}},
	)
	require.NoError(t, e.SetParent("projects/p", "organizations/o"))
	require.NoError(t, e.SetParent("organizations/o", "organizations/top"))
	require.NoError(t, e.SetParent("organizations/top", "organizations/o"), "a loop ends nowhere")
	f := func(who, permission, resource, want string) {
		t.Helper()
		d := e.Decide(access.Question{Subject: access.Subject{Member: "user:" + who + "@example.com"}, Permission: permission, Resource: resource, Time: noon})
		require.Equal(t, want, d.Binding)
		require.Equal(t, want != "", d.Allowed)
	}
	const get, update = "devices.devices.get", "devices.devices.update"
	f("ada", get, "projects/p/devices/d", "b1")
	f("ada", get, "projects/p", "b1")
	f("ada", update, "projects/p/devices/d", "")
	f("ada", get, "projects/q/devices/d", "")
	f("ada", get, "projects/pp/devices/d", "")
	f("ada", get, "projects/-/devices/-", "")
	f("ada", get, "organizations/o", "")
	f("ada", get, "", "")
	f("bob", update, "projects/p/devices/d", "b2")
	f("bob", "devicesx.devices.get", "projects/p/devices/d", "")
	f("bob", "monitoring.timeSeries.list", "projects/p", "")
	f("bob", update, "projects/q/devices/d", "")
	f("bob", update, "organizations/o", "b2")
	f("cyd", update, "organizations/o/groups/g", "b3")
	f("cyd", update, "projects/p/devices/d", "")
	f("root", update, "projects/q/devices/d", "b4")
	f("root", "regions.create", "regions/r", "b4")
	f("own", "regions.create", "regions/r", "b5")
	f("own", update, "projects/q/devices/d", "")
	f("eve", get, "projects/p/devices/d", "")
}

// SPEC A3: members, groups in groups, also in a circle.
func TestDecide_Members(t *testing.T) {
	t.Parallel()
	bind := func(name, scope, member string) access.Binding {
		return access.Binding{Name: name, Scope: scope, Role: "viewer", Members: []string{member}}
	}
	e := engine(t, access.Options{}, roles,
		bind("all", "projects/all", access.AllUsers), bind("signed", "projects/signed", access.AllAuthenticated),
		bind("domain", "projects/domain", "domain:example.com"), bind("group", "projects/group", "group:organizations/o/groups/a"),
		bind("account", "projects/account", "serviceAccount:projects/p/serviceAccounts/s"),
		bind("device", "projects/device", "device:projects/p/devices/d"),
	)
	for group, members := range map[string][]string{
		"organizations/o/groups/a": {"group:organizations/o/groups/b"},
		"organizations/o/groups/b": {"group:organizations/o/groups/c", "user:bob@other.org"},
		"organizations/o/groups/c": {"group:organizations/o/groups/a", "serviceAccount:projects/p/serviceAccounts/s"},
	} {
		require.NoError(t, e.SetGroup(group, members))
	}
	f := func(member string, projects ...string) {
		t.Helper()
		var got []string
		for _, p := range []string{"all", "signed", "domain", "group", "account", "device"} {
			q := access.Question{Subject: access.Subject{Member: member}, Permission: "devices.devices.get", Resource: "projects/" + p, Time: noon}
			if e.Decide(q).Allowed {
				got = append(got, p)
			}
		}
		require.Equal(t, projects, got)
	}
	f("", "all")
	f("user:eve@other.org", "all", "signed")
	f("user:ada@example.com", "all", "signed", "domain")
	f("user:ada@sub.example.com", "all", "signed")
	f("user:bob@other.org", "all", "signed", "group")
	f("serviceAccount:projects/p/serviceAccounts/s", "all", "signed", "group", "account")
	f("device:projects/p/devices/d", "all", "signed", "device")
	f("domain:example.com", "all") // nobody is a domain
	require.NoError(t, e.SetGroup("organizations/o/groups/b", []string{"group:organizations/o/groups/c"}))
	f("user:bob@other.org", "all", "signed")
	require.NoError(t, e.SetGroup("organizations/o/groups/a", nil))
	f("serviceAccount:projects/p/serviceAccounts/s", "all", "signed", "account")
}

// SPEC A3: conditions of a binding, and what narrows a grant.
func TestDecide_Conditions(t *testing.T) {
	t.Parallel()
	agent := access.Role{
		Name: "agent", Params: []string{"device"},
		Grants: []access.Grant{
			{Permissions: []string{"devices.devices.get"}, SubScope: "devices/{device}"},
			{Permissions: []string{"logging.entries.create"}, Request: []access.FieldCondition{{Path: "device", Param: "device"}}},
			{Permissions: []string{"devices.devices.update"}, SubScope: "regions/-/devices/{device}", Fields: []access.FieldCondition{{Path: "color", Values: []string{"red", "blue"}}}},
		},
	}
	everybody := []string{access.AllUsers}
	e := engine(t, access.Options{}, append(roles, agent),
		access.Binding{Name: "timed", Scope: "projects/timed", Role: "viewer", Members: everybody, NotBefore: noon, Expire: noon.Add(time.Hour)},
		access.Binding{
			Name: "from", Scope: "projects/from", Role: "viewer", Members: everybody,
			Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Deny: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		},
		access.Binding{Name: "value", Scope: "projects/value", Role: "agent", Members: everybody, Params: map[string]access.Param{"device": {Value: "d"}}},
		access.Binding{Name: "attribute", Scope: "projects/attribute", Role: "agent", Members: everybody, Params: map[string]access.Param{"device": {Attribute: "id"}}},
		access.Binding{Name: "none", Scope: "projects/none", Role: "agent", Members: everybody},
	)
	f := func(want bool, permission, resource string, change func(q *access.Question)) {
		t.Helper()
		q := access.Question{Permission: permission, Resource: resource, Time: noon}
		if change != nil {
			change(&q)
		}
		require.Equal(t, want, e.Decide(q).Allowed)
	}
	const get = "devices.devices.get"
	at := func(d time.Duration) func(*access.Question) {
		return func(q *access.Question) { q.Time = noon.Add(d) }
	}
	f(true, get, "projects/timed", nil)
	f(false, get, "projects/timed", at(-time.Nanosecond))
	f(true, get, "projects/timed", at(time.Hour-1))
	f(false, get, "projects/timed", at(time.Hour))

	from := func(a string) func(*access.Question) {
		return func(q *access.Question) { q.Address = netip.MustParseAddr(a) }
	}
	f(false, get, "projects/from", nil)
	f(true, get, "projects/from", from("10.2.3.4"))
	f(true, get, "projects/from", from("::ffff:10.2.3.4"))
	f(false, get, "projects/from", from("10.1.3.4"))
	f(false, get, "projects/from", from("192.168.0.1"))

	f(true, get, "projects/value/devices/d", nil)
	f(true, get, "projects/value/devices/d/parts/x", nil)
	f(false, get, "projects/value/devices/dd", nil)
	f(false, get, "projects/value/devices", nil)
	f(false, get, "projects/value", nil)
	f(false, get, "projects/none/devices/d", nil)
	f(false, get, "projects/none/devices/", nil)
	f(false, get, "projects/attribute/devices/d", nil)
	f(true, get, "projects/attribute/devices/d", func(q *access.Question) { q.Subject.Attributes = map[string]string{"id": "d"} })

	request := func(v ...string) func(*access.Question) {
		return func(q *access.Question) { q.Request = func(string) []string { return v } }
	}
	f(false, "logging.entries.create", "projects/value", nil)
	f(false, "logging.entries.create", "projects/value", request())
	f(false, "logging.entries.create", "projects/value", request("e"))
	f(true, "logging.entries.create", "projects/value", request("e", "d"))
	f(false, "logging.entries.create", "projects/none", request(""))

	color := func(v string) func(*access.Question) {
		return func(q *access.Question) { q.Fields = func(string) []string { return []string{v} } }
	}
	f(true, "devices.devices.update", "projects/value/regions/eu/devices/d", color("red"))
	f(false, "devices.devices.update", "projects/value/regions/eu/devices/d", color("green"))
	f(false, "devices.devices.update", "projects/value/regions/eu/devices/e", color("red"))
	f(false, "devices.devices.update", "projects/value/devices/d", color("red"))

	// Whether there can be such a resource depends on all but its fields.
	some := func(q *access.Question) { q.AnyFields = true }
	f(true, "devices.devices.update", "projects/value/regions/eu/devices/d", some)
	f(false, "devices.devices.update", "projects/value/regions/eu/devices/e", some)
	f(false, "devices.devices.delete", "projects/value/regions/eu/devices/d", some)
	f(false, "logging.entries.create", "projects/value", some)
}

// A role by what the subject is: the device, of itself.
func TestDecide_Implied(t *testing.T) {
	t.Parallel()
	publisher := access.Role{Name: "publisher", Params: []string{"self"}, Grants: []access.Grant{{Permissions: []string{"events.publish"}, SubScope: "devices/{self}"}}}
	e := engine(t, access.Options{Implied: func(member string) []access.Implied {
		if member != "device:projects/p/devices/d" {
			return nil
		}
		return []access.Implied{{Role: "publisher", Scope: "projects/p"}, {Role: "gone", Scope: ""}}
	}}, []access.Role{publisher})
	d := access.Subject{Member: "device:projects/p/devices/d", Attributes: map[string]string{"self": "d"}}
	got := e.Decide(access.Question{Subject: d, Permission: "events.publish", Resource: "projects/p/devices/d"})
	require.Equal(t, access.Decision{Allowed: true, Role: "publisher", Member: d.Member, Scope: "projects/p"}, got)
	require.False(t, e.Decide(access.Question{Subject: d, Permission: "events.publish", Resource: "projects/p/devices/e"}).Allowed)
}

// The nearest binding is the reason, then the first by name.
func TestDecide_Order(t *testing.T) {
	t.Parallel()
	bind := func(name, scope string) access.Binding {
		return access.Binding{Name: name, Scope: scope, Role: "viewer", Members: []string{access.AllUsers}}
	}
	e := engine(t, access.Options{}, roles, bind("a", ""), bind("c", "projects/p"), bind("b", "projects/p"))
	q := access.Question{Permission: "devices.devices.get", Resource: "projects/p"}
	require.Equal(t, "b", e.Decide(q).Binding)
	e.DeleteBinding("b")
	require.Equal(t, "c", e.Decide(q).Binding)
	e.DeleteBinding("c")
	e.DeleteBinding("never")
	require.Equal(t, "a", e.Decide(q).Binding)
	e.DeleteRole("viewer")
	require.False(t, e.Decide(q).Allowed)
}

// What a denial tells.
func TestExplain_Denial(t *testing.T) {
	t.Parallel()
	e := engine(t, access.Options{}, roles,
		access.Binding{Name: "expired", Scope: "projects/p", Role: "editor", Members: []string{"user:ada@example.com"}, Expire: noon},
		access.Binding{Name: "far", Scope: "projects/q", Role: "viewer", Members: []string{"user:bob@example.com"}},
	)
	require.NoError(t, e.SetParent("projects/p", "organizations/o"))
	got := e.Explain(access.Question{Subject: access.Subject{Member: "user:ada@example.com"}, Permission: "devices.devices.update", Resource: "projects/p/devices/d", Time: noon})
	require.Equal(t, access.Explanation{
		Near:    []access.NearMiss{{Binding: "expired", Role: "editor", Failed: access.NotExpired}},
		Holders: []string{"editor", "owner"},
		Scopes:  []string{"projects/p", "organizations/o", ""},
	}, got)
	require.Equal(t, []string{"EXPIRED"}, got.Near[0].Failed.Names())
	require.Empty(t, access.New(access.Options{}).Explain(access.Question{Permission: "a.b.c"}).Near)
}

// SPEC A3: "given a subject and a resource, return the permissions".
func TestPermissions(t *testing.T) {
	t.Parallel()
	e := engine(t, access.Options{}, append(roles, access.Role{
		Name: "one", Params: []string{"d"}, Grants: []access.Grant{{Permissions: []string{"devices.devices.delete"}, SubScope: "devices/{d}"}},
	}),
		access.Binding{Name: "a", Scope: "projects/p", Role: "viewer", Members: []string{access.AllUsers}},
		access.Binding{Name: "b", Scope: "projects/p", Role: "one", Members: []string{access.AllUsers}, Params: map[string]access.Param{"d": {Value: "d"}}},
	)
	known := []string{"devices.devices.delete", "devices.devices.get", "devices.devices.update"}
	require.Equal(t, []access.Granted{{"devices.devices.delete", true}, {"devices.devices.get", false}}, e.Permissions(access.Subject{}, "projects/p", known))
	require.Equal(t, []access.Granted{{"devices.devices.delete", false}, {"devices.devices.get", false}}, e.Permissions(access.Subject{}, "projects/p/devices/d", known))
	require.Empty(t, e.Permissions(access.Subject{}, "projects/q", known))
}

// Nobody hands out more than he has, nor for longer.
func TestCovers(t *testing.T) {
	t.Parallel()
	bind := func(name, role string) access.Binding {
		return access.Binding{Name: name, Scope: "projects/p", Role: role, Members: []string{"user:" + name + "@example.com"}}
	}
	brief, inside := bind("brief", "owner"), bind("inside", "owner")
	brief.Expire, inside.OwnScopeOnly = time.Now().Add(time.Hour), true
	e := engine(t, access.Options{}, roles, bind("viewer", "viewer"), bind("editor", "editor"), bind("owner", "owner"), brief, inside)
	f := func(who string, want ...string) {
		t.Helper()
		var got []string
		for _, role := range []string{"viewer", "editor", "owner", "gone"} {
			if e.Covers(access.Subject{Member: "user:" + who + "@example.com"}, "projects/p", role) {
				got = append(got, role)
			}
		}
		require.Equal(t, want, got)
	}
	f("nobody")
	f("viewer", "viewer")
	f("editor", "viewer", "editor")
	f("owner", "viewer", "editor", "owner")
	f("brief")
	f("inside")
}

// What cannot be a policy is refused, and changes nothing.
func TestEngine_Refuses(t *testing.T) {
	t.Parallel()
	e := access.New(access.Options{})
	f := func(field string, err error) {
		t.Helper()
		var bad *fault.Error
		require.ErrorAs(t, err, &bad)
		require.Equal(t, fault.Invalid, bad.Kind)
		require.Equal(t, field, bad.Field)
	}
	grant := func(g access.Grant) access.Role { return access.Role{Name: "r", Grants: []access.Grant{g}} }
	f("name", e.SetRole(access.Role{}))
	for _, p := range []string{"", ".", "a..b", "a.*.b", "*.a", "a b", "a/b", ".*", "a.b*"} {
		f("grants[0].permissions", e.SetRole(grant(access.Grant{Permissions: []string{p}})))
	}
	f("grants[0].permissions", e.SetRole(grant(access.Grant{})))
	for _, s := range []string{"devices", "devices/", "devices/{d}", "/d"} {
		f("grants[0].subScope", e.SetRole(grant(access.Grant{Permissions: []string{"*"}, SubScope: s})))
	}
	f("grants[0].conditions", e.SetRole(grant(access.Grant{Permissions: []string{"*"}, Fields: []access.FieldCondition{{Path: "a"}}})))
	f("grants[0].conditions", e.SetRole(grant(access.Grant{Permissions: []string{"*"}, Request: []access.FieldCondition{{Path: "a", Param: "p"}}})))

	good := access.Binding{Name: "b", Scope: "projects/p", Role: "r", Members: []string{access.AllUsers}}
	with := func(change func(*access.Binding)) access.Binding { b := good; change(&b); return b }
	require.NoError(t, e.SetBinding(good))
	f("name", e.SetBinding(with(func(b *access.Binding) { b.Name = "" })))
	f("role", e.SetBinding(with(func(b *access.Binding) { b.Role = "" })))
	for _, s := range []string{"projects", "projects/", "projects/p/devices/d", "regions/r"} {
		f("scope", e.SetBinding(with(func(b *access.Binding) { b.Scope = s })))
	}
	for _, m := range []string{"", "ada@example.com", "user:", "user:a b", "allusers", "robot:x"} {
		f("members", e.SetBinding(with(func(b *access.Binding) { b.Members = []string{m} })))
	}
	f("members", e.SetBinding(with(func(b *access.Binding) { b.Members = nil })))
	f("expireTime", e.SetBinding(with(func(b *access.Binding) { b.NotBefore, b.Expire = noon, noon })))
	f("members", e.SetGroup("g", []string{"x"}))
	f("parent", e.SetParent("regions/r", "organizations/o"))
	f("parent", e.SetParent("projects/p", "organizations/o/groups/g"))
	f("parent", e.SetParent("", "organizations/o"))
}
