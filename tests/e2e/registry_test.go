package e2e

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	inventory "selvedge.dev/functions/sample-inventory"
	"selvedge.dev/sdk/client"
	"selvedge.dev/tests/process"
)

// names are the first words of a table that the command line prints.
func (c terminal) names(args ...string) (names []string) {
	for _, line := range strings.Split(strings.TrimSpace(c.ok(args...)), "\n")[1:] {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

// A platform that is killed while it registers itself the first time, again and
// again, is registered once in the end, and the command line tells what there
// is. SPEC 1.F 1 and 3.
func TestRegistry_KilledWhileItRegisters(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	for i := range 6 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(100+200*i)*time.Millisecond)
		if p, err := process.Start(ctx, selvedge, data, "--region", "eu"); err == nil {
			require.NoError(t, p.Kill())
		}
		cancel()
	}
	p := start(t, data, "--region", "eu")
	c := newTerminal(t, "SELVEDGE_URL="+p.URL, "SELVEDGE_KEY="+process.AdminKey)
	for kind, want := range map[string][]string{
		"regions":     {"regions/eu"},
		"services":    {"services/devices.selvedge.dev", "services/iam.selvedge.dev", "services/meta.selvedge.dev", "services/reason.selvedge.dev", "services/scheduler.selvedge.dev"},
		"deployments": {"services/devices.selvedge.dev/deployments/eu", "services/iam.selvedge.dev/deployments/eu", "services/meta.selvedge.dev/deployments/eu", "services/reason.selvedge.dev/deployments/eu", "services/scheduler.selvedge.dev/deployments/eu"},
	} {
		require.Equal(t, want, c.names("list", kind))
	}
	require.Contains(t, c.ok("list", "resources", "--parent", "services/devices.selvedge.dev"), "devices.selvedge.dev/Blueprint")
	require.Contains(t, c.ok("get", "services/meta.selvedge.dev/deployments/eu"), p.URL)
	stop(t, p)
}

// join starts the platform of a region with these peers, and further arguments.
// It is known by its front.
func (r *region) join(peers []*region, args ...string) {
	r.t.Helper()
	key := filepath.Join(r.t.TempDir(), "key")
	require.NoError(r.t, os.WriteFile(key, []byte(process.AdminKey+"\n"), 0o600))
	args = append(args, "--region", r.name, "--public-url", r.front.URL, "--owner-timeout", ownerTimeout.String(), "--owner-recheck", "1s")
	for _, p := range peers {
		args = append(args, "--peer", p.name+"="+p.front.URL, "--peer-key-file", p.name+"="+key)
	}
	r.Platform = start(r.t, r.data, args...)
	r.mend()
}

// cut cuts the link to the platform.
func (r *region) cut() {
	r.target.Store(&url.URL{Scheme: "http", Host: "127.0.0.1:1"})
	r.front.CloseClientConnections()
}

// mend undoes cut.
func (r *region) mend() {
	u, err := url.Parse(r.URL)
	require.NoError(r.t, err)
	r.target.Store(u)
}

// terminal is one at the platform.
func (r *region) terminal() terminal {
	return newTerminal(r.t, "SELVEDGE_URL="+r.URL, "SELVEDGE_KEY="+process.AdminKey)
}

// knows waits until the platform knows of a deployment of the registry itself.
func (r *region) knows(others ...*region) {
	r.t.Helper()
	c := r.terminal()
	r.eventually(func() bool {
		all := c.names("list", "deployments", "--parent", "services/meta.selvedge.dev")
		return !slices.ContainsFunc(others, func(o *region) bool {
			return !slices.Contains(all, "services/meta.selvedge.dev/deployments/"+o.name)
		})
	}, r.name+" knows the others")
}

// Platforms that are peers have one registry. Its region is killed, and the link
// to it is cut: the others go on, and are killed and start again, with what they
// know. A new region is known to those who run. SPEC 1.F 7
func TestRegistry_OneForAllRegions(t *testing.T) {
	t.Parallel()
	eu, jp, us := newRegion(t, "eu"), newRegion(t, "jp"), newRegion(t, "us")
	eu.join([]*region{jp, us})
	jp.join([]*region{eu, us})
	us.join([]*region{eu, jp})
	for _, r := range []*region{eu, jp, us} {
		r.knows(eu, jp, us)
		require.Equal(t, []string{"regions/eu", "regions/jp", "regions/us"}, r.terminal().names("list", "regions"))
	}
	require.Contains(t, us.terminal().ok("get", "services/meta.selvedge.dev/deployments/eu"), eu.front.URL)

	eu.cut()
	require.NoError(t, eu.Kill())
	require.NoError(t, us.Kill())
	us.join([]*region{eu, jp})
	us.knows(eu, jp, us)
	_, complaint, code := us.terminal().run("", "delete", "services/meta.selvedge.dev/deployments/jp")
	require.NotZero(t, code)
	require.Contains(t, complaint, "which does not answer")
	eu.join([]*region{jp, us})

	// One that comes later asks whose registry it is, though its name would be first.
	au := newRegion(t, "au")
	au.join([]*region{eu})
	for _, r := range []*region{au, eu, jp, us} {
		r.knows(au, eu, jp, us)
	}
	for _, r := range []*region{au, jp, us, eu} {
		require.NotContains(t, r.Output(), process.AdminKey)
		stop(t, r.Platform)
	}
}

