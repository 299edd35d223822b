package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	auditv1 "selvedge.dev/functions/audit/v1"
	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/audit/audittest"
	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/tests/process"
)

// recordsOf are the records of a platform, which is asked as an administrator.
func recordsOf(p *process.Platform) audittest.Remote {
	types := &schema.Registry{}
	devicesv1.AddTo(types)
	auditv1.AddTo(types)
	return audittest.Remote{Types: types, Get: func(ctx context.Context, path string, q url.Values) ([]byte, error) {
		var body json.RawMessage
		err := p.Client(process.AdminKey).Call(ctx, http.MethodGet, path, q, nil, &body)
		return body, err
	}}
}

// audited waits until the records of a project are its resources.
func audited(t *testing.T, p *process.Platform, project string) {
	t.Helper()
	var last error
	require.Eventually(t, func() bool {
		last = recordsOf(p).Check(t.Context(), project)
		return last == nil
	}, time.Minute, 500*time.Millisecond, "%v", &last)
}

// TestAudit_EveryChangeHasItsRecord: changes by HTTP, with a kill -9 in between,
// each have one record, which says what it was before and is; and who was refused
// is recorded too.
func TestAudit_EveryChangeHasItsRecord(t *testing.T) {
	data := t.TempDir()
	p := start(t, data)
	const project = "/v1/projects/default"
	change := func(method, path string, q url.Values, in any) {
		t.Helper()
		call(t, p, method, project+path, q, in, nil)
	}
	for round := range 3 {
		for i := range 10 {
			id := fmt.Sprintf("a%d-%d", round, i)
			change(http.MethodPost, "/devices", url.Values{"deviceId": {id}}, map[string]any{"displayName": "new", "metadata": map[string]any{"labels": map[string]string{"n": id}}})
			if i%2 == 0 {
				change(http.MethodPatch, "/devices/"+id, url.Values{"updateMask": {"displayName"}}, map[string]any{"displayName": "changed"})
			}
			if i%3 == 0 {
				change(http.MethodDelete, "/devices/"+id, nil, nil)
			}
		}
		require.NoError(t, p.Kill())
		p = start(t, data)
	}
	audited(t, p, "default")
	// One that was made and deleted is in no resource: its records may come last.
	const all = 3 * (10 + 5 + 4)
	var found int
	require.Eventually(t, func() bool {
		found = changesOfDevices(t, p)
		return found >= all
	}, time.Minute, 100*time.Millisecond, "%d changes are not in the trail", all)
	require.Equal(t, all, found)

	var denied *client.Client
	key, err := p.Key(t.Context(), "projects/default")
	require.NoError(t, err)
	denied = p.Client(key)
	require.Error(t, denied.Call(t.Context(), http.MethodDelete, "/v1/projects/other/devices/d", nil, nil, nil))
	require.Eventually(t, func() bool {
		var page struct{ ActivityLogs []struct{ Principal string } }
		call(t, p, http.MethodGet, "/v1/projects/other/activityLogs", url.Values{"filter": {"jsonPayload.category=REJECTED"}}, nil, &page)
		return len(page.ActivityLogs) == 1 && page.ActivityLogs[0].Principal == "projects/default"
	}, time.Minute, 500*time.Millisecond)
}

// changesOfDevices is how many changes of devices of the project default are in the
// trail, each once and by the administrator.
func changesOfDevices(t *testing.T, p *process.Platform) (n int) {
	t.Helper()
	changes, err := recordsOf(p).Changes(t.Context(), "projects/default")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, body := range changes {
		var c struct{ ID, Resource, Principal string }
		require.NoError(t, json.Unmarshal(body, &c))
		require.False(t, seen[c.ID], "%s is there twice", c.ID)
		if seen[c.ID] = true; strings.HasPrefix(c.Resource, "projects/default/devices/a") {
			n++
			require.Equal(t, "admin", c.Principal)
		}
	}
	return n
}
