package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// terminal runs the command line with an environment and a folder of its own.
type terminal struct {
	t   *testing.T
	ctx context.Context
	dir string
	env []string
}

// newTerminal is a terminal of somebody who has not said anything yet, with
// more environment.
func newTerminal(t *testing.T, env ...string) terminal {
	t.Helper()
	dir := t.TempDir()
	kept := []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "SELVEDGE_CONFIG=" + filepath.Join(dir, "config.yaml")}
	return terminal{t: t, ctx: bounded(t), dir: dir, env: append(kept, env...)}
}

// command is selvedge with arguments, in the terminal.
func (c terminal) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.ctx, selvedge, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	return cmd
}

// run runs selvedge with input and returns what it printed, what it complained
// and its exit code.
func (c terminal) run(input string, args ...string) (out, complaint string, code int) {
	c.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := c.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(c.t, err, &exit)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// ok runs selvedge, which must do it.
func (c terminal) ok(args ...string) string {
	c.t.Helper()
	out, complaint, code := c.run("", args...)
	require.Zero(c.t, code, "selvedge %s\n%s%s", strings.Join(args, " "), out, complaint)
	return out
}

// fails runs selvedge, which must not, and complain in those words.
func (c terminal) fails(code int, words string, args ...string) {
	c.t.Helper()
	out, complaint, got := c.run("", args...)
	require.Equal(c.t, code, got, "selvedge %s\n%s%s", strings.Join(args, " "), out, complaint)
	require.Contains(c.t, complaint, words)
	require.Equal(c.t, 1, strings.Count(complaint, "\n"), "one line: %s", complaint)
}

// file writes a file into the folder of the terminal.
func (c terminal) file(name, text string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	require.NoError(c.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(c.t, os.WriteFile(path, []byte(text), 0o600))
}

// shellOf is a terminal of the administrator of a platform.
func shellOf(t *testing.T, p *process.Platform) terminal {
	t.Helper()
	return newTerminal(t, "SELVEDGE_URL="+p.URL, "SELVEDGE_KEY="+adminKey)
}

// TestCommandLine_Verbs is what people type about single resources.
func TestCommandLine_Verbs(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	c := shellOf(t, p)
	require.Contains(t, c.ok("create", "devices/pump-1", "--set", "displayName=Pump 1", "--set", "metadata.labels.site=north"), "projects/default/devices/pump-1")
	c.fails(1, "ALREADY_EXISTS", "create", "devices/pump-1")
	c.ok("create", "devices/pump-2", "--set", `aliases=[{network: boat-network, key: esn, value: "7"}]`)
	c.ok("create", "devices/pump-3", "--dry-run")
	c.fails(1, "NOT_FOUND", "get", "devices/pump-3")

	var d struct {
		Name, DisplayName, Route string
		Metadata                 struct {
			ResourceVersion string
			Labels          map[string]string
		}
	}
	read := func() {
		t.Helper()
		d.Metadata.Labels = nil
		require.NoError(t, json.Unmarshal([]byte(c.ok("get", "devices/pump-1", "-o", "json")), &d))
	}
	read()
	require.Equal(t, "Pump 1", d.DisplayName)
	require.Contains(t, c.ok("get", "devices/pump-1", "-o", "yaml"), "displayName: Pump 1")
	require.Contains(t, c.ok("get", "projects/default/devices/pump-1", "devices/pump-2"), "pump-2")
	names := func(args ...string) []string {
		t.Helper()
		var found []string
		for line := range strings.Lines(c.ok(append([]string{"list", "devices"}, args...)...)) {
			if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "projects/") {
				found = append(found, filepath.Base(name))
			}
		}
		return found
	}
	require.Equal(t, []string{"pump-1", "pump-2"}, names())
	require.Equal(t, []string{"pump-1"}, names("--filter", `metadata.labels.site = "north"`))
	require.Equal(t, []string{"pump-2"}, names("--order-by", "metadata.create_time desc", "--limit", "1"))
	require.Equal(t, []string{"pump-1"}, names("--parent", "projects/-", "--search", "pump 1"))
	require.Empty(t, names("-p", "other"))
	c.fails(1, "INVALID_FILTER", "list", "devices", "--filter", "nothing = 1")

	before := d.Metadata.ResourceVersion
	c.ok("update", "devices/pump-1", "--set", "route=reason", "--unset", "metadata.labels.site", "--version", before)
	read()
	require.Equal(t, "reason", d.Route)
	require.Empty(t, d.Metadata.Labels)
	c.fails(1, "ETAG_MISMATCH", "update", "devices/pump-1", "--set", "route=x", "--version", before)

	c.ok("create", "blueprints/pump")
	c.ok("update", "devices/pump-1", "--set", "blueprint=projects/default/blueprints/pump")
	plan := c.ok("delete", "blueprints/pump", "--plan")
	require.Regexp(t, `(?s)projects/default/blueprints/pump +deleted.*\n  projects/default/devices/pump-1 +blocks .*blueprint\n.*Blocked`, plan)
	c.fails(1, "REFERRED_TO", "delete", "blueprints/pump")
	require.Contains(t, c.ok("delete", "devices/pump-1"), "deleted")
	c.fails(1, "NOT_FOUND", "delete", "devices/pump-1")
	c.ok("delete", "devices/pump-1", "--allow-missing")

	c.fails(2, "NAME", "get")
	c.fails(2, "list wants a type", "list", "devices/pump-2")
	c.fails(2, "there are auditConfigs, auditDescriptors, blueprints, ", "list", "planets")
	c.fails(2, "--output is", "list", "devices", "-o", "xml")
	c.fails(2, "has no field", "update", "devices/pump-2", "--set", "nothing=1")
	newTerminal(t, "SELVEDGE_URL="+p.URL).fails(1, "set $SELVEDGE_KEY", "list", "devices")
	newTerminal(t, "SELVEDGE_URL=http://127.0.0.1:1").fails(1, "is `selvedge up` running there?", "list", "devices")
}

// TestCommandLine_Files applies, compares and exports what is in files.
func TestCommandLine_Files(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	c := shellOf(t, p)
	// The device comes first, and refers to what comes later.
	c.file("fleet/a.yaml", "name: projects/default/devices/d1\ndisplayName: One\nblueprint: projects/default/blueprints/pump\n---\nname: projects/default/devices/d2\nmetadata: {labels: {site: north}}\n")
	c.file("fleet/below/b.json", `{"@type": "devices.selvedge.dev/Blueprint", "name": "projects/default/blueprints/pump", "route": "writer"}`)
	c.file("fleet/notes.txt", "not for us")
	require.Contains(t, c.ok("diff", "-f", "fleet"), "+ displayName: One\n")
	c.ok("apply", "-f", "fleet", "--dry-run")
	c.fails(1, "NOT_FOUND", "get", "devices/d2")
	lines := strings.Split(strings.TrimSpace(c.ok("apply", "-f", "fleet")), "\n")
	require.ElementsMatch(t, []string{"projects/default/devices/d1 created", "projects/default/devices/d2 created", "projects/default/blueprints/pump created"}, lines)
	again := c.ok("apply", "-f", "fleet")
	require.Equal(t, 3, strings.Count(again, " unchanged\n"), again)
	require.Empty(t, c.ok("diff", "-f", "fleet"))

	// What a document does not say stays as it is.
	c.ok("update", "devices/d1", "--set", "route=reason")
	c.file("fleet/a.yaml", "name: projects/default/devices/d1\ndisplayName: Uno\nblueprint: projects/default/blueprints/pump\n")
	diff := c.ok("diff", "-f", "fleet")
	require.Contains(t, diff, "- displayName: One\n+ displayName: Uno\n")
	require.NotContains(t, diff, "- route")
	require.Contains(t, c.ok("apply", "-f", "fleet"), "projects/default/devices/d1 updated")
	require.Contains(t, c.ok("get", "devices/d1", "-o", "yaml"), "route: reason")

	// An export is the whole again, elsewhere too.
	exported := c.ok("export")
	require.Contains(t, exported, "displayName: Uno")
	require.NotContains(t, exported, "resourceVersion")
	c.ok("delete", "devices/d1", "devices/d2", "blueprints/pump")
	out, complaint, code := c.run(exported, "apply", "-f", "-")
	require.Zero(t, code, complaint)
	require.Equal(t, 3, strings.Count(out, " created\n"), out)
	require.Equal(t, exported, c.ok("export"))

	c.file("bad.yaml", "name: projects/default/devices/d3\n---\nname: projects/default/devices/d4\nnothing: 1\n")
	c.fails(1, "document 2", "apply", "-f", "bad.yaml")
	c.fails(1, "NOT_FOUND", "get", "devices/d3") // nothing is done when something cannot be read
	c.file("broken.yaml", "name: projects/default/devices/d5\nblueprint: projects/default/blueprints/no\n")
	c.fails(1, "BROKEN_REFERENCE", "apply", "-f", "broken.yaml")
	c.fails(2, "--file is missing", "apply")
}

// TestCommandLine_Watch follows changes until Ctrl-C.
func TestCommandLine_Watch(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	c := shellOf(t, p)
	c.ok("create", "devices/d1", "--set", "route=r")
	cmd := c.command("watch", "devices", "--filter", `route = "r"`)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	out := bufio.NewReader(stdout)
	says := func(want string) {
		t.Helper()
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, want)
	}
	says("+ projects/default/devices/d1")
	c.ok("create", "devices/d2", "--set", "route=r")
	says("+ projects/default/devices/d2")
	c.ok("update", "devices/d2", "--set", "displayName=Two")
	says("display_name=Two")
	c.ok("update", "devices/d2", "--set", "route=other")
	says("- projects/default/devices/d2")
	c.ok("delete", "devices/d1")
	says("- projects/default/devices/d1")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	_, err = out.ReadByte()
	require.Error(t, err)
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		require.Zero(t, exit.ExitCode())
	}
}

