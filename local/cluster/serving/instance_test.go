package serving_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving"
	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/pool/pooltest"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
)

// seen is a runner that remembers what it was asked to start.
type seen struct {
	*pooltest.Runner
	mu   sync.Mutex
	last pool.Instance
}

// Start remembers, and starts.
func (s *seen) Start(ctx context.Context, i pool.Instance) (pool.Process, error) {
	s.mu.Lock()
	s.last = i
	s.mu.Unlock()
	return s.Runner.Start(ctx, i)
}

// core creates an object of the core.
func (r *rig) core(text string) {
	r.t.Helper()
	o, err := object.Parse([]byte(text))
	require.NoError(r.t, err)
	_, err = r.apply(o)
	require.NoError(r.t, err)
}

func TestInstance_IsOfTheManifest(t *testing.T) {
	t.Parallel()
	var runner *seen
	r := newRig(t, func(o *serving.Options) {
		p, _ := o.Runner.(*pooltest.Runner)
		runner = &seen{Runner: p}
		o.Runner = runner
	})
	r.core(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"shop"},"data":{"password":"aHVudGVyMg==","B":"Mg=="}}`)
	r.core(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"shop"},"data":{"A":"1","B":"1"},"binaryData":{"bin":"AAE="}}`)
	r.deploy(manifest("made", "echo",
		container("args", `["$(A)","$$(A)","$(NONE)"]`), container("workingDir", "/tmp"),
		container("envFrom", `[{"configMapRef":{"name":"c"},"prefix":"X_"},{"configMapRef":{"name":"c"}},{"secretRef":{"name":"none","optional":true}}]`),
		container("env", `[{"name":"B","valueFrom":{"secretKeyRef":{"name":"s","key":"B"}}},{"name":"C","value":"$(A)-$(B)"},{"name":"LISTEN_ADDRESS","value":"0.0.0.0:80"},
			{"name":"D","valueFrom":{"configMapKeyRef":{"name":"c","key":"none","optional":true}}}]`),
		container("resources", `{"limits":{"memory":"64Mi","cpu":"250m","ephemeral-storage":"1M"},"requests":{"memory":"1Gi"}}`),
		container("securityContext", `{"runAsUser":1000,"runAsNonRoot":true,"readOnlyRootFilesystem":true,"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"seccompProfile":{"type":"RuntimeDefault"}}`),
		container("volumeMounts", `[{"name":"v","mountPath":"/etc/v/"},{"name":"p","mountPath":"/p"},{"name":"e","mountPath":"/e"}]`),
		at(`[{"name":"v","secret":{"secretName":"s","items":[{"key":"password","path":"a/b"}],"defaultMode":256}},
			{"name":"p","projected":{"sources":[{"configMap":{"name":"c"}},{"secret":{"name":"s","items":[{"key":"B","path":"B"}]}}]}},
			{"name":"e","emptyDir":{"medium":"Memory","sizeLimit":"1Mi"}}]`, "spec", "template", "spec", "volumes")))
	a := r.get("made/")
	require.Equal(t, []string{"1", "2", "1-2", "1", ""}, []string{a.Env["A"], a.Env["B"], a.Env["C"], a.Env["X_B"], a.Env["D"]})
	require.Equal(t, "127.0.0.1:"+a.Env["PORT"], a.Env["LISTEN_ADDRESS"])
	require.Equal(t, map[string]string{"/etc/v/a/b": "hunter2", "/p/A": "1", "/p/B": "2", "/p/bin": "\x00\x01"}, a.Files)

	i := runner.last
	require.Equal(t, []string{"1", "$(A)", "$(NONE)"}, i.Args)
	require.Nil(t, i.Command)
	require.Equal(t, "/tmp", i.Dir)
	require.EqualValues(t, 64<<20, i.Memory)
	require.EqualValues(t, 1_000_000, i.Scratch)
	require.InDelta(t, 0.25, i.CPU, 1e-9)
	require.EqualValues(t, 1000, *i.User)
	require.True(t, i.NonRoot && i.ReadOnlyRoot)
	require.EqualValues(t, 0o400, i.Volumes[0].Files["a/b"].Mode)
	require.Equal(t, pool.Volume{Path: "/e", Key: "e", Writable: true, Memory: true, Limit: 1 << 20}, i.Volumes[2])

	r.deploy(manifest("plain", "echo"))
	require.EqualValues(t, 512<<20, runner.last.Memory, "there is always a limit")
	require.EqualValues(t, 1<<30, runner.last.Scratch)
	require.Nil(t, runner.last.Args)
}

func TestLogs_OfAPodAndOfOneThatHasGone(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var lines []podlog.Line
	r := newRig(t, func(o *serving.Options) {
		quick(o)
		o.Logs = podlog.New(podlog.Options{Line: func(l podlog.Line) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, l)
		}})
	})
	r.deploy(manifest("talk", "echo", annotation("min-scale", "1")))
	pod := r.pods("talk-00001")[0].Name()
	all := serving.LogOptions{ReadOptions: podlog.ReadOptions{Tail: -1}}
	read := func(o serving.LogOptions) string {
		l, err := r.s.Logs(t.Context(), "shop", pod, o)
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close()) }()
		text, err := io.ReadAll(l)
		require.NoError(t, err)
		return string(text)
	}
	status, _ := r.ask("talk/print?line=hello")
	require.Equal(t, http.StatusOK, status)
	require.Eventually(t, func() bool { return read(all) == "starting echo\nlistening\nhello\n" }, 10*time.Second, time.Millisecond)
	tail := all
	tail.Tail, tail.Container = 1, spec.UserContainer
	require.Equal(t, "hello\n", read(tail))
	tail.Container = "other"
	_, err := r.s.Logs(t.Context(), "shop", pod, tail)
	require.ErrorContains(t, err, "container other is not valid for pod "+pod)
	_, err = r.s.Logs(t.Context(), "other", pod, all)
	require.Equal(t, fault.NotFound, fault.KindOf(err), "a pod is of its namespace")

	_, err = r.store.Delete(t.Context(), spec.Service, "shop", "talk", object.Preconditions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.runner.Running() == 0 }, 10*time.Second, time.Millisecond)
	require.True(t, strings.HasPrefix(read(all), "starting echo\n"), "it can be read for a while")
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, podlog.Pod{Namespace: "shop", Name: pod, Service: "talk", Revision: "talk-00001"}, lines[0].Pod)
}

// none finds no image and cannot say why.
type none struct{}

// Resolve fails.
func (none) Resolve(context.Context, string, string) (string, error) {
	return "", errors.New("connection refused")
}

func TestServing_ARegistryThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *serving.Options) { o.Images = none{} })
	_, err := r.apply(manifest("lost", "echo"))
	require.NoError(t, err)
	require.Contains(t, r.ready("lost", "False").Condition("Ready").Message, "connection refused")
	status, _ := r.ask("lost/")
	require.Equal(t, http.StatusServiceUnavailable, status, "nothing is routed to what was never ready")
}

func TestServing_AServiceIsOfItsNamespace(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("same", "echo", container("env", `[{"name":"V","value":"shop"}]`)))
	other := manifest("same", "echo", container("env", `[{"name":"V","value":"other"}]`), at("other", "metadata", "namespace"))
	_, err := r.apply(other)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		o, err := r.store.Get(spec.Service, "other", "same")
		return err == nil && o.Condition("Ready").Status == "True"
	}, 20*time.Second, time.Millisecond)
	require.Equal(t, "shop", r.get("same/").Env["V"])
	require.Equal(t, "other", r.do(r.request(http.MethodGet, "/functions/other/same", nil)).Env["V"])
}
