package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

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
		"services":    {"services/devices.selvedge.dev", "services/iam.selvedge.dev", "services/meta.selvedge.dev"},
		"deployments": {"services/devices.selvedge.dev/deployments/eu", "services/iam.selvedge.dev/deployments/eu", "services/meta.selvedge.dev/deployments/eu"},
	} {
		var names []string
		for _, line := range strings.Split(strings.TrimSpace(c.ok("list", kind)), "\n")[1:] {
			names = append(names, strings.Fields(line)[0])
		}
		require.Equal(t, want, names)
	}
	require.Contains(t, c.ok("list", "resources", "--parent", "services/devices.selvedge.dev"), "devices.selvedge.dev/Blueprint")
	require.Contains(t, c.ok("get", "services/meta.selvedge.dev/deployments/eu"), p.URL)
	stop(t, p)
}
