package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	referencev1 "selvedge.dev/sdk/reference/v1"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/tests/process"
)

// ownerTimeout is that of the platforms of two regions: short, and long enough
// to make an owner after its ownee on a busy machine. regionDeadline is for what
// has to happen, also after pauses that were doubled meanwhile.
const (
	ownerTimeout   = 5 * time.Second
	regionDeadline = 2 * time.Minute
)

// region is the platform of a region behind an address that it keeps when it is
// started again.
type region struct {
	*process.Platform
	t     *testing.T
	name  string
	data  string
	front *httptest.Server
	// target is where the platform listens now.
	target atomic.Pointer[url.URL]
	clocks int
}

// newRegion makes the address of a region.
func newRegion(t *testing.T, name string) *region {
	t.Helper()
	r := &region{t: t, name: name, data: t.TempDir()}
	r.front = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:      func(q *httputil.ProxyRequest) { q.SetURL(r.target.Load()) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	t.Cleanup(r.front.Close)
	r.target.Store(&url.URL{Scheme: "http", Host: "127.0.0.1:1"})
	return r
}

// up starts the platform, which knows another.
func (r *region) up(other *region) {
	r.t.Helper()
	key := filepath.Join(r.t.TempDir(), "key")
	require.NoError(r.t, os.WriteFile(key, []byte(process.AdminKey+"\n"), 0o600))
	r.Platform = start(r.t, r.data, "--region", r.name, "--peer", other.name+"="+other.front.URL, "--peer-key-file", other.name+"="+key,
		"--owner-timeout", ownerTimeout.String())
	u, err := url.Parse(r.URL)
	require.NoError(r.t, err)
	r.target.Store(u)
}

// create makes a device below a parent, for owners.
func (r *region) create(parent, id string, owners ...map[string]any) string {
	r.t.Helper()
	for _, o := range owners {
		o["type"] = "devices.selvedge.dev/Device"
	}
	body := map[string]any{"metadata": map[string]any{"ownerReferences": owners}}
	call(r.t, r.Platform, http.MethodPost, "/v1/"+parent+"/devices", url.Values{"deviceId": {id}}, body, nil)
	return parent + "/devices/" + id
}

// get is a device, nil if there is none.
func (r *region) get(name string) *devicesv1.Device {
	r.t.Helper()
	out, err := (&rpc.Client{URL: r.URL, Key: process.AdminKey}).Call(r.t.Context(), method(r.t, "DeviceService.GetDevice"), &devicesv1.GetDeviceRequest{Name: name})
	if fault.KindOf(err) == fault.NotFound {
		return nil
	}
	require.NoError(r.t, err)
	d, ok := out.(*devicesv1.Device)
	require.True(r.t, ok)
	return d
}

// owned reports whether a device is there, and knows the uid of its one owner.
func (r *region) owned(name string) bool {
	owners := r.get(name).GetMetadata().GetOwnerReferences()
	return len(owners) == 1 && owners[0].GetUid() != ""
}

// eventually waits for a condition.
func (r *region) eventually(is func() bool, what string) {
	r.t.Helper()
	require.Eventually(r.t, is, regionDeadline, 50*time.Millisecond, what)
}

// elapse waits until a new device of the region was missing its owner, of the
// same region, for the owner timeout: it is the clock of the platform itself.
func (r *region) elapse() {
	r.t.Helper()
	r.clocks++
	id := "clock" + strconv.Itoa(r.clocks)
	name := r.create("projects/clocks", id, map[string]any{"name": "projects/clocks/devices/nobody"})
	r.eventually(func() bool { return r.get(name) == nil }, "the owner timeout ends")
}

// method is a method of the devices service.
func method(t *testing.T, name protoreflect.FullName) *schema.Method {
	t.Helper()
	types := new(schema.Registry)
	devicesv1.AddTo(types)
	m, ok := types.Method("selvedge.devices.v1." + name)
	require.True(t, ok)
	return m
}

// removals watches the devices of the project default, and sends the names of
// those that go.
func (r *region) removals() <-chan string {
	gone := make(chan string, 100)
	ready := make(chan struct{})
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(r.t.Context())
	m := method(r.t, "DeviceService.WatchDevices")
	c := rpc.Client{URL: r.URL, Key: process.AdminKey}
	go func() {
		defer close(done)
		current := false
		_ = c.Watch(ctx, m, &devicesv1.WatchDevicesRequest{Type: resourcev1.WatchType_STATELESS, Parent: "projects/default"}, func(m proto.Message) error {
			w, _ := m.(*devicesv1.WatchDevicesResponse)
			for _, x := range w.GetDeviceChanges() {
				if x.GetRemoved() != nil {
					gone <- x.GetRemoved().GetName()
				}
			}
			if w.GetIsCurrent() && !current {
				current = true
				close(ready)
			}
			return nil
		}) // it ends with the test
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case <-ready:
	case <-done:
		require.Fail(r.t, "the watch ended")
	}
	return gone
}

// Two platforms, of two regions: what is in one lives for what is in the other.
func TestRegions_Owners(t *testing.T) {
	t.Parallel()
	eu, us := newRegion(t, "eu"), newRegion(t, "us")
	eu.up(us)
	us.up(eu)
	gone := eu.removals()

	// The owner may come later. SPEC 1.F 16
	boss := map[string]any{"name": "projects/default/regions/us/devices/boss"}
	crew := eu.create("projects/default", "crew", boss)
	later := map[string]any{"name": "projects/default/devices/later", "region": "us"}
	early := eu.create("projects/default/regions/eu", "early", later)
	us.create("projects/default/regions/us", "boss")
	us.create("projects/default", "later")
	eu.eventually(func() bool { return eu.owned(crew) && eu.owned(early) }, "the owners are found")

	// An owner who never comes is missing only if his region says so.
	// SPEC 1.F 18, 28
	require.NoError(t, us.Kill())
	stranded := eu.create("projects/default", "stranded", map[string]any{"name": "projects/default/regions/us/devices/never"})
	eu.elapse()
	eu.elapse()
	for _, name := range []string{crew, early, stranded} {
		require.NotNil(t, eu.get(name), name)
	}
	require.Contains(t, eu.Output(), "a region does not answer")
	require.NotContains(t, eu.Output(), process.AdminKey)
	us.up(eu)
	eu.eventually(func() bool { return eu.get(stranded) == nil }, "its owner never came")
	require.Equal(t, stranded, <-gone)

	// The end of the last owner is the ownee's. SPEC 1.F 17, 20
	call(t, us.Platform, http.MethodDelete, "/v1/projects/default/regions/us/devices/boss", nil, nil, nil)
	select {
	case name := <-gone:
		require.Equal(t, crew, name)
	case <-time.After(regionDeadline):
		require.Fail(t, "the ownee is still there")
	}
	require.True(t, eu.owned(early))
	stop(t, eu.Platform)
	stop(t, us.Platform)
}

// What is another region's is refused, and the service between platforms is for
// platforms.
func TestRegions_Refusals(t *testing.T) {
	t.Parallel()
	eu, us := newRegion(t, "eu"), newRegion(t, "us")
	eu.up(us)
	admin := eu.Client(process.AdminKey)
	f := func(reason, method, path string, query url.Values) {
		t.Helper()
		var body any
		if method == http.MethodPost || method == http.MethodPatch {
			body = map[string]any{}
		}
		err := admin.Call(t.Context(), method, path, query, body, nil)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, reason, fault.ReasonOf(err))
	}
	of := "/v1/projects/default/regions/us/devices"
	f("WRONG_REGION", http.MethodPost, of, url.Values{"deviceId": {"d"}})
	f("WRONG_REGION", http.MethodPatch, of+"/d", url.Values{"updateMask": {"displayName"}})
	f("WRONG_REGION", http.MethodPatch, of+"/d", url.Values{"updateMask": {"displayName"}, "allowMissing": {"true"}})
	f("WRONG_REGION", http.MethodDelete, of+"/d", nil)
	f("WRONG_REGION", http.MethodGet, of+"/d", nil)
	f("WRONG_REGION", http.MethodGet, of, nil)
	f("REGION_NOT_ENABLED", http.MethodPost, "/v1/projects/default/regions/mars/devices", url.Values{"deviceId": {"d"}})
	name := eu.create("projects/default/regions/eu", "d")
	require.Equal(t, []string{"eu"}, eu.get(name).GetMetadata().GetSyncing().GetRegions(), "nobody makes copies yet")

	var made struct{ Key string }
	call(t, eu.Platform, http.MethodPost, "/v1/keys", nil, map[string]any{"principal": "projects/default"}, &made)
	types := new(schema.Registry)
	for _, m := range referencev1.AddTo(types).Methods {
		for key, want := range map[string]fault.Kind{"": fault.Unauthenticated, made.Key: fault.Denied, process.AdminKey: fault.Unavailable} {
			_, err := (&rpc.Client{URL: eu.URL, Key: key}).Call(t.Context(), m, m.Input.New().Interface())
			require.Equal(t, want, fault.KindOf(err), "%s: %v", m.Name, err)
		}
	}
}