// TestCommandLine_ContextsAndCompletion is what makes it short to type.
func TestCommandLine_ContextsAndCompletion(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	c := shellOf(t, p)
	c.ok("context", "set", "factory", "--project", "factory-7")
	c.env = c.env[:3] // the environment does not say where and who any more
	require.Regexp(t, `\* +factory +`+p.URL+` +factory-7 +.*\(kept\)`, c.ok("context", "list"))
	require.Contains(t, c.ok("create", "devices/pump-1"), "projects/factory-7/devices/pump-1")
	require.Contains(t, c.ok("create", "devices/pump-2", "-p", "other"), "projects/other/devices/pump-2")
	c.fails(2, `no context "home"`, "context", "use", "home")

	require.Contains(t, c.ok("completion", "bash"), "__start_selvedge")
	completes := func(want string, args ...string) {
		t.Helper()
		require.Regexp(t, "^"+want+":[0-9]+\n", c.ok(append([]string{"__complete"}, args...)...))
	}
	completes("auditConfigs\n(.*\n)*blueprints\n(.*\n)*devices\n(.*\n)*", "get", "")
	completes("devices/pump-1\n", "get", "devices/p")
	completes("devices/pump-2\n", "-p", "other", "delete", "devices/p")
	completes("", "get", "planets/p")
}
