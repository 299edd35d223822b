package containerd_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/local/cluster/serving/containerd"
	"selvedge.dev/local/cluster/serving/containerd/containerdtest"
	"selvedge.dev/local/cluster/serving/runnertest"
)

// network is a network of pairs of interfaces, with addresses that nobody else
// uses; it skips where there are no plugins.
func network(t testing.TB) *containerd.Network {
	t.Helper()
	if _, err := os.Stat("/usr/lib/cni/ptp"); err != nil {
		require.Empty(t, os.Getenv(containerdtest.RequireVariable), "the plugins of CNI are not installed")
		t.Skip("NOT TESTED: the plugins of CNI are not installed")
	}
	dir := t.TempDir()
	text, err := json.Marshal(map[string]any{"cniVersion": "1.0.0", "name": "selvedge-test", "plugins": []any{map[string]any{
		"type": "ptp", "ipMasq": false, "dns": map[string]any{"nameservers": []string{"192.0.2.53"}},
		"ipam": map[string]any{"type": "host-local", "subnet": "198.18.77.0/24", "dataDir": addresses()},
	}}})
	require.NoError(t, err)
	file := filepath.Join(dir, "n.conflist")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	n, err := containerd.OpenNetwork(file, "")
	require.NoError(t, err)
	return n
}

// openNetworked makes a runner whose containers have a network.
func openNetworked(t testing.TB, source bundle.Source) runnertest.Rig {
	t.Helper()
	o := options(t, theDaemon(t), source)
	o.Network = network(t)
	return openWith(t, o)
}

// TestNetwork_Conforms runs the tests of all runners on containers with networks
// of their own.
func TestNetwork_Conforms(t *testing.T) {
	t.Parallel()
	theDaemon(t)
	network(t)
	runnertest.Run(t, openNetworked)
}

func TestNetwork_IsItsOwn(t *testing.T) {
	t.Parallel()
	r := openNetworked(t, registry(t).Source)
	p := r.NewPool(t, "v1", nil)
	code, devices := runnertest.Text(t, p, "/read?path=/proc/net/dev")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, devices, "eth0:")
	_, names := runnertest.Text(t, p, "/read?path=/etc/resolv.conf")
	require.Equal(t, "nameserver 192.0.2.53\n", names)
	_, hosts := runnertest.Text(t, p, "/read?path=/etc/hosts")
	require.Contains(t, hosts, "127.0.0.1 localhost\n")
	require.Contains(t, hosts, "198.18.77.")
}

func TestNetwork_IsLeftByWhatWasLeftBehind(t *testing.T) {
	t.Parallel()
	images := registry(t)
	o := options(t, theDaemon(t), images.Source)
	o.Network = network(t)
	first := openWith(t, o)
	p, err := first.Start(t.Context(), instance(t, first, "left", "never"))
	require.NoError(t, err)
	taken := filepath.Join(addresses(), "selvedge-test", p.Host())
	require.FileExists(t, taken)
	o.Dir = filepath.Join(t.TempDir(), "run")
	openWith(t, o)
	require.NoFileExists(t, taken, "the address is free again")
	p.Wait()
}

func TestOpenNetwork_SaysWhyNot(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "n.conflist")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := containerd.OpenNetwork(file, t.TempDir())
		require.ErrorContains(t, err, want)
	}
	f(`{`, "unexpected end")
	f(`{"name":"n","cniVersion":"1.0.0"}`, "want name, cniVersion and plugins")
	f(`{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"none"}]}`, "the plugin none is in none of")
	f(`{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"../sh"}]}`, `"../sh" is no name of a plugin`)
}
