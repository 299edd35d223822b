package registry_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/registry"
)

// disable has a deployment disabled, or not, and waits until it is known.
func disable(t *testing.T, w *world, r *registry.Registry, name string, is bool) {
	t.Helper()
	_, err := call[*metav1.Deployment](t, w, "UpdateDeployment", &metav1.UpdateDeploymentRequest{
		Deployment: &metav1.Deployment{Name: name, IsDisabled: is}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"is_disabled"}},
	})
	require.NoError(t, err)
	until(t, r, func() bool {
		for _, s := range r.Services() {
			for _, d := range r.Deployments(s.Domain()) {
				if d.GetName() == name {
					return d.GetIsDisabled() == is
				}
			}
		}
		return false
	})
}

func TestDial_Routes(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu", "jp", "us")
	for _, region := range []string{"us", "eu"} { // the primary region is the first
		o := w.options(region, described("b.example.com", "v1", nil, nil))
		o.Deployment.PrivateEndpoint, o.Deployment.LocalNetwork = "http://10.0.0.1", "network-"+region
		register(t, o)
	}
	o := w.options("eu", described("a.example.com", "v1", []string{"b.example.com"}, nil))
	o.Deployment.LocalNetwork, o.Key = "network-us", "own-key"
	a := register(t, o)
	f := func(region, url, reason string) {
		t.Helper()
		c, err := a.Dial("b.example.com", region)
		if reason != "" {
			require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, url, c.URL)
		require.Equal(t, "own-key", c.Key)
	}
	f("eu", "http://eu.b.example.com", "")
	f("us", "http://10.0.0.1", "")
	f("jp", "", "NOT_DEPLOYED")
	f("", "http://eu.b.example.com", "")
	disable(t, w, a, "services/b.example.com/deployments/eu", true)
	f("eu", "", "DEPLOYMENT_DISABLED")
	f("", "http://10.0.0.1", "")
	disable(t, w, a, "services/b.example.com/deployments/us", true)
	f("", "", "DEPLOYMENT_DISABLED")
	// A deployment that starts again stays disabled.
	register(t, w.options("eu", described("b.example.com", "v1", nil, nil)))
	f("eu", "", "DEPLOYMENT_DISABLED")
	disable(t, w, a, "services/b.example.com/deployments/eu", false)
	f("", "http://eu.b.example.com", "")
}

// Forwarded calls have the credentials and the id of the call that they are made
// for, and go to who is trusted alone.
func TestDial_Forwards(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu", "us")
	type seen struct{ authorization, id string }
	var got []seen
	target := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		got = append(got, seen{r.Header.Get("Authorization"), r.Header.Get(registry.CallIDHeader)})
		out.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(target.Close)
	for _, domain := range []string{"b.example.com", "c.example.com", "a.example.com"} {
		o := w.options("us", described(domain, "v1", nil, nil))
		o.Deployment.Endpoint = target.URL
		register(t, o)
	}
	o := w.options("eu", described("a.example.com", "v1", nil, []string{"b.example.com", "c.example.com"}))
	o.Key, o.Trusted = "own-key", []string{"b.example.com"}
	a := register(t, o)
	until(t, a, func() bool { return len(a.Deployments("a.example.com")) == 2 })

	// do makes a call within one that came with these headers, and returns what
	// arrived.
	do := func(service, authorization, id string, forwarding bool) (seen, error) {
		var err error
		n := len(got)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		r.Header.Set(registry.CallIDHeader, id)
		registry.Incoming(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			c, e := a.Dial(service, "us")
			if forwarding {
				c, e = a.DialForwarding(r.Context(), service, "us")
			}
			if err = e; err == nil {
				_, _ = c.Call(r.Context(), w.methods["GetRegion"], &metav1.GetRegionRequest{Name: "regions/eu"}) // it is not found
			}
			id = registry.CallID(r.Context())
		})).ServeHTTP(httptest.NewRecorder(), r)
		if err != nil {
			return seen{}, err
		}
		require.Len(t, got, n+1)
		return got[n], nil
	}
	f := func(service, authorization, id string, forwarding bool, want seen) {
		t.Helper()
		is, err := do(service, authorization, id, forwarding)
		require.NoError(t, err)
		require.Equal(t, want, is)
	}
	f("a.example.com", "Bearer caller", "id-1", true, seen{"Bearer caller", "id-1"})
	f("b.example.com", "Bearer caller", "id-1", true, seen{"Bearer caller", "id-1"})
	f("a.example.com", "", "id-2", true, seen{"", "id-2"})
	f("a.example.com", "Bearer caller", "id-3", false, seen{"Bearer own-key", ""})
	_, err := do("c.example.com", "Bearer caller", "id-4", true)
	require.Equal(t, "NOT_TRUSTED", fault.ReasonOf(err))
	is, err := do("a.example.com", "", "not an id\n", true)
	require.NoError(t, err)
	require.Regexp(t, `^[A-Z2-7]{26}$`, is.id)
	require.Empty(t, registry.CallID(context.Background()))
}
