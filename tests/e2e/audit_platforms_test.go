package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	functionsaudit "selvedge.dev/functions/audit"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/store/storetest/pgtest"
	"selvedge.dev/tests/process"
)

// creations are the records of devices that were made, by their names, in the trail
// of the project p that a platform has. The trail is whole.
func creations(t *testing.T, p *process.Platform) map[string][]string {
	t.Helper()
	read := func(path string) string {
		code, body := send(t, p, adminKey, httpCall{http.MethodGet, path, "", nil})
		require.Equal(t, http.StatusOK, code, body)
		return body
	}
	keys, err := chain.ParseKeys([]byte(read("/v1/auditTrail:keys")))
	require.NoError(t, err)
	head, err := chain.ParseNote(read("/v1/projects/p/auditTrail:head"))
	require.NoError(t, err)
	lines := read("/v1/projects/p/auditTrail")
	report, err := chain.Verify(functionsaudit.ReadLines(strings.NewReader(lines)), chain.VerifyOptions{Project: "p", Keys: keys, Heads: []chain.Checkpoint{head}})
	require.NoError(t, err)
	require.NotZero(t, report.Last)
	found, ids := map[string][]string{}, map[string]bool{}
	for item, err := range functionsaudit.ReadLines(strings.NewReader(lines)) {
		require.NoError(t, err)
		if item.Link == nil {
			continue
		}
		require.False(t, ids[item.Link.ID], "%s is there twice", item.Link.ID)
		ids[item.Link.ID] = true
		var c struct{ Verb, Resource string }
		require.NoError(t, json.Unmarshal(item.Link.Data, &c))
		if c.Verb == "CREATED" && strings.HasPrefix(c.Resource, "projects/p/devices/") {
			found[c.Resource] = append(found[c.Resource], item.Link.ID)
		}
	}
	return found
}

// listed are the ids of the records of such changes, as a platform lists them.
func listed(t *testing.T, p *process.Platform) map[string][]string {
	t.Helper()
	changes, err := recordsOf(p).Changes(t.Context(), "projects/p")
	require.NoError(t, err)
	found := map[string][]string{}
	for _, c := range changes {
		var record struct{ ID, Verb, Resource string }
		require.NoError(t, json.Unmarshal(c, &record))
		if record.Verb == "CREATED" && strings.HasPrefix(record.Resource, "projects/p/devices/") {
			found[record.Resource] = append(found[record.Resource], record.ID)
		}
	}
	return found
}

// Two platforms on one database, each of which is killed while the other goes on
// and comes back: the trail and the logs of each have every change once, whichever
// of them made it, also those that came while it was away.
func TestAudit_TwoPlatformsOnOneDatabase(t *testing.T) {
	t.Parallel()
	database := []string{"--database", pgtest.Database(t, pgtest.DSN(t))}
	data := []string{t.TempDir(), t.TempDir()}
	platforms := []*process.Platform{start(t, data[0], database...), start(t, data[1], database...)}
	var made []string
	create := func(by int, n int) {
		t.Helper()
		for range n {
			id := fmt.Sprintf("d%d", len(made))
			call(t, platforms[by], http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {id}}, map[string]any{}, nil)
			made = append(made, "projects/p/devices/"+id)
		}
	}
	create(0, 5)
	create(1, 5)
	for by := range platforms {
		other := 1 - by
		require.NoError(t, platforms[by].Kill())
		create(other, 5)
		require.NoError(t, platforms[other].Kill()) // what was just committed is in nobody's trail, or in one
		for i := range platforms {
			platforms[i] = start(t, data[i], database...)
		}
		create(by, 5)
	}
	for i, p := range platforms {
		for what, records := range map[string]func(*testing.T, *process.Platform) map[string][]string{"trail": creations, "logs": listed} {
			require.Eventually(t, func() bool { return len(records(t, p)) >= len(made) }, time.Minute, 100*time.Millisecond, "the %s of platform %d", what, i)
			found := records(t, p)
			for _, name := range made {
				require.Len(t, found[name], 1, "%s in the %s of platform %d", name, what, i)
			}
		}
	}
	require.Equal(t, creations(t, platforms[0]), creations(t, platforms[1]))
	for _, p := range platforms {
		stop(t, p)
	}
}