// stocked is the inventory beside a platform, whose database can be lost.
type stocked struct {
	t           *testing.T
	r           *region
	key, listen string
	stop        func()
	*client.Client
}

// newStocked makes the account of the inventory and an address.
func newStocked(t *testing.T, r *region) *stocked {
	t.Helper()
	key, _ := account(t, r.Platform, "inventory", map[string]string{
		"": "services/iam.selvedge.dev/roles/service", "projects/default/": role(t, r.Platform, "inventory", "iam.serviceAccounts.create"),
	})
	return &stocked{t: t, r: r, key: key, listen: freeAddress(t), stop: func() {}}
}

// open serves the inventory with a new database, after what served it before.
func (s *stocked) open() {
	s.t.Helper()
	s.stop()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	data := s.t.TempDir()
	go func() {
		ended <- inventory.Serve(ctx, inventory.Config{
			Platform: s.r.front.URL, Key: s.key, Listen: s.listen, Region: s.r.name, Data: data, Ready: func(url string) { ready <- url },
		})
	}()
	done := false
	s.stop = func() {
		if cancel(); !done {
			done = true
			require.NoError(s.t, <-ended)
		}
	}
	s.t.Cleanup(s.stop)
	select {
	case address := <-ready:
		s.Client = &client.Client{URL: address, Key: process.AdminKey}
	case err := <-ended:
		ended <- nil
		require.NoError(s.t, err)
	case <-time.After(startTimeout):
		require.Fail(s.t, "the inventory did not register")
	}
	for collection, id := range map[string]string{"sites": "siteId", "deviceModels": "deviceModelId"} {
		require.NoError(s.t, s.Call(s.t.Context(), http.MethodPost, "/v1/projects/default/"+collection, url.Values{id: {"x"}}, map[string]any{}, nil))
	}
}

// order makes an order, and returns the account that it owns, once that is
// there.
func (s *stocked) order(id string) (account string) {
	s.t.Helper()
	var made struct{ ServiceAccount string }
	require.NoError(s.t, s.Call(s.t.Context(), http.MethodPost, "/v1/projects/default/deviceOrders", url.Values{"deviceOrderId": {id}}, map[string]any{
		"deviceModel": "projects/default/deviceModels/x", "site": "projects/default/sites/x", "count": 1,
	}, &made))
	return made.ServiceAccount
}

// seen waits until the platform was told by the inventory that it owns an
// account.
func (s *stocked) seen(account string) {
	s.t.Helper()
	s.r.eventually(func() bool {
		var a struct {
			Metadata struct{ OwnerReferences []struct{ UID string } }
		}
		call(s.t, s.r.Platform, http.MethodGet, "/v1/"+account, nil, nil, &a)
		return len(a.Metadata.OwnerReferences) == 1 && a.Metadata.OwnerReferences[0].UID != ""
	}, "its owner is seen")
}

// A service of somebody else that lost its database is not believed about what
// it owned: all of it stays, and what it makes since stays too. When an operator
// says that it is meant to be so, what it still owns stays, and the rest goes.
func TestRegistry_ServiceLostItsDatabase(t *testing.T) {
	t.Parallel()
	r := newRegion(t, "local")
	r.join(nil)
	s := newStocked(t, r)
	s.open()
	lost := s.order("o1")
	s.seen(lost)
	s.open() // with nothing
	kept := s.order("o2")
	r.eventually(func() bool { return strings.Contains(r.Output(), "--renew-service and its domain") }, "what is to be done is logged")
	r.elapse()
	r.elapse()
	require.Subset(t, accountsOf(t, r.Platform), []string{lost, kept})

	stop(t, r.Platform)
	r.join(nil, "--renew-service", inventory.Domain)
	s.seen(kept)
	r.eventually(func() bool { return !slices.Contains(accountsOf(t, r.Platform), lost) }, "nobody owns it any more")
	require.Contains(t, accountsOf(t, r.Platform), kept)
	stop(t, r.Platform)
}

// One that owned nothing when it lost its database is believed by itself.
func TestRegistry_ServiceLostNothing(t *testing.T) {
	t.Parallel()
	r := newRegion(t, "local")
	r.join(nil)
	s := newStocked(t, r)
	s.open()
	first := s.order("o1")
	s.seen(first)
	require.NoError(t, s.Call(t.Context(), http.MethodDelete, "/v1/projects/default/deviceOrders/o1", nil, nil, nil))
	r.eventually(func() bool { return !slices.Contains(accountsOf(t, r.Platform), first) }, "it goes with its order")
	s.open() // with nothing
	s.seen(s.order("o2"))
	stop(t, r.Platform)
}
