package knative

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"selvedge.dev/triggers/manifests"
)

// manifest is an object as YAML has it.
type manifest map[string]any

// get is what is at a path, nil for nothing.
func (m manifest) get(path ...string) any {
	var v any = map[string]any(m)
	for _, name := range path {
		fields, _ := v.(map[string]any)
		v = fields[name]
	}
	return v
}

// text is the text at a path.
func (m manifest) text(path ...string) string {
	s, _ := m.get(path...).(string)
	return s
}

// name is KIND NAMESPACE/NAME.
func (m manifest) name() string {
	return m.text("kind") + " " + m.text("metadata", "namespace") + "/" + m.text("metadata", "name")
}

// built are the objects of a kustomization.
func (s *shell) built(dir string) []manifest {
	s.t.Helper()
	return parse(s.t, s.kubectl("kustomize", dir))
}

// parse reads objects.
func parse(t *testing.T, text string) []manifest {
	t.Helper()
	var all []manifest
	for doc := range strings.SplitSeq("\n"+text, "\n---") {
		var m manifest
		require.NoError(t, yaml.Unmarshal([]byte(doc), &m), "%.100s", doc)
		if m != nil {
			all = append(all, m)
		}
	}
	return all
}

// profiles are the kustomizations that are applied.
var profiles = []string{"small", "large"}

// pods are the templates of pods among objects, by the names of what makes them.
func pods(all []manifest) map[string]manifest {
	out := map[string]manifest{}
	for _, m := range all {
		if spec, ok := m.get("spec", "template").(map[string]any); ok && slices.Contains([]string{"Deployment", "StatefulSet"}, m.text("kind")) {
			out[m.name()] = spec
		}
	}
	return out
}

// TestManifests_PodsHaveNoRights: what runs of ours has no token, no root, no
// capabilities, a read-only root, bounds and probes, and a disruption budget.
func TestManifests_PodsHaveNoRights(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, profile := range profiles {
		all := s.built(s.overlay(profile, ""))
		budgets := map[string]bool{}
		for _, m := range all {
			if m.text("kind") == "PodDisruptionBudget" {
				budgets[fmt.Sprint(m.text("metadata", "namespace"), m.get("spec", "selector", "matchLabels"))] = true
			}
		}
		found := pods(all)
		require.Len(t, found, 2, "the platform and the way back")
		for name, p := range found {
			require.Equal(t, false, p.get("spec", "automountServiceAccountToken"), name)
			require.NotEmpty(t, p.text("spec", "serviceAccountName"), name)
			require.Equal(t, true, p.get("spec", "securityContext", "runAsNonRoot"), name)
			require.Equal(t, "RuntimeDefault", p.get("spec", "securityContext", "seccompProfile", "type"), name)
			namespace := strings.Fields(strings.ReplaceAll(name, "/", " "))[1]
			require.True(t, budgets[fmt.Sprint(namespace, p.get("metadata", "labels"))], name)
			containers, ok := p.get("spec", "containers").([]any)
			require.True(t, ok, name)
			for _, c := range containers {
				fields, ok := c.(map[string]any)
				require.True(t, ok, name)
				c := manifest(fields)
				require.Equal(t, false, c.get("securityContext", "allowPrivilegeEscalation"), name)
				require.Equal(t, true, c.get("securityContext", "readOnlyRootFilesystem"), name)
				require.Equal(t, []any{"ALL"}, c.get("securityContext", "capabilities", "drop"), name)
				for _, path := range [][]string{{"resources", "requests", "cpu"}, {"resources", "requests", "memory"}, {"resources", "limits", "memory"}, {"readinessProbe", "httpGet"}, {"livenessProbe", "httpGet"}} {
					require.NotNil(t, c.get(path...), "%s %v", name, path)
				}
			}
		}
	}
}

// TestManifests_NetworksAreClosed: each namespace has a policy that lets nothing in
// or out.
func TestManifests_NetworksAreClosed(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, profile := range profiles {
		closed := map[string]bool{}
		var namespaces []string
		for _, m := range s.built(s.overlay(profile, "")) {
			switch m.text("kind") {
			case "Namespace":
				namespaces = append(namespaces, m.text("metadata", "name"))
				require.Equal(t, "restricted", m.text("metadata", "labels", "pod-security.kubernetes.io/enforce"))
			case "NetworkPolicy":
				if m.text("metadata", "name") == "nothing" {
					require.Equal(t, map[string]any{"podSelector": map[string]any{}, "policyTypes": []any{"Ingress", "Egress"}}, m.get("spec"))
					closed[m.text("metadata", "namespace")] = true
				}
			}
		}
		require.Len(t, namespaces, 2)
		for _, n := range namespaces {
			require.True(t, closed[n], n)
		}
	}
}

