package func_

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"selvedge.dev/tests/process"
)

// templates are the project's own, as func reads them.
func templates(t *testing.T) string {
	t.Helper()
	root, err := process.Root()
	require.NoError(t, err)
	return "file://" + filepath.Join(root, "infra", "templates")
}

// host is the platform's registry.
func (w *world) host() string { return strings.TrimPrefix(w.URL, "http://") }

// within runs func in the folder of a function.
func (w *world) within(dir string, args ...string) string {
	w.t.Helper()
	out, err := w.in(dir, nil, funcTool, args...)
	require.NoError(w.t, err, "func %v: %s", args, out)
	return out
}

// eventually asks a command until its answer has a text.
func (w *world) eventually(text, program string, args ...string) string {
	w.t.Helper()
	var out string
	require.Eventually(w.t, func() bool {
		out, _ = w.try(program, args...)
		return strings.Contains(out, text)
	}, time.Minute, 100*time.Millisecond, "%s %v does not say %q", filepath.Base(program), args, text)
	return out
}

// many posts 50,000 events to a function, 64 at once: func's own receiver of
// CloudEvents stalls after a few thousand.
func (w *world) many(url string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range 64 {
		g.Go(func() error {
			for {
				n := next.Add(1)
				if n > 50_000 {
					return nil
				}
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"temperature":31}`))
				if err != nil {
					return err
				}
				for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": strconv.FormatInt(n, 10), "Ce-Source": "//test", "Ce-Type": "com.example.climate", "Content-Type": "application/json"} {
					req.Header.Set(name, value)
				}
				resp, err := client.Do(req)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, resp.Body)
				if err = errors.Join(err, resp.Body.Close()); err != nil {
					return err
				}
				if id := resp.Header.Get("Ce-Id"); resp.StatusCode != http.StatusOK || id != fmt.Sprintf("%d-warm", n) {
					return fmt.Errorf("request %d: %s, reply %q", n, resp.Status, id)
				}
			}
		})
	}
	require.NoError(w.t, g.Wait())
}

// TestFunc_Journey is a developer's: a function is made from the template, its
// test passes, it is deployed with the stock func, called, subscribed to the
// events of devices, seen, and deleted.
func TestFunc_Journey(t *testing.T) {
	t.Parallel()
	w := start(t)
	dir := filepath.Join(t.TempDir(), "warm")
	w.run(funcTool, "create", "--language=go", "--repository="+templates(t), "--template=selvedge-event", dir)
	out, err := w.in(dir, nil, "go", "test", "./...")
	require.NoError(t, err, "%s", out)

	w.within(dir, "subscribe", "--filter", "type=com.example.climate", "--filter", "selvedgeroute=writer")
	out = w.within(dir, "deploy", "--builder=host", "--registry="+w.host()+"/default")
	require.Contains(t, out, w.URL+"/functions/default/warm")
	require.NotContains(t, out, "warning")

	out = w.within(dir, "invoke", "--format=cloudevent", "--type=com.example.climate", `--data={"temperature":31}`)
	require.Contains(t, out, "com.example.warm")
	require.Contains(t, out, `"temperature": 31`)
	var list []struct{ Name, Namespace, URL, Ready string }
	require.NoError(t, json.Unmarshal([]byte(w.run(funcTool, "list", "--output=json")), &list))
	require.Len(t, list, 1)
	require.Equal(t, "warm default True", list[0].Name+" "+list[0].Namespace+" "+list[0].Ready)
	out = w.within(dir, "describe")
	require.Contains(t, out, w.URL+"/functions/default/warm")
	require.Contains(t, out, "default/warm@sha256:")
	require.Contains(t, w.kubectl("get", "ksvc", "warm"), "True")
	w.many(w.URL + "/functions/default/warm")
	require.Contains(t, w.kubectl("get", "triggers"), "warm-function-trigger-0")
	w.kubectl("wait", "--for=condition=Ready", "ksvc/warm", "triggers/warm-function-trigger-0", "brokers/default", "--timeout=30s")
	require.Contains(t, w.kubectl("logs", "--selector=serving.knative.dev/service=warm", "--container=user-container", "--tail=-1"), "function starting")

	// A device's event reaches it, and its reply is an event like any other.
	w.run(selvedge, "create", "devices/d1")
	w.kubectl("apply", "-f", w.write("store.yaml", `
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: keep-warm}
spec:
  broker: default
  filters: [{exact: {type: com.example.warm}}]
  subscriber: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: alerts}}
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: alerts}
`))
	w.kubectl("wait", "--for=condition=Ready", "triggers/keep-warm", "--timeout=30s")
	w.run(selvedge, "events", "send", "--device=d1", "--id=warm-1", "--type=com.example.climate", `--data={"temperature":35}`)
	w.eventually("warm-1-warm", selvedge, "events", "trace", "warm-1")

	w.within(dir, "delete")
	w.eventually("No resources found", kubectl, "get", "ksvc,pods,triggers", "-l", "eventing.knative.dev/broker!=default")
	_, err = os.Stat(dir)
	require.NoError(t, err)
	out, err = w.try(funcTool, "invoke", "--target="+w.URL+"/functions/default/warm", "--data=x")
	require.Error(t, err, "%s", out)
}
