package platform_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/platform"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// place is the platform of a region behind an address that it keeps, whose link
// can be cut.
type place struct {
	t      *testing.T
	config platform.Config
	front  *httptest.Server
	target atomic.Pointer[url.URL]
	*platform.Platform
	log  logged
	stop func()
}

// logged is what a platform logs.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// has reports whether a text was logged.
func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// deadline is for what has to happen, also after pauses that were doubled, on a
// busy machine.
const deadline = 2 * time.Minute

// nowhere is where a link goes that is cut.
func nowhere() *url.URL { return &url.URL{Scheme: "http", Host: "127.0.0.1:1"} }

// newPlace makes the address of a region, that nobody answers at yet.
func newPlace(t *testing.T, region string) *place {
	t.Helper()
	p := &place{t: t}
	p.front = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(q *httputil.ProxyRequest) { q.SetURL(p.target.Load()) },
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		FlushInterval: -1,
	})
	t.Cleanup(p.front.Close)
	t.Cleanup(p.front.CloseClientConnections)
	p.target.Store(nowhere())
	p.config = platform.Config{
		Data: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0", AdminKey: adminKey, Region: region, PublicURL: p.front.URL,
		Peers: map[string]platform.Peer{}, Logger: slog.New(slog.NewTextHandler(&p.log, nil)),
	}
	return p
}

// know gives a platform a peer.
func (p *place) know(others ...*place) {
	p.t.Helper()
	key := filepath.Join(p.t.TempDir(), "key")
	require.NoError(p.t, os.WriteFile(key, []byte(adminKey+"\n"), 0o600))
	for _, o := range others {
		p.config.Peers[o.config.Region] = platform.Peer{URL: o.front.URL, KeyFile: key}
	}
}

// up starts the platform until down, or the test, ends it.
func (p *place) up() {
	p.t.Helper()
	running, err := platform.Open(p.t.Context(), p.config)
	require.NoError(p.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- running.Run(ctx) }()
	var once sync.Once
	p.Platform, p.stop = running, func() {
		once.Do(func() {
			p.front.CloseClientConnections()
			cancel()
			require.NoError(p.t, <-stopped)
			require.NoError(p.t, running.Close())
		})
	}
	p.t.Cleanup(p.stop)
	p.mend()
}

// cut cuts the link to the platform, and mend undoes that.
func (p *place) cut() {
	p.target.Store(nowhere())
	p.front.CloseClientConnections()
}

// mend has the link be there.
func (p *place) mend() {
	u, err := url.Parse(p.URL())
	require.NoError(p.t, err)
	p.target.Store(u)
}

// has waits until the platform knows of a name in a collection.
func (p *place) has(collection, name string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		for _, n := range names(p.t, p.Platform, collection) {
			if n == name {
				return true
			}
		}
		return false
	}, deadline, 10*time.Millisecond, name)
}

// account makes a service account that may register services, and returns what
// a service registers with: here, in this region.
func (p *place) account(project, domain string) registry.Options {
	p.t.Helper()
	name := "projects/" + project + "/serviceAccounts/s"
	do(p.t, p.Platform, "projects/"+project+"/serviceAccounts?serviceAccountId=s", `{}`)
	made := do(p.t, p.Platform, name+"/serviceAccountKeys?serviceAccountKeyId=k", `{"algorithm":"API_KEY"}`)
	do(p.t, p.Platform, "roleBindings?roleBindingId="+project, `{"role":"services/iam.selvedge.dev/roles/service","members":["serviceAccount:`+name+`"]}`)
	var key string
	require.NoError(p.t, json.Unmarshal(made["secret"], &key))
	return registry.Options{
		Meta: &rpc.Client{URL: p.URL(), Key: key}, Key: key, Region: p.config.Region, Retry: 20 * time.Millisecond,
		Service:    registry.Service{Versions: []*schema.Service{{Domain: domain, Version: "v1", Imports: []string{"iam.selvedge.dev"}}}},
		Deployment: registry.Deployment{Endpoint: "http://" + p.config.Region + "." + domain},
	}
}

