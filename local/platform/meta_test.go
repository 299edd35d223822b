package platform_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/local/platform"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// adminKey is the key of the platform's administrator.
const adminKey = "an-administrator's-key"

// do asks the platform as its administrator; with a body it creates.
func do(t *testing.T, p *platform.Platform, path, body string) (answer map[string]json.RawMessage) {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, p.URL()+"/v1/"+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+adminKey)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", text)
	require.NoError(t, json.Unmarshal(text, &answer))
	return answer
}

// names asks the platform for the names in a collection.
func names(t *testing.T, p *platform.Platform, collection string) (all []string) {
	t.Helper()
	for _, items := range do(t, p, collection, "") {
		var objects []struct{ Name string }
		if json.Unmarshal(items, &objects) != nil {
			continue
		}
		for _, o := range objects {
			all = append(all, o.Name)
		}
	}
	return all
}

// SPEC 1.F 1: when a platform gives its first answer, its region and its
// services are registered, the first time and again in another region.
func TestPlatform_RegistersItself(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	f := func(region string, regions, deployments []string) {
		t.Helper()
		p, err := platform.Open(t.Context(), platform.Config{Data: data, Listen: "127.0.0.1:0", Region: region, AdminKey: adminKey})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- p.Run(ctx) }()
		require.Equal(t, regions, names(t, p, "regions"))
		require.Subset(t, names(t, p, "services"), []string{"services/devices.selvedge.dev", "services/iam.selvedge.dev", "services/meta.selvedge.dev"})
		require.Equal(t, deployments, names(t, p, "services/devices.selvedge.dev/deployments"))
		require.Contains(t, names(t, p, "services/-/resources"), "services/devices.selvedge.dev/resources/devices")
		cancel()
		require.NoError(t, <-stopped)
		require.NoError(t, p.Close())
	}
	f("", []string{"regions/local"}, []string{"services/devices.selvedge.dev/deployments/local"})
	f("", []string{"regions/local"}, []string{"services/devices.selvedge.dev/deployments/local"})
	f("eu", []string{"regions/eu", "regions/local"}, []string{"services/devices.selvedge.dev/deployments/eu", "services/devices.selvedge.dev/deployments/local"})
}

// The service of a third party, in a process of its own, registers itself with a
// service account, finds those of the platform, and calls one. Another account
// does not take its name, and a person cannot make one.
func TestPlatform_ThirdPartyRegisters(t *testing.T) {
	t.Parallel()
	p, err := platform.Open(t.Context(), platform.Config{Data: t.TempDir(), Listen: "127.0.0.1:0", AdminKey: adminKey})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- p.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-stopped)
		require.NoError(t, p.Close())
	}()
	account := func(project string) registry.Options {
		name := "projects/" + project + "/serviceAccounts/inventory"
		do(t, p, "projects/"+project+"/serviceAccounts?serviceAccountId=inventory", `{}`)
		made := do(t, p, name+"/serviceAccountKeys?serviceAccountKeyId=k", `{"algorithm":"API_KEY"}`)
		do(t, p, "roleBindings?roleBindingId="+project, `{"role":"services/iam.selvedge.dev/roles/administrator","members":["serviceAccount:`+name+`"]}`)
		var key string
		require.NoError(t, json.Unmarshal(made["secret"], &key))
		return registry.Options{
			Meta: &rpc.Client{URL: p.URL(), Key: key}, Key: key, Region: "local", Retry: 20 * time.Millisecond,
			Service:    registry.Service{Versions: []*schema.Service{{Domain: "inventory.example.com", Version: "v1", Imports: []string{"devices.selvedge.dev"}}}},
			Deployment: registry.Deployment{Endpoint: "http://" + project + ".example.com"},
		}
	}
	r, err := registry.Open(t.Context(), account("a"))
	require.NoError(t, err)
	defer r.Close()
	require.Equal(t, "projects/a", r.Service().GetProject())
	var domains []string
	for _, s := range r.Services() {
		domains = append(domains, s.Domain())
		require.Len(t, r.Deployments(s.Domain()), 1)
	}
	require.Subset(t, domains, []string{"devices.selvedge.dev", "iam.selvedge.dev", "inventory.example.com", "meta.selvedge.dev"})
	c, err := r.Dial("devices.selvedge.dev", "")
	require.NoError(t, err)
	types := new(schema.Registry)
	devicesv1.AddTo(types)
	m, _ := types.Method("selvedge.devices.v1.DeviceService.GetDevice")
	_, err = c.Call(t.Context(), m, &devicesv1.GetDeviceRequest{Name: "projects/b/devices/d"})
	require.Equal(t, fault.NotFound, fault.KindOf(err), "it was reached: %v", err)

	_, err = registry.Open(t.Context(), account("b"))
	require.Equal(t, "NOT_OWNING_PROJECT", fault.ReasonOf(err), "%v", err)
	person := account("c")
	person.Meta = &rpc.Client{URL: p.URL(), Key: adminKey}
	person.Service.Versions[0].Domain = "another.example.com"
	_, err = registry.Open(t.Context(), person)
	require.Equal(t, "SERVICE_ACCOUNT_NEEDED", fault.ReasonOf(err), "%v", err)
}
