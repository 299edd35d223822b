package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	functionsaudit "selvedge.dev/functions/audit"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/logstore/clickhouse/chtest"
	"selvedge.dev/sdk/store/storetest/pgtest"
	"selvedge.dev/tests/process"
)

// creations are the records of devices that were made, by their names, in the trail
// of the project p that a platform has. The trail is whole.
func creations(t *testing.T, p *process.Platform) map[string][]string {
	t.Helper()
	if code, body := send(t, p, adminKey, httpCall{http.MethodGet, "/v1/projects/p/auditTrail:head", "", nil}); code == http.StatusNotFound {
		require.Contains(t, body, "AUDIT_NO_RECORDS")
		return nil
	}
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
		if by == 0 {
			// It has all in its trail, and knows how far it is.
			require.Eventually(t, func() bool { return len(creations(t, platforms[other])) == len(made) }, time.Minute, 100*time.Millisecond)
			stop(t, platforms[other])
		} else {
			require.NoError(t, platforms[other].Kill()) // what was just committed is in nobody's trail, or in one
		}
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

// Two platforms share a ClickHouse too: each record of the audit is found there once,
// though both write it, and a tail of one shows what the other takes in, once.
func TestAudit_TwoPlatformsOnOneClickHouse(t *testing.T) {
	t.Parallel()
	logs := chtest.New(t)
	shared := []string{"--database", pgtest.Database(t, pgtest.DSN(t)), "--logs", logs.Native}
	platforms := []*process.Platform{start(t, t.TempDir(), shared...), start(t, t.TempDir(), shared...)}
	names := map[string]bool{}
	for i := range 6 {
		id := fmt.Sprintf("d%d", i)
		call(t, platforms[i%2], http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {id}}, map[string]any{}, nil)
		names["projects/p/devices/"+id] = true
	}
	for _, p := range platforms {
		require.Eventually(t, func() bool { return len(creations(t, p)) == len(names) && len(listed(t, p)) == len(names) }, time.Minute, 100*time.Millisecond)
	}
	for _, p := range platforms {
		for name, ids := range listed(t, p) {
			require.True(t, names[name])
			require.Len(t, ids, 1, "%s is listed once", name)
		}
	}

	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, platforms[0].URL+"/v2/entries:tail", strings.NewReader(`[{"resourceNames":["projects/p"],"filter":"log_id(\"l\")"}]`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+adminKey)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }() // it goes on
	require.Equal(t, http.StatusOK, resp.StatusCode)
	in := json.NewDecoder(resp.Body)
	_, err = in.Token()
	require.NoError(t, err)
	for i, text := range []string{"own", "other", "own too", "end"} {
		code, body := send(t, platforms[i%2], adminKey, httpCall{http.MethodPost, "/v2/entries:write", fmt.Sprintf(`{"entries":[{"logName":"projects/p/logs/l","textPayload":%q}]}`, text), inJSON})
		require.Equal(t, http.StatusOK, code, body)
	}
	var shown []string
	for !slices.Contains(shown, "end") || !slices.Contains(shown, "other") {
		var got struct {
			Entries []struct{ TextPayload string }
		}
		require.NoError(t, in.Decode(&got))
		for _, e := range got.Entries {
			shown = append(shown, e.TextPayload)
		}
	}
	require.ElementsMatch(t, []string{"own", "other", "own too", "end"}, shown)
	for _, p := range platforms {
		stop(t, p)
	}
}
