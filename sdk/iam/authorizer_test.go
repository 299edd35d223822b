package iam

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/resource"
)

// newAuthorizer is an authorizer with its engine.
func newAuthorizer(t testing.TB) (*Authorizer, *access.Engine) {
	t.Helper()
	e := access.New(access.Options{Implied: Implied})
	a, err := NewAuthorizer(e)
	require.NoError(t, err)
	return a, e
}

// Without a binding the engine decides as the function Allow does.
func TestAuthorizer_AgreesWithAllow(t *testing.T) {
	t.Parallel()
	a, _ := newAuthorizer(t)
	for _, name := range []string{"", "admin", "projects/p", "projects/q", "projects/p/devices/d", "projects/p/regions/r/devices/d", "users/ada", "projects/p/serviceAccounts/s"} {
		var p Principal
		if name != "" {
			p = principal(t, name)
		}
		ctx := WithPrincipal(t.Context(), p)
		for _, project := range []string{"", "p", "q"} {
			for _, permission := range []string{
				"events.publish", "devices.devices.get", "iam.keys.create", "iam.deviceKeys.create", "iam.roleBindings.create", "", "iam", "no.such.thing",
			} {
				want, got := Allow(p, project, permission), a.Allow(ctx, permission, scopeOf(project))
				require.Equal(t, want, got, "%s %s %s", name, permission, project)
				require.Equal(t, want, a.Authorize(httptest.NewRequestWithContext(ctx, "GET", "/", nil), project, permission))
				require.Equal(t, want == nil, a.Visible(ctx, permission, scopeOf(project)))
			}
			for _, source := range []string{"urn:x", "//selvedge.dev/projects/p/devices/d", "//selvedge.dev/functions/f"} {
				for _, device := range []string{"", "projects/p/devices/d"} {
					require.Equal(t, MayPublish(p, source, device), a.MayPublish(ctx, source, device), "%s %s %s", name, source, device)
				}
			}
		}
	}
}

// Bindings give users and service accounts what they have no role for by what
// they are; where a request comes from counts. SPEC A3
func TestAuthorizer_Bindings(t *testing.T) {
	t.Parallel()
	a, e := newAuthorizer(t)
	require.NoError(t, e.SetBinding(access.Binding{
		Name: "b", Scope: "projects/p", Role: ProjectEditor, Members: []string{"domain:example.com", "serviceAccount:projects/q/serviceAccounts/s"},
		Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}))
	f := func(p Principal, from string, allowed bool) {
		t.Helper()
		ctx := WithPrincipal(t.Context(), p)
		if from != "" {
			ctx = WithAddress(ctx, netip.MustParseAddr(from))
		}
		err := a.Allow(ctx, "devices.devices.get", "projects/p/devices/d")
		require.Equal(t, allowed, err == nil, "%v", err)
		require.Equal(t, allowed, a.MayPublish(ctx, "//selvedge.dev/projects/p/devices/d", "") == nil)
		require.Error(t, a.Allow(ctx, "devices.devices.get", "projects/q/devices/d"))
		require.Error(t, a.MayPublish(ctx, "urn:x", ""))
	}
	f(Principal{Kind: User, Name: "users/a", Email: "a@example.com"}, "10.1.2.3", true)
	f(Principal{Kind: User, Name: "users/a", Email: "a@example.com"}, "::ffff:10.1.2.3", true)
	f(Principal{Kind: User, Name: "users/a", Email: "a@example.com"}, "11.1.2.3", false)
	f(Principal{Kind: User, Name: "users/a", Email: "a@example.com"}, "", false)
	f(Principal{Kind: User, Name: "users/a", Email: "a@example.org"}, "10.1.2.3", false)
	f(Principal{Kind: User, Name: "users/a"}, "10.1.2.3", false)
	f(principal(t, "projects/q/serviceAccounts/s"), "10.1.2.3", true)
	f(principal(t, "projects/p/serviceAccounts/s"), "10.1.2.3", false)
	f(Principal{Kind: 99, Name: "admin", Email: "a@example.com"}, "10.1.2.3", false)
	f(Principal{}, "10.1.2.3", false)

	err := a.Allow(WithPrincipal(t.Context(), principal(t, "users/a")), "x.y.z", "projects/p/devices/d")
	var fe *fault.Error
	require.ErrorAs(t, err, &fe)
	require.Equal(t, []any{fault.Denied, "PERMISSION_DENIED", "x.y.z"}, []any{fe.Kind, fe.Reason, fe.Field})
	require.ErrorContains(t, err, "users/a lacks the permission x.y.z on projects/p/devices/d")
}

// Whatever a token says, it is refused or read, and read as it was written.
func FuzzToken(f *testing.F) {
	_, key, err := newSigner()
	require.NoError(f, err)
	good, err := Sign(key, "k", Claims{Issuer: "i", Subject: "s", Audience: []string{"a"}, Expires: 1, Email: "e"})
	require.NoError(f, err)
	for _, seed := range []string{good, "", "..", "eyJ..", "e30.e30.", "e30.eyJhdWQiOiJ4In0.AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := parseToken(text)
		if err != nil {
			return
		}
		require.Equal(t, text == good, tok.signedBy(key.Public()))
		_ = tok.claims.holds(time.Now())
	})
}

// BenchmarkAuthorizer is a whole decision of a door, for accounts that have
// bindings in 100,000 projects.
func BenchmarkAuthorizer(b *testing.B) {
	a, e := newAuthorizer(b)
	const bindings = 100_000
	for i := range bindings {
		require.NoError(b, e.SetBinding(access.Binding{
			Name: fmt.Sprintf("projects/p%d/roleBindings/b", i), Scope: fmt.Sprintf("projects/p%d", i), Role: ProjectEditor,
			Members: []string{fmt.Sprintf("serviceAccount:projects/p%d/serviceAccounts/s", i%1000)},
		}))
	}
	p := principal(b, "projects/p7/serviceAccounts/s")
	ctx := WithAddress(WithPrincipal(b.Context(), p), netip.MustParseAddr("10.0.0.1"))
	for name, of := range map[string]struct {
		resource resource.Name
		allowed  bool
	}{"allowed": {"projects/p1007/devices/d", true}, "denied": {"projects/p1008/devices/d", false}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if (a.Allow(ctx, "devices.devices.get", of.resource) == nil) != of.allowed {
					b.Fatal("decided wrongly")
				}
			}
		})
	}
}

// newSigner is a new Ed25519 key.
func newSigner() (ed25519.PublicKey, ed25519.PrivateKey, error) {
	return ed25519.GenerateKey(rand.Reader)
}
