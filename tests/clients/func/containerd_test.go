package func_

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving/containerd/containerdtest"
)

// TestFunc_Containers is the stock func with a platform that runs functions as
// containers: what is pushed to its registry is pulled by a containerd, called, gives
// way to its next revision, prints, and leaves nothing behind when it is deleted.
func TestFunc_Containers(t *testing.T) {
	t.Parallel()
	short, err := os.MkdirTemp("", "ctrd-") // sockets have short paths
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(short)) })
	d := containerdtest.New(t, short)
	t.Cleanup(d.Wipe)
	w := start(t, "--runner=containerd="+d.Address)
	tasks := func() []string { return strings.Fields(d.Ctr(t, "tasks", "ls", "-q")) }

	dir := filepath.Join(t.TempDir(), "warm")
	w.run(funcTool, "create", "--language=go", "--repository="+templates(t), "--template=selvedge-event", dir)
	deploy := func() {
		out := w.within(dir, "deploy", "--builder=host", "--registry="+w.host()+"/default")
		require.Contains(t, out, w.URL+"/functions/default/warm")
		require.NotContains(t, out, "warning")
	}
	invoke := func() string {
		return w.within(dir, "invoke", "--format=cloudevent", "--type=com.example.climate", `--data={"temperature":31}`)
	}
	deploy()
	require.Contains(t, invoke(), `"temperature": 31`)
	require.Contains(t, w.within(dir, "describe"), "default/warm@sha256:")
	require.Len(t, tasks(), 1, "it is a container")
	require.Contains(t, d.Ctr(t, "images", "ls", "-q"), "default/warm")
	pod := w.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}")
	require.Contains(t, pod, "warm-00001-deployment-")
	require.Contains(t, w.kubectl("logs", pod, "--container=user-container"), "function starting")

	// The next revision has a program of its own.
	source := filepath.Join(dir, "handle", "handle.go")
	text, err := os.ReadFile(source)
	require.NoError(t, err)
	require.Contains(t, string(text), "com.example.warm")
	require.NoError(t, os.WriteFile(source, []byte(strings.ReplaceAll(string(text), "com.example.warm", "com.example.hot")), 0o600))
	deploy()
	require.Contains(t, invoke(), "com.example.hot")
	require.Contains(t, w.kubectl("get", "ksvc", "warm", "-o", "jsonpath={.status.latestReadyRevisionName}"), "warm-00002")

	// Events come to it by a trigger.
	w.within(dir, "subscribe", "--filter", "type=com.example.climate")
	deploy()
	w.kubectl("wait", "--for=condition=Ready", "triggers/warm-function-trigger-0", "brokers/default", "--timeout=30s")
	w.run(selvedge, "events", "send", "--id=e-1", "--type=com.example.climate", "--source=//test", `--data={"temperature":35}`)
	w.eventually("e-1-warm", selvedge, "events", "trace", "e-1")

	w.within(dir, "delete")
	w.eventually("No resources found", kubectl, "get", "ksvc,pods")
	require.Eventually(t, func() bool { return len(tasks()) == 0 && d.Ctr(t, "containers", "ls", "-q") == "" }, time.Minute, tick, "a container is left")
	require.NoError(t, w.Stop(t.Context()))
}
