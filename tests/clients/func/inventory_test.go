package func_

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// account makes the service account of the inventory, which registers a service,
// makes accounts, and asks what callers may. It prints its key.
const account = `
selvedge create serviceAccounts/inventory >&2
account=serviceAccount:projects/default/serviceAccounts/inventory
selvedge create roleBindings/inventory --set role=services/iam.selvedge.dev/roles/service --set "members=[\"$account\"]" >&2
selvedge create roles/inventory --set 'grants=[{"permissions": ["iam.serviceAccounts.create", "iam.access.explain"]}]' >&2
selvedge create projects/default/roleBindings/inventory --set role=projects/default/roles/inventory --set "members=[\"$account\"]" >&2
key=$(selvedge create projects/default/serviceAccounts/inventory/serviceAccountKeys/k1 -o json | sed -n 's/.*"secret": *"\(.*\)".*/\1/p')
kubectl create secret generic inventory --from-literal=key="$key" >&2
`

// TestFunc_Inventory deploys the service that is not the platform's own: it
// registers itself, its orders own accounts of the platform, and the platform asks
// it about them behind the door of functions.
func TestFunc_Inventory(t *testing.T) {
	if os.Getenv(allImages) == "" {
		t.Skipf("building one more service takes minutes: set %s", allImages)
	}
	t.Parallel()
	root, err := process.Root()
	require.NoError(t, err)
	w := start(t)
	admin, err := w.Key(t.Context(), "admin")
	require.NoError(t, err)
	w.as(admin)
	out := t.TempDir()
	command(t, root, os.Environ(), "go", "run", "./infra/dist", "-out", out, "sample-inventory")
	dir := filepath.Join(out, "sample-inventory")
	text, err := w.bash(dir, account)
	require.NoError(t, err, "%s", text)
	at := w.URL + "/functions/default/sample-inventory"
	w.env = append(w.env, "SELVEDGE_ENDPOINT="+at)
	w.within(dir, "config", "envs", "remove", "--name=SELVEDGE_DATABASE")
	w.within(dir, "config", "envs", "add", "--name=SELVEDGE_DATA", "--value=/tmp") // for as long as the instance runs
	w.within(dir, "deploy", "--builder=host", "--registry="+w.host()+"/default")

	w.eventually("inventory.example.com", selvedge, "list", "deployments")
	inventory := func(args ...string) string {
		t.Helper()
		text, err := w.try(selvedge, append([]string{"--url", at}, args...)...)
		require.NoError(t, err, "%s\n%s", text, w.logs("sample-inventory"))
		return text
	}
	inventory("create", "sites/pier")
	inventory("create", "deviceModels/pump")
	order := inventory("create", "deviceOrders/o1", "--set", "deviceModel=projects/default/deviceModels/pump", "--set", "site=projects/default/sites/pier", "--set", "count=2", "-o", "yaml")
	_, name, ok := strings.Cut(order, "serviceAccount: ")
	require.True(t, ok, order)
	name, _, _ = strings.Cut(name, "\n")
	w.eventually(name, selvedge, "list", "serviceAccounts")
	inventory("delete", "deviceOrders/o1")
	require.Eventually(t, func() bool {
		text, err := w.try(selvedge, "list", "serviceAccounts", "-o", "yaml")
		return err == nil && !strings.Contains(text, name)
	}, patience, tick, "%s", w.logs("sample-inventory"))
}