// registered opens a registry until the test ends.
func registered(t *testing.T, o registry.Options) *registry.Registry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := registry.Open(ctx, o)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// Platforms that are each other's peers have one registry, which is that of the
// first by name: what starts in a region is known in all, and a service finds
// its deployments wherever they are. One that is denied here is denied there.
// SPEC 1.F 5, 7
func TestPeers_OneRegistry(t *testing.T) {
	t.Parallel()
	eu, us := newPlace(t, "eu"), newPlace(t, "us")
	eu.know(us)
	us.know(eu)
	us.up() // it waits for the region that has the registry
	eu.up()
	us.has("services/devices.selvedge.dev/deployments", "services/devices.selvedge.dev/deployments/eu")
	eu.has("services/devices.selvedge.dev/deployments", "services/devices.selvedge.dev/deployments/us")
	require.Equal(t, []string{"regions/eu", "regions/us"}, names(t, us.Platform, "regions"))
	require.True(t, us.log.has("the registry is that of another region"))

	there := registered(t, us.account("p", "inventory.example.com"))
	eu.has("services", "services/inventory.example.com")
	require.Equal(t, "projects/p", there.Service().GetProject())
	here := registered(t, eu.account("p", "inventory.example.com"))
	for region, r := range map[string]*registry.Registry{"us": here, "eu": there} {
		require.Eventually(t, func() bool {
			c, err := r.Dial("inventory.example.com", region)
			return err == nil && c.URL == "http://"+region+".inventory.example.com"
		}, deadline, 10*time.Millisecond, region)
	}
	c, err := there.Dial("devices.selvedge.dev", "eu")
	require.NoError(t, err)
	require.Equal(t, eu.front.URL, c.URL, "it is known by its public address")

	_, err = registry.Open(t.Context(), us.account("q", "inventory.example.com"))
	require.Equal(t, "NOT_OWNING_PROJECT", fault.ReasonOf(err), "%v", err)
	person := us.account("r", "another.example.com")
	person.Meta = &rpc.Client{URL: us.URL(), Key: adminKey}
	_, err = registry.Open(t.Context(), person)
	require.Equal(t, "SERVICE_ACCOUNT_NEEDED", fault.ReasonOf(err), "%v", err)
	// Nobody but a platform says for whom he calls.
	forged := us.account("s", "another.example.com")
	forged.NewRegion, forged.Region = true, "mars"
	forged.Meta = &rpc.Client{URL: eu.URL(), Key: eu.account("s", "another.example.com").Key, HTTP: &http.Client{Transport: claiming{}}}
	_, err = registry.Open(t.Context(), forged)
	require.Equal(t, fault.Denied, fault.KindOf(err), "%v", err)
	require.NotContains(t, names(t, eu.Platform, "regions"), "regions/mars")
}

// claiming is the transport of somebody who says that he calls for a registry.
type claiming struct{}

// RoundTrip implements [http.RoundTripper].
func (claiming) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Selvedge-Registry-Caller", `{"ServiceAccount":true,"Registry":true}`)
	return http.DefaultTransport.RoundTrip(r)
}

// A region whose registry is away goes on with its copy, and starts with it; and
// what changed on either side meanwhile is known on the other when the link is
// back.
func TestPeers_OwnerAway(t *testing.T) {
	t.Parallel()
	eu, us := newPlace(t, "eu"), newPlace(t, "us")
	eu.know(us)
	us.know(eu)
	eu.up()
	us.up()
	us.has("services/devices.selvedge.dev/deployments", "services/devices.selvedge.dev/deployments/us")
	o := us.account("p", "inventory.example.com")
	registered(t, o).Close()
	eu.cut()
	us.stop()
	us.up()
	us.has("services/devices.selvedge.dev/deployments", "services/devices.selvedge.dev/deployments/eu")
	// The roles of a service are each platform's own, though the service is not.
	require.Contains(t, string(do(t, us.Platform, "services/iam.selvedge.dev/roles/administrator", "")["metadata"]), `"owningRegion":"us"`)
	o.Meta = &rpc.Client{URL: us.URL(), Key: o.Key} // it listens elsewhere
	o.Deployment.Endpoint = "http://moved.example.com"
	r := registered(t, o)
	c, err := r.Dial("devices.selvedge.dev", "eu")
	require.NoError(t, err)
	require.Equal(t, eu.front.URL, c.URL)
	registered(t, eu.account("q", "other.example.com"))
	require.NotContains(t, names(t, us.Platform, "services"), "services/other.example.com")
	eu.mend()
	us.has("services", "services/other.example.com")
	require.Eventually(t, func() bool {
		d := do(t, eu.Platform, "services/inventory.example.com/deployments/us", "")
		return string(d["endpoint"]) == `"http://moved.example.com"`
	}, deadline, 10*time.Millisecond)
}

// A registry whose database was emptied is not believed: what is known of it
// stays, until an operator says that it is meant to be so. Then what runs here
// is registered there anew.
func TestPeers_OwnerEmptied(t *testing.T) {
	t.Parallel()
	eu, us := newPlace(t, "eu"), newPlace(t, "us")
	eu.know(us)
	us.know(eu)
	eu.up()
	us.up()
	us.has("services/devices.selvedge.dev/deployments", "services/devices.selvedge.dev/deployments/us")
	registered(t, eu.account("p", "inventory.example.com")).Close()
	us.has("services", "services/inventory.example.com")
	eu.stop()
	eu.config.Data = filepath.Join(t.TempDir(), "other")
	eu.config.Peers = nil // it was told of no other, and has its own registry
	eu.up()
	require.Eventually(t, func() bool { return us.log.has("and is not believed") }, deadline, 10*time.Millisecond)
	require.Contains(t, names(t, us.Platform, "services"), "services/inventory.example.com")
	require.NotContains(t, names(t, eu.Platform, "regions"), "regions/us")
	us.stop()
	us.config.RenewPeers = []string{"eu"}
	us.up()
	eu.has("services/devices.selvedge.dev/deployments", "services/devices.selvedge.dev/deployments/us")
	require.Eventually(t, func() bool {
		for _, n := range names(t, us.Platform, "services") {
			if n == "services/inventory.example.com" {
				return false
			}
		}
		return true
	}, deadline, 10*time.Millisecond)
}
