package e2e

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	inventory "selvedge.dev/functions/sample-inventory"
	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tests/process"
)

// freeAddress is an address that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// TestTutorial_RunsAsWritten pastes every block of the sample service's tutorial
// into a shell, beside a platform.
func TestTutorial_RunsAsWritten(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	text, err := os.ReadFile(filepath.Join(dir, "functions", "sample-inventory", "README.md"))
	require.NoError(t, err)
	p := start(t, t.TempDir())
	sh := newShell(t, dir, "SELVEDGE_URL="+p.URL, "SELVEDGE_KEY="+process.AdminKey, "INVENTORY_URL=http://"+freeAddress(t))
	want := []string{
		"projects/default/serviceAccounts/inventory", // an account
		"services/iam.selvedge.dev/roles/service",    // its roles
		"", // its key
		"ready",
		"services/inventory.example.com/deployments/local",
		"serviceAccount: projects/default/serviceAccounts/", // an order
		`"state":"PLACED"`,             // over REST
		"UNAUTHENTICATED",              // without credentials
		"requiresOwnerReference: true", // what it made
		"when it is collected",         // what goes with it
		"",
	}
	found := blocks.FindAllStringSubmatch(string(text), -1)
	require.Len(t, found, len(want))
	for i, m := range found {
		switch i {
		case len(found) - 2: // the plan says what the platform knows by now
			require.Eventually(t, func() bool { return ownersFound(t, p) == 1 }, startTimeout, 20*time.Millisecond, "the order is found to own its account")
		case len(found) - 1: // which ends the service, that the platform asks about the order
			require.Eventually(t, func() bool { return len(accountsOf(t, p)) == 1 }, startTimeout, 20*time.Millisecond, "the order's account goes with it")
		}
		require.Contains(t, sh.run(t, m[1]), want[i], "block %d", i)
	}
	stop(t, p)
}

// accountsOf are the names of the service accounts of the project default.
func accountsOf(t *testing.T, p *process.Platform) (names []string) {
	t.Helper()
	for _, a := range accounts(t, p) {
		names = append(names, a.Name)
	}
	return names
}

// ownersFound is how many of them have an owner that was found to be there.
func ownersFound(t *testing.T, p *process.Platform) (n int) {
	t.Helper()
	for _, a := range accounts(t, p) {
		if owners := a.Metadata.OwnerReferences; len(owners) > 0 && owners[0].UID != "" {
			n++
		}
	}
	return n
}

// ownedAccount is a service account, as far as it matters who owns it.
type ownedAccount struct {
	Name     string
	Metadata struct{ OwnerReferences []struct{ UID string } }
}

// accounts are the service accounts of the project default.
func accounts(t *testing.T, p *process.Platform) []ownedAccount {
	t.Helper()
	var out struct{ ServiceAccounts []ownedAccount }
	call(t, p, http.MethodGet, "/v1/projects/default/serviceAccounts", nil, nil, &out)
	return out.ServiceAccounts
}

// account makes a service account with a key and roles: on the platform if the
// scope is "", else in the project default.
func account(t *testing.T, p *process.Platform, id string, roles map[string]string) (key, keyName string) {
	t.Helper()
	name := "projects/default/serviceAccounts/" + id
	call(t, p, http.MethodPost, "/v1/projects/default/serviceAccounts", url.Values{"serviceAccountId": {id}}, map[string]any{}, nil)
	for scope, role := range roles {
		call(t, p, http.MethodPost, "/v1/"+scope+"roleBindings", url.Values{"roleBindingId": {id}}, map[string]any{
			"role": role, "members": []string{"serviceAccount:" + name},
		}, nil)
	}
	var made struct{ Secret, Name string }
	call(t, p, http.MethodPost, "/v1/"+name+"/serviceAccountKeys", url.Values{"serviceAccountKeyId": {"k"}}, map[string]any{}, &made)
	return made.Secret, made.Name
}

// role makes a role of the project default.
func role(t *testing.T, p *process.Platform, id string, permissions ...string) string {
	t.Helper()
	call(t, p, http.MethodPost, "/v1/projects/default/roles", url.Values{"roleId": {id}}, map[string]any{
		"grants": []map[string]any{{"permissions": permissions}},
	}, nil)
	return "projects/default/roles/" + id
}

