package knative

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/client"
)

// project is the project of the manifests, and its namespace.
const project = "plant"

// installed is a platform on the cluster.
type installed struct {
	*shell
	settings
	// url is the platform, from here.
	url string
	// admin and key are an administrator's key and that of the project.
	admin, key string
	http       *http.Transport
}

// installation is what the first test that needs it puts on the cluster, and the
// others find there.
type installation struct {
	once       sync.Once
	image      string
	admin, key string
}

// theInstallation is the one of this run.
var theInstallation installation

// remove takes the installation from the cluster, but for what is in a volume.
func (i *installation) remove() error {
	if i.image == "" {
		return nil
	}
	out, err := exec.Command(kubectl, "delete", "--ignore-not-found", "namespace/"+project, "namespace/selvedge", "persistentvolume/"+volumeName).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// install is the platform on the cluster as docs/knative.md says, once for all
// tests, and for this test the ways to it.
func install(t *testing.T) *installed {
	t.Helper()
	c := theCluster(t)
	p := &installed{shell: newShell(t, "KUBECONFIG="+c.kubeconfig), settings: c}
	theInstallation.once.Do(func() { theInstallation.make(p) })
	require.NotEmpty(t, theInstallation.key, "the installation failed")
	p.admin, p.key = theInstallation.admin, theInstallation.key
	p.url = p.forward("selvedge", "platform")
	p.http = p.reach()
	t.Cleanup(p.http.CloseIdleConnections)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := p.try("", kubectl, "get", "pods,ksvc,brokers,triggers", "-A")
			logs, _ := p.try("", kubectl, "logs", "--namespace=selvedge", "statefulset/platform", "--tail=50")
			t.Log(out, "\n", logs)
		}
	})
	return p
}

// make does what docs/knative.md has an operator do.
func (i *installation) make(p *installed) {
	p.t.Helper()
	args := []string{"run", "./infra/knative/image", "-to", p.registry + "/selvedge:e2e", "-arch", p.architecture()}
	if plain(p.registry) {
		args = append(args, "-http")
	}
	lines := strings.Split(p.in(root(p.t), "go", args...), "\n")
	i.image = lines[len(lines)-1]
	p.volumeIfNeeded()

	i.admin = rand.Text()
	p.kubectl("apply", "-f", filepath.Join(root(p.t), "infra", "knative", "base", "namespace.yaml"), "-f", filepath.Join(root(p.t), "infra", "knative", "project", "namespace.yaml"))
	p.secret("selvedge", "platform", "admin-key", i.admin)
	p.kubectl("apply", "-k", p.overlay("small", i.image))
	p.kubectl("rollout", "status", "--namespace=selvedge", "statefulset/platform", "--timeout=3m")

	url := p.forward("selvedge", "platform")
	var made struct{ Key string }
	admin := &client.Client{URL: url, Key: i.admin}
	require.NoError(p.t, admin.Call(p.t.Context(), http.MethodPost, "/v1/keys", nil, map[string]string{"principal": "projects/" + project}, &made))
	p.secret(project, "selvedge", "key", made.Key)
	p.kubectl("rollout", "status", "--namespace="+project, "deployment/back", "--timeout=3m")
	p.kubectl("wait", "--namespace="+project, "--for=condition=Ready", "brokers/default", "triggers/back-readings", "triggers/back-events", "--timeout=2m")

	own := newShell(p.t, "SELVEDGE_URL="+url, "SELVEDGE_KEY="+made.Key)
	own.env = append(own.env, "KUBECONFIG="+own.write("platform.kubeconfig", own.in("", selvedge, "kubeconfig", "--project="+project)))
	own.kubectl("apply", "-f", filepath.Join(root(p.t), "infra", "knative", "bridge.yaml"))
	own.kubectl("wait", "--for=condition=Ready", "triggers/knative", "triggers/given-up", "brokers/dead-letters", "--timeout=1m")
	i.key = made.Key
}

// architecture is that of the cluster's first node.
func (p *installed) architecture() string {
	p.t.Helper()
	return p.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.nodeInfo.architecture}")
}

// plain reports whether func, and so we, speak to a registry without TLS: one on
// this machine or in a private network.
func plain(registry string) bool {
	host, _, _ := strings.Cut(registry, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsPrivate() || ip.IsLoopback())
}

// secret makes a secret with one entry, or replaces it.
func (p *installed) secret(namespace, name, entry, value string) {
	p.t.Helper()
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]string{"name": name, "namespace": namespace}, "stringData": map[string]string{entry: value},
	})
	require.NoError(p.t, err)
	p.apply(string(text))
}

// volumeName is the name of the volume that volumeIfNeeded makes.
const volumeName = "selvedge-e2e"

// volumeIfNeeded makes a volume in a folder of the node, on a cluster that makes
// none by itself.
func (p *installed) volumeIfNeeded() {
	p.t.Helper()
	if p.volume == "" {
		return
	}
	node := p.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.labels.kubernetes\\.io/hostname}")
	p.apply(fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: %s}
spec:
  capacity: {storage: 20Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: selvedge, name: data-platform-0}
  local: {path: %q}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%q]}]}]}}
`, volumeName, p.volume, node))
}

// overlay is a folder with a kustomization of a profile with an image of ours, ""
// for the one that the profile names.
func (s *shell) overlay(profile, image string) string {
	s.t.Helper()
	dir, err := filepath.EvalSymlinks(s.t.TempDir())
	require.NoError(s.t, err)
	base, err := filepath.Rel(dir, filepath.Join(root(s.t), "infra", "knative", profile))
	require.NoError(s.t, err)
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + base + "]\n"
	if name, digest, ok := strings.Cut(image, "@"); ok {
		text += "images: [{name: registry.example.com/selvedge, newName: " + name + ", digest: " + digest + "}]\n"
	}
	require.NoError(s.t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600))
	return dir
}

// as is the client of somebody with a key.
func (p *installed) as(key string) *client.Client { return &client.Client{URL: p.url, Key: key} }

// eventually asks until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	require.Eventually(t, so, 2*time.Minute, 200*time.Millisecond, what)
}
