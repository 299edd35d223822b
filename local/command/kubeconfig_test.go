package command

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// What others have in the files of kubectl and docker stays, and what was ours
// is replaced.
func TestKubeconfig_Merges(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SELVEDGE_CONFIG", filepath.Join(home, "none"))
	t.Setenv("SELVEDGE_KEY", "the-key")
	t.Setenv("SELVEDGE_URL", strings.Replace(server.URL, "https:", "http:", 1))
	kube := filepath.Join(home, "kube")
	t.Setenv("KUBECONFIG", kube)
	t.Setenv("DOCKER_CONFIG", filepath.Join(home, "docker"))
	require.NoError(t, os.WriteFile(kube, []byte("apiVersion: v1\nkind: Config\ncurrent-context: other\ncontexts: [{name: other, context: {cluster: o}}, {name: selvedge, context: {cluster: old}}]\nextensions: [x]\n"), 0o600))
	for range 2 {
		var out, errOut bytes.Buffer
		require.Zero(t, Main(t.Context(), []string{"kubeconfig", "--merge"}, &out, &errOut), errOut.String())
	}
	read := func(path string) map[string]any {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		var all map[string]any
		require.NoError(t, yaml.Unmarshal(text, &all))
		return all
	}
	all := read(kube)
	require.Equal(t, "selvedge", all["current-context"])
	require.Len(t, all["contexts"], 2)
	require.Len(t, all["clusters"], 1)
	require.Equal(t, []any{"x"}, all["extensions"])
	cluster, ok := all["clusters"].([]any)[0].(map[string]any)["cluster"].(map[string]any)
	require.True(t, ok)
	require.Equal(t, server.URL+"/k8s", cluster["server"])
	require.NotEmpty(t, cluster["certificate-authority-data"], "the platform's own certificate is trusted")
	auths, ok := read(filepath.Join(home, "docker", "config.json"))["auths"].(map[string]any)
	require.True(t, ok)
	require.Contains(t, auths, strings.TrimPrefix(server.URL, "https://"))
}

func TestKubeconfig_WantsAKey(t *testing.T) {
	t.Setenv("SELVEDGE_CONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("SELVEDGE_KEY", "")
	var out, errOut bytes.Buffer
	require.Equal(t, 2, Main(t.Context(), []string{"kubeconfig"}, &out, &errOut))
	require.Contains(t, errOut.String(), "SELVEDGE_KEY")
}
