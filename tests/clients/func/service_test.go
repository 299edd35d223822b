package func_

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// serviceTemplates are the project's templates of services, as func reads them.
func serviceTemplates(t *testing.T) string {
	t.Helper()
	root, err := process.Root()
	require.NoError(t, err)
	out := t.TempDir()
	command(t, root, os.Environ(), "go", "run", "./infra/dist", "-templates", "-out", out)
	return "file://" + out
}

// bash runs a script in a folder.
func (w *world) bash(dir, script string) (string, error) {
	w.t.Helper()
	bin := w.t.TempDir()
	for name, program := range map[string]string{"selvedge": selvedge, "func": funcTool, "kubectl": kubectl} {
		require.NoError(w.t, os.Symlink(program, filepath.Join(bin, name)))
	}
	script = strings.ReplaceAll(script, "127.0.0.1:8080", w.host())
	return w.in(dir, []string{"PATH=" + bin + string(filepath.ListSeparator) + os.Getenv("PATH")}, "bash", "-euo", "pipefail", "-c", script)
}

// TestFunc_Service makes a service from the template, whose tests pass as it is
// created, and pastes its README: the service is deployed, its resources are made
// and read through the function's URL, its controller reacts, and who may do
// nothing does nothing.
func TestFunc_Service(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin, err := w.Key(t.Context(), "admin")
	require.NoError(t, err)
	w.as(admin)
	dir := filepath.Join(t.TempDir(), "visits")
	w.run(funcTool, "create", "--language=go", "--repository="+serviceTemplates(t), "--template=selvedge-service", dir)
	out, err := w.in(dir, nil, "go", "test", "./...")
	require.NoError(t, err, "%s", out)
	before, err := os.ReadFile(filepath.Join(dir, "api", "visits", "v1", "visits_service.pb.go"))
	require.NoError(t, err)
	out, err = w.in(dir, nil, "go", "generate", ".")
	require.NoError(t, err, "%s", out)
	after, err := os.ReadFile(filepath.Join(dir, "api", "visits", "v1", "visits_service.pb.go"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))

	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	require.NoError(t, err)
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```bash\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		script.WriteString(block[1])
	}
	out, err = w.bash(dir, script.String())
	require.NoError(t, err, "%s\n%s", out, w.logs("visits"))
	require.NotContains(t, out, "warning", "func has nothing to complain of")
	require.Contains(t, out, "projects/default/visits/v1")
	site := func(args ...string) (string, error) {
		return w.try(selvedge, append([]string{"--url", w.URL + "/functions/default/visits"}, args...)...)
	}
	require.Eventually(t, func() bool {
		out, err = site("get", "sites/pier", "-o", "json")
		return err == nil && strings.Contains(out, `"openVisits": 1`)
	}, patience, tick, "%s", out)

	out, err = site("delete", "sites/pier")
	require.Error(t, err, "it has visits: %s", out)
	out, err = site("update", "visits/v1", "--set", "done=true")
	require.NoError(t, err, "%s", out)
	out, err = site("delete", "visits/v1")
	require.NoError(t, err, "%s", out)
	require.Eventually(t, func() bool {
		out, err = site("get", "sites/pier", "-o", "json")
		return err == nil && !strings.Contains(out, "openVisits")
	}, patience, tick, "%s", out)
	out, err = site("delete", "sites/pier")
	require.NoError(t, err, "%s", out)

	// Another project's key has no permissions here, and none is anonymous.
	other, err := w.Key(t.Context(), "projects/other")
	require.NoError(t, err)
	out, err = w.in("", []string{"SELVEDGE_KEY=" + other}, selvedge, "--url", w.URL+"/functions/default/visits", "list", "sites", "--parent", "projects/default")
	require.Error(t, err, "%s", out)
	require.Contains(t, out, "PERMISSION_DENIED")
	out, err = w.in(dir, nil, "curl", "-sS", w.URL+"/functions/default/visits/v1/projects/default/sites", "-H", "Selvedge-Principal: admin", "-H", "Selvedge-Caller: admin")
	require.NoError(t, err)
	require.Contains(t, out, "UNAUTHENTICATED")
}

// logs are what the instances of a function printed.
func (w *world) logs(name string) string {
	out, _ := w.try(kubectl, "logs", "--selector=serving.knative.dev/service="+name, "--container=user-container", "--tail=-1")
	return out
}