// TestManifests_BrokerDeliversAsOnOneMachine: a trigger that says nothing of its
// delivery has that of triggers/manifests.
func TestManifests_BrokerDeliversAsOnOneMachine(t *testing.T) {
	t.Parallel()
	set, err := manifests.Load(manifests.Files())
	require.NoError(t, err)
	require.Len(t, set.Brokers, 1)
	text, err := os.ReadFile(filepath.Join(root(t), "triggers", "manifests", "broker.yaml"))
	require.NoError(t, err)
	here := parse(t, string(text))[0]
	s := newShell(t)
	for _, profile := range profiles {
		for _, m := range s.built(s.overlay(profile, "")) {
			if m.text("kind") != "Broker" {
				continue
			}
			for _, field := range []string{"retry", "backoffPolicy", "backoffDelay"} {
				require.Equal(t, here.get("spec", "delivery", field), m.get("spec", "delivery", field), "%s %s", profile, field)
			}
			require.Equal(t, "/dead-letters", m.text("spec", "delivery", "deadLetterSink", "uri"))
		}
	}
}

// TestManifests_ProjectHasAnyName: another namespace in a kustomization makes it
// another project's, and nothing is left of the one in the files.
func TestManifests_ProjectHasAnyName(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := s.overlay("project", "")
	file := filepath.Join(dir, "kustomization.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(text, "namespace: mill\n"...), 0o600))
	out := s.kubectl("kustomize", dir)
	require.NotContains(t, out, project)
	require.Contains(t, out, "namespace: mill")
}

// The operators whose kinds the profile large has objects of, at the versions whose
// kinds it is held against, and where their modules define them.
var operators = []struct{ module, path string }{
	{"github.com/VictoriaMetrics/operator@v0.50.0", "config/crd/overlay/crd.yaml"},
	{"github.com/cloudnative-pg/cloudnative-pg@v1.28.0", "config/crd/bases/postgresql.cnpg.io_clusters.yaml"},
}

// wanted are the kinds of operators that the profile large has objects of.
var wanted = []string{
	"vmclusters.operator.victoriametrics.com", "clusters.postgresql.cnpg.io",
	"clickhouseinstallations.clickhouse.altinity.com",
}

// definitions are the kinds of operators: of the modules that the go command
// downloads and checks, and of the files in the folder that the variable CRDS names,
// for an operator whose module nobody serves.
func (s *shell) definitions() (all []manifest) {
	s.t.Helper()
	var files []string
	for _, o := range operators {
		var module struct{ Dir string }
		out := s.in(s.t.TempDir(), "go", "mod", "download", "-json", o.module)
		_, out, _ = strings.Cut(out, "{") // it may say before that it downloads
		require.NoError(s.t, json.Unmarshal([]byte("{"+out), &module))
		files = append(files, filepath.Join(module.Dir, filepath.FromSlash(o.path)))
	}
	if more := os.Getenv("CRDS"); more != "" {
		found, err := filepath.Glob(filepath.Join(more, "*.yaml"))
		require.NoError(s.t, err)
		files = append(files, found...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(s.t, err)
		for _, m := range parse(s.t, string(text)) {
			if m.text("kind") == "CustomResourceDefinition" && slices.Contains(wanted, m.text("metadata", "name")) {
				if spec, ok := m.get("spec").(map[string]any); ok {
					delete(spec, "conversion") // nobody is there to convert
				}
				all = append(all, m)
			}
		}
	}
	return all
}

// TestManifests_TheClusterTakesThem has the cluster's API server, with its admission
// and Knative's webhooks, judge every object of both profiles, by the rule that a
// field which it does not know is an error.
func TestManifests_TheClusterTakesThem(t *testing.T) {
	c := theCluster(t)
	s := newShell(t, "KUBECONFIG="+c.kubeconfig)
	for _, n := range []string{"base", "project"} {
		s.kubectl("apply", "-f", filepath.Join(root(t), "infra", "knative", n, "namespace.yaml"))
	}
	known := map[string]bool{}
	for _, m := range s.definitions() {
		text, err := json.Marshal(m)
		require.NoError(t, err)
		name := m.text("metadata", "name")
		s.kubectl("apply", "--server-side", "-f", s.write("crd.yaml", string(text)))
		t.Cleanup(func() { s.kubectl("delete", "crd", name) })
		eventually(t, name+" is established", func() bool { // it has no conditions at first
			_, err := s.try("", kubectl, "wait", "--for=condition=Established", "crd/"+name, "--timeout=10s")
			return err == nil
		})
		known[m.text("spec", "names", "kind")+" "+m.text("spec", "group")] = true
	}
	for _, profile := range profiles {
		for _, m := range s.built(s.overlay(profile, "")) {
			group, _, _ := strings.Cut(m.text("apiVersion"), "/")
			operators := slices.ContainsFunc(wanted, func(w string) bool { return strings.HasSuffix(w, "."+group) })
			if operators && !known[m.text("kind")+" "+group] {
				t.Logf("%s: %s is not judged: its kind is in no module, and CRDS has it not", profile, m.name())
				continue
			}
			if meta, ok := m.get("metadata").(map[string]any); ok && m.text("kind") != "Namespace" {
				meta["name"] = "judged-" + m.text("metadata", "name") // what is installed may be of the other profile
			}
			text, err := json.Marshal(m)
			require.NoError(t, err)
			s.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=judge", "--dry-run=server", "--validate=strict", "-f", s.write("object.yaml", string(text)))
		}
	}
}
