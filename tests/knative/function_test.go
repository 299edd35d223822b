package knative

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// developer is somebody at a shell who may do in the project what the role deployer
// allows, and nothing else.
type developer struct {
	*installed
	*shell
}

// developer has a kubeconfig with a token of the account deployer.
func (p *installed) developer() *developer {
	p.t.Helper()
	var config map[string]any
	require.NoError(p.t, yaml.Unmarshal([]byte(p.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=yaml")), &config))
	token := p.kubectl("create", "token", "deployer", "--namespace="+project, "--duration=1h")
	clusters, ok := config["clusters"].([]any)
	require.True(p.t, ok)
	cluster, ok := clusters[0].(map[string]any)
	require.True(p.t, ok)
	cluster["name"] = "c"
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": clusters,
		"users":    []any{map[string]any{"name": "u", "user": map[string]any{"token": token}}},
		"contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "c", "user": "u", "namespace": project}}},
	})
	require.NoError(p.t, err)
	s := newShell(p.t, "HTTP_PROXY="+p.proxy(p.http), "NO_PROXY=127.0.0.1,localhost,"+strings.SplitN(p.registry, "/", 2)[0], "FUNC_NAMESPACE="+project)
	s.env = append(s.env, "KUBECONFIG="+s.write("kubeconfig", string(text)))
	return &developer{p, s}
}

// create makes a function of our template.
func (d *developer) create(name string) string {
	d.shell.t.Helper()
	dir := filepath.Join(d.shell.t.TempDir(), name)
	d.in("", funcTool, "create", "--language=go", "--repository=file://"+filepath.Join(root(d.shell.t), "infra", "templates"), "--template=selvedge-event", dir)
	return dir
}

// deploy deploys the function in a folder, which goes when the test ends, and
// returns its URL.
func (d *developer) deploy(dir string) string {
	d.shell.t.Helper()
	name := filepath.Base(dir)
	d.in(dir, funcTool, "deploy", "--builder=host", "--registry="+d.registry+"/"+project)
	d.shell.t.Cleanup(func() { _, _ = d.try(dir, funcTool, "delete") }) // the test may have
	return d.shell.kubectl("get", "ksvc", name, "-o", "jsonpath={.status.url}")
}

// settle waits until the triggers of a function are ready.
func (d *developer) settle(names ...string) {
	d.shell.t.Helper()
	for _, name := range names {
		d.shell.kubectl("wait", "--for=condition=Ready", "ksvc/"+name, "triggers/"+name+"-function-trigger-0", "--timeout=2m")
	}
}

// TestFunc_Journey is that of a developer, as tests/clients/func has it on one
// machine: with the same template and the same func, a function is made, tested,
// deployed, called, subscribed, seen and deleted.
func TestFunc_Journey(t *testing.T) {
	d := install(t).developer()
	dir := d.create("warm")
	d.in(dir, "go", "test", "./...")
	d.in(dir, funcTool, "subscribe", "--filter", "type=com.example.climate", "--filter", "selvedgeroute=writer")
	url := d.deploy(dir)

	out := d.in(dir, funcTool, "invoke", "--target=remote", "--format=cloudevent", "--type=com.example.climate", `--data={"temperature":31}`)
	require.Contains(t, out, "com.example.warm")
	require.Contains(t, out, `"temperature": 31`)
	var list []struct{ Name, Namespace, URL, Ready string }
	require.NoError(t, json.Unmarshal([]byte(d.in("", funcTool, "list", "--output=json")), &list))
	require.Len(t, list, 1)
	require.Equal(t, "warm "+project+" True "+url, strings.Join([]string{list[0].Name, list[0].Namespace, list[0].Ready, list[0].URL}, " "))
	out = d.in(dir, funcTool, "describe")
	require.Contains(t, out, url)
	require.Contains(t, out, project+"/warm@sha256:")
	d.settle("warm")
	require.Contains(t, d.shell.kubectl("logs", "--selector=serving.knative.dev/service=warm", "--container=user-container", "--tail=-1"), "function starting")

	for _, args := range [][]string{{"get", "secrets"}, {"create", "configmap", "c"}, {"delete", "broker", "default"}, {"get", "pods", "--namespace=selvedge"}, {"get", "secret", "selvedge"}} {
		out, err := d.try("", kubectl, args...)
		require.Error(t, err, "%v", args)
		require.Contains(t, out, "orbidden", "%v", args)
	}

	d.in(dir, funcTool, "delete")
	eventually(t, "everything of the function goes", func() bool {
		objects, err := d.try("", kubectl, "get", "ksvc,triggers", "--selector=app.kubernetes.io/part-of!=selvedge", "--output=name")
		if err != nil || objects != "" {
			return false
		}
		pods, err := d.try("", kubectl, "get", "pods", "--selector=serving.knative.dev/service=warm", "--output=name")
		return err == nil && pods == ""
	})
	_, err := os.Stat(dir)
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: d.http}).Post(url, "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
}
