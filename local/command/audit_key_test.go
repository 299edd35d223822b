package command

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/audit"
	trail "selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// appended are more records of the project default.
func appended(t *testing.T, open *trail.Trail, from int) {
	t.Helper()
	for n := range 15 {
		_, err := open.Append(t.Context(), []trail.Record{{
			Project: "default", ID: fmt.Sprint(from + n), Time: time.Now(), Category: "READ", Type: "selvedge.dev/activity", Data: []byte(`{}`),
		}})
		require.NoError(t, err)
	}
	require.NoError(t, open.Sign(t.Context()))
}

// A key is rotated while the platform stands still, and verification goes on: with
// the keys that were kept before, with those of after, in the files and in an export
// that goes across. Heads of before are met. SPEC 1.F 29
func TestAuditKey_RotatedOffline(t *testing.T) {
	t.Parallel()
	data, open := platformData(t)
	ok := func(args ...string) string {
		t.Helper()
		code, out, errOut := run(t, append([]string{"audit"}, args...)...)
		require.Zero(t, code, errOut)
		return out
	}
	code, _, errOut := run(t, "audit", "key", "rotate", data)
	require.Equal(t, 1, code, "the platform has it open")
	require.Contains(t, errOut, "JOURNAL_LOCKED")
	require.NoError(t, open.Close())

	before, after, heads, archive := filepath.Join(t.TempDir(), "keys.json"), filepath.Join(t.TempDir(), "keys.json"), filepath.Join(t.TempDir(), "heads.txt"), t.TempDir()
	require.NoError(t, os.WriteFile(before, []byte(ok("key", "list", data, "-o", "json")), 0o600))
	require.NoError(t, os.WriteFile(heads, []byte(ok("head", data)), 0o600))
	ok("export", archive, "--data", data)
	out := ok("key", "rotate", data)
	require.Equal(t, 3, strings.Count(out, "\n"), out)
	require.Contains(t, out, "now on")
	require.Equal(t, out, ok("key", "list", data))
	require.NoError(t, os.WriteFile(after, []byte(ok("key", "list", data, "-o", "json")), 0o600))

	ring, err := trail.OpenKeyring(filepath.Join(data, "audit", "keys"), "audit.test/plant", nil)
	require.NoError(t, err)
	open, err = trail.Open(filepath.Join(data, "audit"), trail.Options{Signer: ring, CheckpointRecords: 10})
	require.NoError(t, err)
	appended(t, open, 100)
	require.NoError(t, open.Close())
	ok("export", archive, "--data", data)
	for _, place := range []string{data, archive} {
		for _, keys := range []string{before, after} {
			require.Contains(t, ok("verify", place, "--keys", keys, "--head", heads), "whole")
		}
	}
	// The keys of before, with nothing that vouches for the next.
	require.NoError(t, os.WriteFile(filepath.Join(archive, "keys.json"), must(os.ReadFile(before)), 0o600))
	code, out, _ = run(t, "audit", "verify", archive, "--keys", before)
	require.Equal(t, 1, code)
	require.Contains(t, out, "FORGED")
	// A key of somebody else, put in the place of the next one.
	forged, err := chain.ParseKeys(must(os.ReadFile(after)))
	require.NoError(t, err)
	forged[1].Endorsement[3] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(archive, "keys.json"), forged.JSON(), 0o600))
	code, out, _ = run(t, "audit", "verify", archive, "--keys", before)
	require.Equal(t, 1, code)
	require.Contains(t, out, "FORGED")

	code, _, errOut = run(t, "audit", "key", "rotate", t.TempDir())
	require.Equal(t, 2, code)
	require.Contains(t, errOut, "no keys of an audit trail")
}

// must is the first of two values, of which the other is no error.
func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A running platform rotates its key for who may.
func TestAuditKey_RotatedByTheRunningPlatform(t *testing.T) {
	t.Parallel()
	data, open := platformData(t)
	ring, err := trail.OpenKeyring(filepath.Join(t.TempDir(), "keys"), "audit.test/other", nil)
	require.NoError(t, err)
	require.NotEmpty(t, data)
	may := true
	doors := &audit.Doors{Chains: keysOf{open, ring}, Rotate: ring.Rotate, Allow: func(_ context.Context, permission string, name resource.Name) error {
		if permission != audit.RotateKey || name != "" || !may {
			return &fault.Error{Kind: fault.Denied, Reason: "PERMISSION_DENIED", Field: permission}
		}
		return nil
	}}
	r := chi.NewRouter()
	doors.Routes(r)
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	code, out, errOut := run(t, "audit", "key", "rotate", "--url", server.URL)
	require.Zero(t, code, errOut)
	require.Len(t, ring.Keys(), 2)
	require.Contains(t, out, ring.Keys()[1].ID())
	code, listed, errOut := run(t, "audit", "key", "list", "--url", server.URL)
	require.Zero(t, code, errOut)
	require.Equal(t, out, listed)
	may = false
	code, _, errOut = run(t, "audit", "key", "rotate", "--url", server.URL)
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "PERMISSION_DENIED")
	require.Len(t, ring.Keys(), 2)
	doors.Rotate, may = nil, true
	code, _, errOut = run(t, "audit", "key", "rotate", "--url", server.URL)
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "AUDIT_KEY_ELSEWHERE")
}

// keysOf is a trail with the keys of another keyring.
type keysOf struct {
	*trail.Trail
	ring *trail.Keyring
}

// Keys implements audit.Chains.
func (k keysOf) Keys() chain.Keys { return k.ring.Keys() }
