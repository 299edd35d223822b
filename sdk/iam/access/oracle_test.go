package access_test

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/iam/access"
)

// world is policies as they were told, without any index.
type world struct {
	roles    map[string]access.Role
	bindings map[string]access.Binding
	groups   map[string][]string
	parents  map[string]string
}

// universe is what random policies are made of.
var (
	someScopes      = []string{"", "projects/p", "projects/q", "organizations/o", "organizations/u"}
	someMembers     = []string{access.AllUsers, access.AllAuthenticated, "user:a@x.org", "user:b@y.org", "domain:x.org", "group:g1", "group:g2", "group:g3", "device:projects/p/devices/d"}
	someSubjects    = []string{"", "user:a@x.org", "user:b@y.org", "device:projects/p/devices/d"}
	somePatterns    = []string{"a.r.get", "a.r.set", "a.r.*", "a.*", "b.r.get", "*"}
	somePermissions = []string{"a.r.get", "a.r.set", "a.s.get", "b.r.get", "ab.r.get"}
	someResources   = []string{"", "regions/r", "projects/p", "projects/p/devices/d", "projects/p/devices/e", "projects/q/devices/d", "organizations/o", "organizations/u/groups/g", "projects/-"}
	someNets        = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")}
	someAddresses   = []netip.Addr{{}, netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1"), netip.MustParseAddr("8.8.8.8")}
)

// is is the brute force of who is who: over all groups until nothing changes.
func (w *world) is(subject string) map[string]bool {
	is := map[string]bool{access.AllUsers: true}
	if subject != "" {
		is[subject], is[access.AllAuthenticated] = true, true
		if _, domain, ok := strings.Cut(subject, "@"); ok {
			is["domain:"+domain] = true
		}
	}
	for range len(w.groups) + 1 {
		for g, members := range w.groups {
			for _, m := range members {
				if is[m] {
					is["group:"+g] = true
				}
			}
		}
	}
	return is
}

// chain is the brute force of the scopes of a resource.
func (w *world) chain(resource string) (chain []string) {
	parts := strings.Split(resource, "/")
	if len(parts) >= 2 && (parts[0] == "projects" || parts[0] == "organizations") {
		for s := parts[0] + "/" + parts[1]; s != "" && !slices.Contains(chain, s); s = w.parents[s] {
			chain = append(chain, s)
		}
	}
	return append(chain, "")
}

// matches reports whether one of the patterns matches a permission.
func matches(patterns []string, permission string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return p == permission || p == "*" || strings.HasSuffix(p, ".*") && strings.HasPrefix(permission, p[:len(p)-1])
	})
}

// failed is the brute force of what of a binding's grant does not hold.
func (w *world) failed(q access.Question, b access.Binding, g access.Grant) (c access.Check) {
	set := func(bad bool, check access.Check) {
		if bad {
			c |= check
		}
	}
	is, chain := w.is(q.Subject.Member), w.chain(q.Resource)
	set(!slices.ContainsFunc(b.Members, func(m string) bool { return is[m] }), access.IsMember)
	set(!slices.Contains(chain, b.Scope), access.InScope)
	set(b.OwnScopeOnly && slices.Contains(chain, b.Scope) && chain[0] != b.Scope, access.InOwnScope)
	set(!b.NotBefore.IsZero() && b.NotBefore.After(q.Time), access.HasBegun)
	set(!b.Expire.IsZero() && !b.Expire.After(q.Time), access.NotExpired)
	in := func(nets []netip.Prefix) bool {
		return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return q.Address.IsValid() && p.Contains(q.Address) })
	}
	set(len(b.Allow) > 0 && !in(b.Allow) || in(b.Deny) || len(b.Allow)+len(b.Deny) > 0 && !q.Address.IsValid(), access.FromAddress)
	set(!matches(g.Permissions, q.Permission) || matches(g.Except, q.Permission), access.HasPermission)
	if g.SubScope != "" {
		want := strings.Replace(g.SubScope, "{d}", b.Params["d"].Value, 1)
		set(b.Params["d"].Value == "" || !strings.HasSuffix(q.Resource, "/"+want) || !strings.Contains(q.Resource, "projects/"), access.InSubScope)
	}
	return c
}