// serveInventory serves the inventory beside a platform until the test ends.
func serveInventory(t *testing.T, p *process.Platform) (address string) {
	t.Helper()
	key, _ := account(t, p, "inventory", map[string]string{
		"": "services/iam.selvedge.dev/roles/service", "projects/default/": role(t, p, "inventory", "iam.serviceAccounts.create"),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- inventory.Serve(ctx, inventory.Config{
			Platform: p.URL, Key: key, Listen: "127.0.0.1:0", Region: "local", Data: t.TempDir(), Ready: func(url string) { ready <- url },
		})
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	select {
	case address = <-ready:
	case err := <-ended:
		ended <- nil
		require.NoError(t, err)
	case <-time.After(startTimeout):
		require.Fail(t, "the inventory did not register")
	}
	return address
}

// The doors of a service that is not the platform's own are as its: who calls is
// whom the platform says, who lacks the permission is denied, and what ends there
// ends here within a second, as a rule also where much else runs.
func TestInventory_WhoMayCall(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	address := serveInventory(t, p)
	try := func(key, path string) error {
		c := &client.Client{URL: address, Key: key}
		return c.Call(t.Context(), http.MethodGet, path, nil, nil, nil)
	}
	const sites = "/v1/projects/default/sites"
	refused := func(key, path string, want fault.Kind) {
		t.Helper()
		require.Equal(t, want, fault.KindOf(try(key, path)), "%v", try(key, path))
	}
	require.NoError(t, try(process.AdminKey, sites))
	refused("", sites, fault.Unauthenticated)
	refused("svk_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", sites, fault.Unauthenticated)
	refused("eyJhbGciOiJub25lIn0.eyJhdWQiOiJpbnZlbnRvcnkuZXhhbXBsZS5jb20ifQ.x", sites, fault.Unauthenticated)

	stranger, _ := account(t, p, "stranger", nil)
	refused(stranger, sites, fault.Denied)
	reads := role(t, p, "sites", "inventory.sites.list")
	member, keyName := account(t, p, "member", map[string]string{"projects/default/": reads})
	require.NoError(t, try(member, sites))
	refused(member, "/v1/projects/default/deviceOrders", fault.Denied)
	refused(member, "/v1/projects/another/sites", fault.Denied)

	// A role that was taken away.
	call(t, p, http.MethodDelete, "/v1/projects/default/roleBindings/member", nil, nil, nil)
	ends := func() time.Duration {
		begin := time.Now()
		for try(member, sites) == nil {
			require.Less(t, time.Since(begin), 10*time.Second)
		}
		return time.Since(begin)
	}
	denied := ends()
	refused(member, sites, fault.Denied)

	// A key that was revoked.
	call(t, p, http.MethodPost, "/v1/projects/default/roleBindings", url.Values{"roleBindingId": {"member"}}, map[string]any{
		"role": reads, "members": []string{"serviceAccount:projects/default/serviceAccounts/member"},
	}, nil)
	require.NoError(t, try(member, sites))
	call(t, p, http.MethodDelete, "/v1/"+keyName, nil, nil, nil)
	unknown := ends()
	refused(member, sites, fault.Unauthenticated)
	require.Less(t, min(denied, unknown), time.Second, "%v after the role, %v after the key", denied, unknown)
	stop(t, p)
}

// However often creations are aborted and run again, each order has the one
// account that it refers to in the end, and none when it is gone. The accounts
// say whose they are. SPEC 1.F 20, 22, 23
func TestInventory_OneAccountForAnOrder(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir(), "--owner-timeout", "5s")
	c := &client.Client{URL: serveInventory(t, p), Key: process.AdminKey}
	const project = "/v1/projects/default/"
	must := func(method, path string, query url.Values, in, out any) {
		t.Helper()
		require.NoError(t, c.Call(t.Context(), method, project+path, query, in, out))
	}
	must(http.MethodPost, "sites", url.Values{"siteId": {"pier"}}, map[string]any{}, nil)
	must(http.MethodPost, "deviceModels", url.Values{"deviceModelId": {"pump"}}, map[string]any{}, nil)

	// The model that orders read changes all the time.
	ctx, cancel := context.WithCancel(t.Context())
	var changing errgroup.Group
	changing.Go(func() error {
		for n := 0; ctx.Err() == nil; n++ {
			err := c.Call(ctx, http.MethodPatch, project+"deviceModels/pump", nil, map[string]any{"vendor": strconv.Itoa(n)}, nil)
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
	var ordering errgroup.Group
	for i := range 8 {
		ordering.Go(func() error {
			for { // until its turn comes, as clients do
				err := c.Call(t.Context(), http.MethodPost, project+"deviceOrders", url.Values{"deviceOrderId": {"o" + strconv.Itoa(i)}}, map[string]any{
					"deviceModel": "projects/default/deviceModels/pump", "site": "projects/default/sites/pier", "count": 1,
				}, nil)
				if fault.KindOf(err) != fault.Conflict {
					return err
				}
			}
		})
	}
	require.NoError(t, ordering.Wait())
	cancel()
	require.NoError(t, changing.Wait())
	t.Logf("%d accounts were made for 8 orders", len(accountsOf(t, p))-1)

	var made struct {
		DeviceOrders []struct{ Name, ServiceAccount string } `json:"deviceOrders"`
	}
	must(http.MethodGet, "deviceOrders", nil, nil, &made)
	want := []string{"projects/default/serviceAccounts/inventory"}
	for _, o := range made.DeviceOrders {
		want = append(want, o.ServiceAccount)
	}
	slices.Sort(want)
	require.Len(t, want, 9)
	require.Eventually(t, func() bool { return slices.Equal(want, slices.Sorted(slices.Values(accountsOf(t, p)))) }, startTimeout, 50*time.Millisecond)

	for _, o := range made.DeviceOrders {
		must(http.MethodDelete, strings.TrimPrefix("/v1/"+o.Name, project), nil, nil, nil)
	}
	require.Eventually(t, func() bool { return len(accountsOf(t, p)) == 1 }, startTimeout, 50*time.Millisecond)
	stop(t, p)
}
