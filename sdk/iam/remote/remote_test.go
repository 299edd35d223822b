package remote_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	gatewayrpc "selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/remote"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

// The domain of the service under test, and the issuer of its platform.
const (
	domain = "inventory.example.com"
	issuer = "//selvedge.dev/platforms/p"
)

// platform answers as one does: for known keys.
type platform struct {
	url    string
	schema *schema.Service
	signer ed25519.PrivateKey

	mu sync.Mutex
	// members are whom keys are of, may what these may on projects/p.
	members map[string]string
	may     map[string]bool
	asked   int
	now     time.Time
}

// serve serves a platform until the test ends.
func serve(t *testing.T) *platform {
	t.Helper()
	_, signer, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	p := &platform{schema: iamv1.AddTo(new(schema.Registry)), signer: signer, members: map[string]string{}, may: map[string]bool{}, now: time.Now()}
	h, err := gatewayrpc.New(gatewayrpc.Options{Servers: []gatewayrpc.Server{p}})
	require.NoError(t, err)
	write := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) }
	}
	public, _ := signer.Public().(ed25519.PublicKey)
	mux := http.NewServeMux()
	mux.Handle("/", iam.Authenticate(p, nil)(remote.Incoming(h)))
	mux.HandleFunc("/.well-known/openid-configuration", write(map[string]string{"issuer": issuer}))
	mux.HandleFunc("/.well-known/jwks.json", write(map[string]any{"keys": []map[string]string{
		{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": base64.RawURLEncoding.EncodeToString(public)}, {"kty": "RSA", "kid": "other"},
	}}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// Authenticate lets every known key in, by its member as the name of a project.
func (p *platform) Authenticate(_ context.Context, authorization string) (iam.Principal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	key := strings.TrimPrefix(authorization, "Bearer ")
	if p.members[key] == "" {
		return iam.Principal{}, &fault.Error{Kind: fault.Unauthenticated, Reason: "INVALID_TOKEN"}
	}
	return iam.Principal{Kind: iam.Project, Name: key}, nil
}

// Schema implements gatewayrpc.Server.
func (p *platform) Schema() *schema.Service { return p.schema }

// Stream implements gatewayrpc.Server.
func (p *platform) Stream(context.Context, *schema.Method, proto.Message, func(proto.Message) error) error {
	return &fault.Error{Kind: fault.Unsupported}
}

// Call implements gatewayrpc.Server.
func (p *platform) Call(ctx context.Context, _ *schema.Method, req proto.Message) (proto.Message, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := iam.PrincipalOf(ctx).Name
	if q, ok := req.(*iamv1.ExplainAccessRequest); ok {
		if !p.may[key] { // the caller may not ask
			return nil, &fault.Error{Kind: fault.Denied, Reason: "PERMISSION_DENIED"}
		}
		return &iamv1.ExplainAccessResponse{Allowed: p.may[q.GetMember()] && q.GetResource() == "projects/p"}, nil
	}
	if q, ok := req.(*iamv1.TestPermissionsRequest); ok {
		out := &iamv1.TestPermissionsResponse{}
		if p.may[key] && q.GetResource() == "projects/p" {
			out.Permissions = q.GetPermissions()
		}
		return out, nil
	}
	return &iamv1.ListMyPermissionsResponse{Member: p.members[key]}, nil
}

// set changes what the platform knows of a key.
func (p *platform) set(key, member string, may bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members[key], p.may[key] = member, may
}

// pass lets time pass.
func (p *platform) pass(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

// count is how often the platform was asked.
func (p *platform) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// client asks the platform.
func (p *platform) client() *remote.Platform {
	return remote.New(remote.Options{URL: p.url, Audience: domain, Now: func() time.Time {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.now
	}})
}

// within calls f with the context of a request with credentials.
func within(t *testing.T, r *remote.Platform, authorization string, f func(ctx context.Context) error) error {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	var err error
	out := httptest.NewRecorder()
	remote.Incoming(iam.Authenticate(r, nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { err = f(r.Context()) }))).ServeHTTP(out, req)
	if out.Code != http.StatusOK {
		return &fault.Error{Kind: fault.Unauthenticated, Reason: out.Body.String()}
	}
	return err
}

// allow asks for a permission in a project.
func allow(t *testing.T, r *remote.Platform, authorization, project string) error {
	t.Helper()
	return within(t, r, authorization, func(ctx context.Context) error {
		return r.Allow(ctx, "inventory.sites.list", resource.Name("projects/"+project))
	})
}

func TestPlatform_WhoCalls(t *testing.T) {
	t.Parallel()
	p := serve(t)
	f := func(key, member, want string, kind iam.Kind) {
		t.Helper()
		p.set(key, member, true)
		who, err := p.client().Authenticate(t.Context(), "Bearer "+key)
		require.NoError(t, err)
		require.Equal(t, want, who.Name)
		require.Equal(t, kind, who.Kind)
	}
	token, err := iam.Sign(p.signer, "k", iam.Claims{Subject: "users/ada", Expires: time.Now().Add(time.Hour).Unix()})
	require.NoError(t, err)
	f("a", "admin", "admin", iam.Admin)
	f("b", "project:p", "projects/p", iam.Project)
	f("c", "device:projects/p/devices/d", "projects/p/devices/d", iam.Device)
	f("d", "serviceAccount:projects/p/serviceAccounts/s", "projects/p/serviceAccounts/s", iam.ServiceAccount)
	f(token, "user:ada@example.com", "users/ada", iam.User)

	who, err := p.client().Authenticate(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, iam.Anonymous, who.Kind)
	bad := func(authorization string, want fault.Kind) {
		t.Helper()
		who, err := p.client().Authenticate(t.Context(), authorization)
		require.Equal(t, want, fault.KindOf(err), "%v", err)
		require.Equal(t, iam.Principal{}, who)
	}
	bad("Bearer unknown", fault.Unauthenticated)
	bad("Basic YTp4", fault.Unauthenticated) // a:x
	bad("Digest b", fault.Unauthenticated)
	who, err = p.client().Authenticate(t.Context(), "Basic YTpi") // a:b
	require.NoError(t, err)
	require.Equal(t, "projects/p", who.Name)
	p.set("e", "user:eve@example.com", true) // whose name nothing says
	bad("Bearer e", fault.Unavailable)
	p.set("e", "somebody", true)
	bad("Bearer e", fault.Unavailable)
}

// What was granted is believed for half a second, what was not is asked for each
// time, and without an answer nothing is allowed.
func TestPlatform_Allow(t *testing.T) {
	t.Parallel()
	p := serve(t)
	r := p.client()
	p.set("key", "project:p", false)
	require.Equal(t, fault.Unauthenticated, fault.KindOf(allow(t, r, "", "p")))
	require.Equal(t, fault.Denied, fault.KindOf(allow(t, r, "Bearer key", "p")))
	p.set("key", "project:p", true)
	require.NoError(t, allow(t, r, "Bearer key", "p"), "a denial is not kept")
	require.Equal(t, fault.Denied, fault.KindOf(allow(t, r, "Bearer key", "q")))
	asked := p.count()
	require.NoError(t, allow(t, r, "Bearer key", "p"))
	require.Equal(t, asked, p.count())
	ctx := iam.WithAnyResource(iam.WithPrincipal(t.Context(), iam.Principal{Kind: iam.Project, Name: "key"}))
	require.Error(t, r.Allow(ctx, "inventory.sites.list", "projects/p"), "the platform knows nothing of sites")
	require.Equal(t, asked, p.count())

	p.set("key", "project:p", false)
	p.pass(499 * time.Millisecond)
	require.NoError(t, allow(t, r, "Bearer key", "p"))
	p.pass(time.Millisecond)
	require.Equal(t, fault.Denied, fault.KindOf(allow(t, r, "Bearer key", "p")))
	p.set("key", "", true)
	p.pass(time.Second)
	require.Equal(t, fault.Unauthenticated, fault.KindOf(allow(t, r, "Bearer key", "p")))

	// Credentials that no middleware kept are none.
	err := r.Allow(iam.WithPrincipal(t.Context(), iam.Principal{Kind: iam.Admin, Name: "admin"}), "inventory.sites.list", "")
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err))

	away := remote.New(remote.Options{URL: "http://127.0.0.1:1"})
	_, err = away.Authenticate(t.Context(), "Bearer key")
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.NotContains(t, err.Error(), "Bearer")
}

// The platform itself is who signs for this service with its own key, and about
// itself; it may do nothing else.
func TestPlatform_Itself(t *testing.T) {
	t.Parallel()
	p := serve(t)
	r := p.client()
	_, other, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	soon := time.Now().Add(time.Minute).Unix()
	f := func(name string, signer ed25519.PrivateKey, id string, c iam.Claims, want fault.Kind) {
		t.Helper()
		token, err := iam.Sign(signer, id, c)
		require.NoError(t, err)
		err = within(t, r, "Bearer "+token, func(ctx context.Context) error {
			require.Equal(t, iam.Anonymous, iam.PrincipalOf(ctx).Kind, name)
			require.Error(t, r.Allow(ctx, "inventory.sites.list", "projects/p"), name)
			return r.AllowPlatform(ctx, "reference.peers.call", "")
		})
		if want == 0 {
			require.NoError(t, err, name)
			return
		}
		require.Equal(t, want, fault.KindOf(err), "%s: %v", name, err)
	}
	own := iam.Claims{Issuer: issuer, Subject: issuer, Audience: []string{domain}, Expires: soon}
	f("itself", p.signer, "k", own, 0)
	f("another key", other, "k", own, fault.Unauthenticated)
	f("an unknown key", p.signer, "l", own, fault.Unauthenticated)
	user := own
	user.Subject = "users/ada"
	f("a user", p.signer, "k", user, fault.Denied)
	late := own
	late.Expires = time.Now().Add(-time.Hour).Unix()
	f("too late", p.signer, "k", late, fault.Unauthenticated)

	p.set("key", "admin", true)
	err = within(t, r, "Bearer key", func(ctx context.Context) error { return r.AllowPlatform(ctx, "reference.peers.call", "") })
	require.Equal(t, fault.Denied, fault.KindOf(err))
}

// FuzzAuthenticate has whatever is no key be nobody.
func FuzzAuthenticate(f *testing.F) {
	f.Add("Bearer a.b.c")
	f.Add("Bearer eyJhbGciOiJub25lIn0.eyJhdWQiOlsiaW52ZW50b3J5LmV4YW1wbGUuY29tIl19.x")
	f.Add("Bearer eyJ.e30.")
	f.Add("Bearer")
	refuse := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) }))
	f.Cleanup(refuse.Close)
	r := remote.New(remote.Options{URL: refuse.URL, Audience: domain})
	f.Fuzz(func(t *testing.T, authorization string) {
		who, _ := r.Authenticate(t.Context(), authorization)
		require.Equal(t, iam.Principal{}, who)
		require.Error(t, within(t, r, authorization, func(ctx context.Context) error { return r.AllowPlatform(ctx, "x", "") }))
	})
}
