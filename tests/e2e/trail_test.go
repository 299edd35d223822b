package e2e

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mutation is a change of a resource of the project p.
type mutation struct {
	method, path string
	query        url.Values
	body         map[string]any
	// name and verb are what the record says.
	name, verb string
}

// mutations change resources of four services.
func mutations() []mutation {
	create := func(plural, field, id string, body map[string]any) mutation {
		return mutation{http.MethodPost, "/v1/projects/p/" + plural, url.Values{field: {id}}, body, "projects/p/" + plural + "/" + id, "CREATED"}
	}
	update := func(name string, body map[string]any) mutation {
		return mutation{http.MethodPatch, "/v1/projects/p/" + name, nil, body, "projects/p/" + name, "UPDATED"}
	}
	return []mutation{
		create("devices", "deviceId", "pump", map[string]any{"displayName": "left-pump"}),
		create("devices", "deviceId", "gone", map[string]any{}),
		update("devices/pump", map[string]any{"displayName": "right-pump"}),
		create("buckets", "bucketId", "pump", map[string]any{"retention": "2592000s"}),
		update("buckets/pump", map[string]any{"retention": "5184000s"}),
		create("serviceAccounts", "serviceAccountId", "robot", map[string]any{"displayName": "a robot"}),
		create("roles", "roleId", "reader", map[string]any{"grants": []any{map[string]any{"permissions": []string{"devices.devices.get"}}}}),
		create("auditDescriptors", "auditDescriptorId", "pumps", map[string]any{"resourceType": "devices.selvedge.dev/Device"}),
		{http.MethodDelete, "/v1/projects/p/devices/gone", nil, nil, "projects/p/devices/gone", "DELETED"},
	}
}

// Every mutation that was made through a service has one record, which the command
// line shows.
func TestTrail_EveryServiceIsRecorded(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	want := map[string][]string{}
	for _, m := range mutations() {
		var in any
		if m.body != nil {
			in = m.body
		}
		call(t, p, m.method, m.path, m.query, in, nil)
		want[m.name] = append(want[m.name], m.verb)
	}
	recorded := func() (n int, got map[string][]string) {
		changes, err := recordsOf(p).Changes(t.Context(), "projects/p")
		require.NoError(t, err)
		got = map[string][]string{}
		for _, c := range changes {
			var record struct{ Resource, Verb string }
			require.NoError(t, json.Unmarshal(c, &record))
			if want[record.Resource] != nil {
				got[record.Resource] = append(got[record.Resource], record.Verb)
				n++
			}
		}
		return n, got
	}
	require.Eventually(t, func() bool {
		n, _ := recorded()
		return n >= len(mutations())
	}, time.Minute, 50*time.Millisecond)
	_, got := recorded()
	require.Equal(t, want, got)

	c := shellOf(t, p)
	require.Regexp(t, `(?s)right-pump.*left-pump`, c.ok("audit", "who", "projects/p/devices/pump", "-p", "p"))
	require.Contains(t, c.ok("audit", "query", "-p", "p", `jsonPayload.category="DELETION"`), "projects/p/devices/gone")
	stop(t, p)
}

// One flipped bit in what is on the disk is found, and the record named; what was
// exported before is verified without the platform.
func TestTrail_OneFlippedBitIsFoundAndNamed(t *testing.T) {
	t.Parallel()
	data, copied := t.TempDir(), t.TempDir()
	p := start(t, data)
	call(t, p, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {"pump"}}, map[string]any{"displayName": "left-pump"}, nil)
	require.Eventually(t, func() bool {
		changes, err := recordsOf(p).Changes(t.Context(), "projects/p")
		require.NoError(t, err)
		return slices.ContainsFunc(changes, func(c []byte) bool { return bytes.Contains(c, []byte("left-pump")) })
	}, time.Minute, 50*time.Millisecond)
	c := shellOf(t, p)
	c.fails(1, "keys.json", "audit", "verify", copied)
	require.Contains(t, c.ok("audit", "verify", "-p", "p"), "whole")
	require.Contains(t, c.ok("audit", "head", "-p", "p"), "/p\n", "a signed note of all until now")
	c.ok("audit", "export", copied, "-p", "p")
	require.Contains(t, c.ok("audit", "verify", copied), "whole")
	kept := filepath.Join(t.TempDir(), "keys.json")
	require.NoError(t, os.WriteFile(kept, []byte(c.ok("audit", "key", "list", "-o", "json")), 0o600))
	require.Contains(t, c.ok("audit", "key", "rotate"), "now on")
	call(t, p, http.MethodPatch, "/v1/projects/p/devices/pump", nil, map[string]any{"displayName": "other-pump"}, nil)
	require.Eventually(t, func() bool {
		return strings.Contains(c.ok("audit", "query", "--platform", `jsonPayload.granted.permission="audit.keys.rotate"`), "rotateKey")
	}, time.Minute, 50*time.Millisecond, "who rotated is recorded")
	require.Contains(t, c.ok("audit", "verify", "-p", "p", "--keys", kept), "whole", "across the rotation, by the key of before")
	stop(t, p)
	require.Contains(t, c.ok("audit", "verify", data), "whole")

	flip(t, filepath.Join(data, "audit"), []byte("left-pump"))
	_, complaint, code := c.run("", "audit", "verify", data)
	require.Equal(t, 1, code)
	require.Contains(t, complaint, "project p: record 1: ")
}

// flip flips a bit of the text in every file of a folder that has it, of which
// there is one at least.
func flip(t *testing.T, dir string, text []byte) {
	t.Helper()
	flipped := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := bytes.Index(raw, text)
		if at < 0 {
			return nil
		}
		flipped++
		raw[at] ^= 1
		return os.WriteFile(path, raw, 0o600)
	}))
	require.Positive(t, flipped)
}
