package loki

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	lokiclient "github.com/grafana/loki-client-go/loki"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// selvedge is the program under test, built once by TestMain.
var selvedge string

// TestMain builds the program.
func TestMain(m *testing.M) {
	os.Exit(process.Main(m, func(ctx context.Context, dir string) (err error) {
		selvedge, err = process.Build(ctx, dir, "local")
		return err
	}))
}

// start starts a platform with a key of its project.
func start(t *testing.T) (*process.Platform, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := process.Start(ctx, selvedge, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() }) // it may have ended already
	key, err := p.Key(ctx, "projects/default")
	require.NoError(t, err)
	return p, key
}

// lines are the entries of a filter: SEVERITY RESOURCE-TYPE LABELS TEXT.
func lines(t *testing.T, p *process.Platform, key, filter string) []string {
	t.Helper()
	var list struct {
		Entries []struct {
			Severity, TextPayload string
			Resource              struct{ Type string }
			Labels                map[string]string
		}
	}
	require.NoError(t, p.Client(key).Call(t.Context(), http.MethodPost, "/v2/entries:list", nil,
		map[string]any{"resourceNames": []string{"projects/default"}, "filter": filter, "pageSize": 1000}, &list))
	out := make([]string, len(list.Entries))
	for i, e := range list.Entries {
		out[i] = strings.Join([]string{e.Severity, e.Resource.Type, e.Labels["line"], e.TextPayload}, " ")
	}
	return out
}

// What the agent's client sends, packed as it packs, is there once, with the
// severity of its level and its labels. SPEC A5
func TestClient(t *testing.T) {
	t.Parallel()
	p, key := start(t)
	cfg, err := lokiclient.NewDefaultConfig(p.URL + "/loki/api/v1/push")
	require.NoError(t, err)
	cfg.Client.BearerToken = config.Secret(key)
	c, err := lokiclient.NewWithLogger(cfg, log.NewLogfmtLogger(log.NewSyncWriter(os.Stderr)))
	require.NoError(t, err)
	at := time.Now().Add(-time.Minute)
	for i, level := range []string{"info", "warn", "error"} {
		for range 2 { // an agent that starts again reads some lines again
			require.NoError(t, c.Handle(model.LabelSet{"job": "press", "level": model.LabelValue(level), "line": "left \"1\""}, at.Add(time.Duration(i)*time.Second), "strokes: "+level))
		}
	}
	c.Stop() // which sends what waits
	got := lines(t, p, key, `labels.job = "press"`)
	slices.Sort(got)
	require.Equal(t, []string{`ERROR generic_task left "1" strokes: error`, `INFO generic_task left "1" strokes: info`, `WARNING generic_task left "1" strokes: warn`}, got)
	require.Len(t, lines(t, p, key, `severity >= WARNING AND SEARCH("strokes")`), 2)
}

// A key of another project, and one that is none, are told so at once.
func TestClient_Credentials(t *testing.T) {
	t.Parallel()
	p, key := start(t)
	f := func(key, tenant string, want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/loki/api/v1/push", strings.NewReader(`{"streams": [{"stream": {"job": "x"}, "values": [["1700000000000000000", "x"]]}]}`))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+key)
		if tenant != "" {
			req.Header.Set("X-Scope-OrgID", tenant)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode)
	}
	f(key, "", http.StatusNoContent)
	f(key, "default", http.StatusNoContent)
	f(key, "other", http.StatusForbidden)
	f("svk_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "", http.StatusUnauthorized)
}
