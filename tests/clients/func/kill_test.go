package func_

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recorder is a subscriber outside the platform that notes what it gets.
type recorder struct {
	mu   sync.Mutex
	seen map[string]int
}

// ServeHTTP takes an event.
func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[req.Header.Get("Ce-Id")]++
	w.WriteHeader(http.StatusAccepted)
}

// missing are those of n events of which there is no reply.
func (r *recorder) missing(n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for i := range n {
		if id := fmt.Sprintf("%d-warm", i); r.seen[id] == 0 {
			out = append(out, id)
		}
	}
	return out
}

// post posts an event to the default broker, as often as it takes: whoever
// posts knows only of what was answered.
func (w *world) post(ctx context.Context, url, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/brokers/default/default", strings.NewReader(`{"temperature":31}`))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + w.key, "Content-Type": "application/json",
		"Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Source": "//test", "Ce-Type": "com.example.climate",
	} {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode == http.StatusAccepted {
		return err
	}
	return fmt.Errorf("%s", resp.Status)
}

// TestFunc_KillsLoseNothing kills the platform, and its functions with it, while
// events are on their way through a function and to a subscriber outside: of
// every event that was taken the reply arrives.
func TestFunc_KillsLoseNothing(t *testing.T) {
	t.Parallel()
	r := &recorder{seen: map[string]int{}}
	outside := httptest.NewServer(r)
	t.Cleanup(outside.Close)
	w := start(t, "--local-subscribers")
	dir := filepath.Join(t.TempDir(), "warm")
	w.run(funcTool, "create", "--language=go", "--repository="+templates(t), "--template=selvedge-event", dir)
	w.within(dir, "subscribe", "--filter", "type=com.example.climate")
	w.within(dir, "deploy", "--builder=host", "--registry="+w.host()+"/default")
	w.kubectl("apply", "-f", w.write("outside.yaml", `
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: outside}
spec:
  filters: [{exact: {type: com.example.warm}}]
  subscriber: {uri: "`+outside.URL+`"}
`))
	w.kubectl("wait", "--for=condition=Ready", "triggers", "--all", "--timeout=60s")

	const events = 600
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range events {
		if i == events/3 || i == 2*events/3 {
			require.NoError(t, w.Kill())
			w.begin()
		}
		require.NoError(t, w.post(ctx, w.URL, fmt.Sprint(i)))
	}
	require.Eventually(t, func() bool { return len(r.missing(events)) == 0 }, 2*time.Minute, 50*time.Millisecond, "events are lost")
	require.NotContains(t, w.run(selvedge, "--url="+w.URL, "losses"), "outside")
}
