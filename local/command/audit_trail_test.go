package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/audit"
	trail "selvedge.dev/logstore/audit"
	"selvedge.dev/sdk/resource"
)

// platformData is the folder of a platform with records of two projects.
func platformData(t *testing.T) (string, *trail.Trail) {
	t.Helper()
	data := t.TempDir()
	keys, err := trail.OpenKeyring(filepath.Join(data, "audit", "keys"), "audit.test/plant", nil)
	require.NoError(t, err)
	open, err := trail.Open(filepath.Join(data, "audit"), trail.Options{Signer: keys, CheckpointRecords: 10})
	require.NoError(t, err)
	t.Cleanup(func() { _ = open.Close() })
	for _, project := range []string{"default", "plant"} {
		for n := range 25 {
			_, err := open.Append(t.Context(), []trail.Record{{
				Project: project, ID: fmt.Sprint(n), Time: time.Now(), Category: "READ", Type: "selvedge.dev/activity", Data: fmt.Appendf(nil, `{"n":%d}`, n),
			}})
			require.NoError(t, err)
		}
	}
	require.NoError(t, open.Sign(t.Context()))
	return data, open
}

func TestAudit_OfflineFiles(t *testing.T) {
	t.Parallel()
	data, open := platformData(t)
	require.NoError(t, open.Close())
	ok := func(args ...string) string {
		t.Helper()
		code, out, errOut := run(t, append([]string{"audit"}, args...)...)
		require.Zero(t, code, errOut)
		return out
	}
	heads := filepath.Join(t.TempDir(), "heads.txt")
	require.NoError(t, os.WriteFile(heads, []byte(ok("head", data)), 0o600))
	keys := filepath.Join(data, "audit", "keys", "keys.json")
	out := ok("verify", data, "--head", heads, "--keys", keys)
	require.Contains(t, out, "default  1      25")
	require.Contains(t, out, "plant")
	require.Contains(t, ok("verify", data, "-p", "plant", "-o", "json"), `"signed": true`)

	archive := t.TempDir()
	require.Contains(t, ok("export", archive, "--data", data), "25")
	ok("export", archive, "--data", data)
	ok("verify", archive, "--head", heads, "--keys", keys)
	ok("verify", filepath.Join(archive, "plant", "00000000000000000001.ndjson.gz"))

	// Somebody removes a project, and somebody else a segment's byte.
	require.NoError(t, os.RemoveAll(filepath.Join(archive, "plant")))
	code, out, errOut := run(t, "audit", "verify", archive, "--head", heads)
	require.Equal(t, 1, code)
	require.Contains(t, out, "record 1: TRUNCATED")
	require.Contains(t, errOut, "project plant")
	files, err := filepath.Glob(filepath.Join(data, "audit", "chains", "default-*"))
	require.NoError(t, err)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	text[len(text)/2] ^= 1
	require.NoError(t, os.WriteFile(files[0], text, 0o600))
	code, out, _ = run(t, "audit", "verify", data)
	require.Equal(t, 1, code)
	require.Contains(t, out, "DAMAGED")

	code, _, errOut = run(t, "audit", "verify", filepath.Join(data, "nothing"))
	require.Equal(t, 2, code)
	require.Contains(t, errOut, "no such file")
	code, _, _ = run(t, "audit", "verify", t.TempDir())
	require.Equal(t, 1, code, "no keys")
}

func TestAudit_OfTheRunningPlatform(t *testing.T) {
	t.Parallel()
	_, open := platformData(t)
	doors := &audit.Doors{Chains: open, Allow: func(context.Context, string, resource.Name) error { return nil }}
	r := chi.NewRouter()
	doors.Routes(r)
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	ok := func(args ...string) string {
		t.Helper()
		code, out, errOut := run(t, append([]string{"audit", "--url", server.URL}, args...)...)
		require.Zero(t, code, errOut)
		return out
	}
	heads := filepath.Join(t.TempDir(), "heads.txt")
	require.NoError(t, os.WriteFile(heads, []byte(ok("head")), 0o600))
	var all []verdict
	require.NoError(t, json.Unmarshal([]byte(ok("verify", "--head", heads, "-o", "json")), &all))
	require.Len(t, all, 1)
	require.Equal(t, uint64(25), all[0].Last)
	require.Equal(t, 1, all[0].Heads)
	archive := t.TempDir()
	ok("export", archive, "-p", "plant")
	_, err := open.Append(t.Context(), []trail.Record{{Project: "plant", ID: "x", Time: time.Now(), Category: "READ", Type: "t", Data: []byte(`{}`)}})
	require.NoError(t, err)
	require.NoError(t, open.Sign(t.Context()))
	require.Contains(t, ok("export", archive, "-p", "plant"), "26")
	ok("verify", archive)
}
