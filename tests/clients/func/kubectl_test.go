package func_

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKubectl_WorksWithObjects goes through what people do with kubectl every
// day, on the kinds of Kubernetes' own.
func TestKubectl_WorksWithObjects(t *testing.T) {
	t.Parallel()
	w := start(t)
	require.Contains(t, w.kubectl("auth", "whoami"), "project:default")
	require.Equal(t, "yes", w.kubectl("auth", "can-i", "create", "secrets"))
	require.Contains(t, w.kubectl("get", "namespaces"), "default")
	for _, kind := range []string{"configmaps", "secrets", "serviceaccounts", "events"} {
		require.Contains(t, w.kubectl("api-resources"), kind)
	}
	require.Contains(t, w.kubectl("explain", "configmap"), "KIND:")

	w.kubectl("create", "secret", "generic", "s", "--from-literal=password=hunter2")
	require.Equal(t, "aHVudGVyMg==", w.kubectl("get", "secret", "s", "-o", "jsonpath={.data.password}"))
	require.NotContains(t, w.kubectl("describe", "secret", "s"), "hunter2")
	w.kubectl("create", "configmap", "c", "--from-literal=a=1")
	w.kubectl("label", "configmap", "c", "tier=front")
	w.kubectl("annotate", "configmap", "c", "note=x")
	w.kubectl("patch", "configmap", "c", "-p", `{"data":{"b":"2"}}`)
	w.kubectl("patch", "configmap", "c", "--type=json", "-p", `[{"op":"remove","path":"/data/a"}]`)
	require.JSONEq(t, `{"b":"2"}`, w.kubectl("get", "cm", "-l", "tier=front", "-o", "jsonpath={.items[0].data}"))
	require.Equal(t, "No resources found in default namespace.", w.kubectl("get", "cm", "-l", "tier!=front"))
	w.kubectl("create", "serviceaccount", "robot")

	file := w.write("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b, gone: x}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: applied}\nstringData: {a: b}\n")
	require.Equal(t, "configmap/applied created\nsecret/applied created", w.kubectl("apply", "-f", file))
	require.Contains(t, w.kubectl("apply", "-f", file), "configmap/applied unchanged")
	changed := w.write("b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: c}\n")
	out, err := w.try(kubectl, "diff", "-f", changed)
	require.Error(t, err, "kubectl diff exits with 1 where there is a difference")
	require.Contains(t, out, "+  a: c")
	require.Equal(t, "configmap/applied configured", w.kubectl("apply", "-f", changed))
	require.JSONEq(t, `{"a":"c"}`, w.kubectl("get", "cm", "applied", "-o", "jsonpath={.data}"))

	out, err = w.try(kubectl, "apply", "--server-side", "-f", file)
	require.Error(t, err)
	require.Contains(t, out, "server-side apply is not available here")
	w.kubectl("delete", "-f", file)
	w.kubectl("delete", "configmaps", "--all")
	w.kubectl("wait", "--for=delete", "configmap/c", "--timeout=10s")
	require.Equal(t, "No resources found in default namespace.", w.kubectl("get", "configmaps"))
}

// TestKubectl_StaysInItsProject has somebody of another project look.
func TestKubectl_StaysInItsProject(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
	other, err := w.Key(t.Context(), "projects/other")
	require.NoError(t, err)
	w.as(other)
	for _, args := range [][]string{
		{"get", "secrets"},
		{"get", "secret", "s"},
		{"get", "secrets", "-A"},
		{"get", "secrets", "-w"},
		{"delete", "secret", "s"},
		{"create", "configmap", "c"},
		{"label", "secret", "s", "a=b"},
	} {
		out, err := w.try(kubectl, append(args, "--namespace=default")...)
		require.Error(t, err, "%v", args)
		require.Contains(t, out, "lacks the permission", "%v", args)
	}
	require.Contains(t, w.kubectl("get", "secrets", "--namespace=other"), "No resources found")
}