// draw changes the world and the engine alike.
func (w *world) draw(rt *rapid.T, e *access.Engine) {
	some := func(from []string, least int, name string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(from), least, 3).Draw(rt, name)
	}
	id := rapid.IntRange(0, 5).Draw(rt, "id")
	switch rapid.IntRange(0, 9).Draw(rt, "what") {
	case 0, 1:
		r := access.Role{Name: fmt.Sprintf("r%d", id%3), Params: []string{"d"}}
		for range rapid.IntRange(1, 2).Draw(rt, "grants") {
			r.Grants = append(r.Grants, access.Grant{
				SubScope:    rapid.SampledFrom([]string{"", "", "devices/{d}"}).Draw(rt, "sub-scope"),
				Permissions: some(somePatterns, 1, "permissions"),
				Except:      rapid.SliceOfN(rapid.SampledFrom(somePatterns), 0, 1).Draw(rt, "except"),
			})
		}
		w.roles[r.Name] = r
		require.NoError(rt, e.SetRole(r))
	case 2:
		name := fmt.Sprintf("r%d", id%3)
		delete(w.roles, name)
		e.DeleteRole(name)
	case 3:
		name := fmt.Sprintf("g%d", id%3+1)
		w.groups[name] = some(someMembers[2:], 0, "members")
		require.NoError(rt, e.SetGroup(name, w.groups[name]))
	case 4:
		scope, parent := rapid.SampledFrom(someScopes[1:]).Draw(rt, "scope"), rapid.SampledFrom([]string{"", "organizations/o", "organizations/u"}).Draw(rt, "parent")
		w.parents[scope] = parent
		require.NoError(rt, e.SetParent(scope, parent))
	case 5:
		name := fmt.Sprintf("b%d", id)
		delete(w.bindings, name)
		e.DeleteBinding(name)
	default:
		b := access.Binding{
			Name: fmt.Sprintf("b%d", id), Scope: rapid.SampledFrom(someScopes).Draw(rt, "scope"), Role: fmt.Sprintf("r%d", rapid.IntRange(0, 2).Draw(rt, "role")),
			Members: some(someMembers, 1, "members"), OwnScopeOnly: rapid.Bool().Draw(rt, "own scope"),
			Params: map[string]access.Param{"d": {Value: rapid.SampledFrom([]string{"d", "e", ""}).Draw(rt, "d")}},
			Allow:  rapid.SliceOfN(rapid.SampledFrom(someNets), 0, 1).Draw(rt, "allow"), Deny: rapid.SliceOfN(rapid.SampledFrom(someNets), 0, 1).Draw(rt, "deny"),
		}
		if rapid.Bool().Draw(rt, "expires") {
			b.Expire = noon.Add(time.Duration(rapid.IntRange(-1, 1).Draw(rt, "expires")) * time.Hour)
		}
		if b.Expire.After(noon) && rapid.Bool().Draw(rt, "begins") {
			b.NotBefore = noon.Add(time.Minute * time.Duration(rapid.IntRange(-1, 1).Draw(rt, "begins")))
		}
		w.bindings[b.Name] = b
		require.NoError(rt, e.SetBinding(b))
	}
}

// SPEC A3: for random policies, after any changes, a decision is that of a
// brute force, its reason is one that allows, and a denial names what lacks the
// least.
func TestEngine_Oracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{map[string]access.Role{}, map[string]access.Binding{}, map[string][]string{}, map[string]string{}}
		e := access.New(access.Options{MaxSubjects: 2})
		for range rapid.IntRange(1, 5).Draw(rt, "rounds") {
			for range rapid.IntRange(1, 8).Draw(rt, "changes") {
				w.draw(rt, e)
			}
			for range 8 {
				w.ask(rt, e)
				w.cover(rt, e)
			}
		}
	})
}

// ask compares the engine with the brute force for a random question.
func (w *world) ask(rt *rapid.T, e *access.Engine) {
	q := access.Question{
		Subject:    access.Subject{Member: rapid.SampledFrom(someSubjects).Draw(rt, "subject")},
		Permission: rapid.SampledFrom(somePermissions).Draw(rt, "permission"), Resource: rapid.SampledFrom(someResources).Draw(rt, "resource"),
		Address: rapid.SampledFrom(someAddresses).Draw(rt, "address"), Time: noon,
	}
	least, near, allowed := bits.UintSize, []access.NearMiss(nil), false
	for _, b := range w.bindings {
		role, ok := w.roles[b.Role]
		if !ok {
			continue
		}
		for i, g := range role.Grants {
			failed := w.failed(q, b, g)
			n := bits.OnesCount16(uint16(failed))
			allowed = allowed || n == 0
			if n < least {
				least, near = n, nil
			}
			if n == least {
				near = append(near, access.NearMiss{Binding: b.Name, Role: b.Role, Grant: i, Failed: failed})
			}
		}
	}
	got := e.Explain(q)
	require.Equal(rt, allowed, got.Allowed)
	require.Equal(rt, got.Decision, e.Decide(q))
	if !allowed {
		require.ElementsMatch(rt, near, got.Near)
		require.Equal(rt, w.chain(q.Resource), got.Scopes)
		return
	}
	b := w.bindings[got.Binding]
	require.Zero(rt, w.failed(q, b, w.roles[b.Role].Grants[got.Grant]))
	require.Equal(rt, b.Role, got.Role)
	require.Equal(rt, b.Scope, got.Scope)
	require.Contains(rt, b.Members, got.Member)
	require.True(rt, w.is(q.Subject.Member)[got.Member])
}

// cover asks whether somebody has all of a random role. If so he is allowed
// everything that the role permits, in the scope and on what is in it; and who
// has all by a binding without conditions has it.
func (w *world) cover(rt *rapid.T, e *access.Engine) {
	wanted := access.Role{Name: "wanted", Grants: []access.Grant{{
		Permissions: rapid.SliceOfN(rapid.SampledFrom(somePatterns), 1, 2).Draw(rt, "wanted"),
		Except:      rapid.SliceOfN(rapid.SampledFrom(somePatterns), 0, 2).Draw(rt, "unwanted"),
	}}}
	who := access.Subject{Member: rapid.SampledFrom(someSubjects).Draw(rt, "who")}
	scope := rapid.SampledFrom(someScopes).Draw(rt, "where")
	for _, b := range w.bindings {
		r, ok := w.roles[b.Role]
		holds := b.Scope == scope && w.is(who.Member)[b.Members[0]] && !b.OwnScopeOnly && b.Expire.IsZero() && len(b.Allow)+len(b.Deny) == 0
		if ok && holds && len(r.Grants) == 1 && r.Grants[0].SubScope == "" {
			require.True(rt, e.CoversRole(who, scope, r), "what he has he can hand on")
			require.True(rt, e.Covers(who, scope, r.Name))
		}
	}
	if !e.CoversRole(who, scope, wanted) {
		return
	}
	below := scope
	if scope != "" {
		below += "/devices/d"
	}
	for _, permission := range somePermissions {
		for _, resource := range []string{scope, below} {
			if wanted.Permits(permission) {
				require.True(rt, e.Decide(access.Question{Subject: who, Permission: permission, Resource: resource}).Allowed, "%s on %s", permission, resource)
			}
		}
	}
}
