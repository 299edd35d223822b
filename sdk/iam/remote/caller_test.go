package remote_test

import (
	"context"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/remote"
	"selvedge.dev/sdk/resource"
)

// function asks the platform as the function of that name, with its own key.
func (p *platform) function(name string) *remote.Platform {
	return remote.New(remote.Options{URL: p.url, Audience: domain, Function: name, Key: "own", Now: func() time.Time {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.now
	}})
}

// through calls f with the context of a request that came through the door, and
// returns the status of an answer before that.
func through(t *testing.T, r *remote.Platform, token string, f func(ctx context.Context)) int {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	req.Header.Set(iam.CallerHeader, token)
	out := httptest.NewRecorder()
	remote.Incoming(iam.Authenticate(r, nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { f(r.Context()) }))).ServeHTTP(out, req)
	return out.Code
}

// callerOf is what the door says of a user.
func callerOf() iam.Claims {
	return iam.Claims{
		Issuer: issuer, Subject: "users/ada", Email: "ada@example.com",
		Audience: []string{"functions/default/orders"}, Expires: time.Now().Add(time.Minute).Unix(),
	}
}

// The door's token is for one function, of the platform, and of now; whatever else
// comes in its header lets nobody in.
func TestCaller_IsWhomTheDoorNames(t *testing.T) {
	t.Parallel()
	p := serve(t)
	_, other, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	f := func(name, function string, signer ed25519.PrivateKey, change func(*iam.Claims), want string) {
		t.Helper()
		c := callerOf()
		change(&c)
		token, err := iam.Sign(signer, "k", c)
		require.NoError(t, err)
		got := "refused"
		if status := through(t, p.function(function), token, func(ctx context.Context) { got = iam.PrincipalOf(ctx).Name }); got == "refused" {
			require.Equal(t, http.StatusUnauthorized, status, name)
		}
		require.Equal(t, want, got, name)
	}
	none := func(*iam.Claims) {}
	f("ada", "default/orders", p.signer, none, "users/ada")
	f("a function of no door", "", p.signer, none, "")
	f("another function", "other/orders", p.signer, none, "refused")
	f("another key", "default/orders", other, none, "refused")
	f("another issuer", "default/orders", p.signer, func(c *iam.Claims) { c.Issuer = "//selvedge.dev/platforms/q" }, "refused")
	f("for the platform", "default/orders", p.signer, func(c *iam.Claims) { c.Audience = []string{issuer} }, "refused")
	f("too late", "default/orders", p.signer, func(c *iam.Claims) { c.Expires = time.Now().Add(-time.Hour).Unix() }, "refused")
	f("nobody", "default/orders", p.signer, func(c *iam.Claims) { c.Subject = "x" }, "refused")

	require.Equal(t, http.StatusUnauthorized, through(t, p.function("default/orders"), "a.b.c", func(context.Context) { t.Error("let in") }))
}

// What a caller may, the function asks with its own key, and is told no if it may
// not ask, or the caller has no name there.
func TestCaller_MayWhatThePlatformSays(t *testing.T) {
	t.Parallel()
	p := serve(t)
	p.set("own", "serviceAccount:projects/default/serviceAccounts/orders", true)
	r := p.function("default/orders")
	allowed := func(subject, email, project string) error {
		t.Helper()
		c := callerOf()
		c.Subject, c.Email = subject, email
		token, err := iam.Sign(p.signer, "k", c)
		require.NoError(t, err)
		var answer error
		through(t, r, token, func(ctx context.Context) {
			answer = r.Allow(ctx, "orders.orders.list", resource.Name("projects/"+project))
		})
		return answer
	}
	f := func(subject, email, project string, want fault.Kind) {
		t.Helper()
		require.Equal(t, want, fault.KindOf(allowed(subject, email, project)), "%s %s", subject, project)
	}
	f("users/ada", "ada@example.com", "p", fault.Denied)
	p.set("user:ada@example.com", "", true)
	require.NoError(t, allowed("users/ada", "ada@example.com", "p"))
	f("users/ada", "ada@example.com", "q", fault.Denied)
	f("users/eve", "eve@example.com", "p", fault.Denied)
	p.set("", "", true) // as the platform answers about who asks
	f("users/nameless", "", "p", fault.Denied)
	p.set("serviceAccount:projects/p/serviceAccounts/s", "", true)
	require.NoError(t, allowed("projects/p/serviceAccounts/s", "", "p"))

	p.set("user:ada@example.com", "", false)
	require.NoError(t, allowed("users/ada", "ada@example.com", "p"), "it is believed for half a second")
	p.pass(time.Second)
	f("users/ada", "ada@example.com", "p", fault.Denied)

	p.set("own", "serviceAccount:projects/default/serviceAccounts/orders", false)
	p.pass(time.Second)
	err := allowed("projects/p/serviceAccounts/s", "", "p")
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, "MAY_NOT_ASK", fault.ReasonOf(err))
}

// The platform itself proves itself to a function by a header of its own, which
// nobody else can make.
func TestAllowPlatform_BehindTheDoor(t *testing.T) {
	t.Parallel()
	p := serve(t)
	f := func(token string, want fault.Kind) {
		t.Helper()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		req.Header.Set(iam.PlatformHeader, token)
		r := p.function("default/orders")
		var err, other error
		remote.Incoming(iam.Authenticate(r, nil)(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			err = r.AllowPlatform(req.Context(), "reference.peers.call", "")
			other = r.Allow(req.Context(), "orders.orders.list", "projects/p")
		}))).ServeHTTP(httptest.NewRecorder(), req)
		require.Equal(t, fault.Unauthenticated, fault.KindOf(other), "it may do nothing else")
		if want == 0 {
			require.NoError(t, err)
			return
		}
		require.Equal(t, want, fault.KindOf(err), "%v", err)
	}
	own := iam.Claims{Issuer: issuer, Subject: issuer, Audience: []string{domain}, Expires: time.Now().Add(time.Minute).Unix()}
	sign := func(key ed25519.PrivateKey, c iam.Claims) string {
		token, err := iam.Sign(key, "k", c)
		require.NoError(t, err)
		return token
	}
	f(sign(p.signer, own), 0)
	_, other, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	f(sign(other, own), fault.Unauthenticated)
	user := own
	user.Subject = "users/ada"
	f(sign(p.signer, user), fault.Denied)
	f("x", fault.Denied)
}
