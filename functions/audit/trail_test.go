package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/audit"
	auditv1 "selvedge.dev/functions/audit/v1"
	trails "selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/service"
)

// signer signs checkpoints with a key that everybody knows.
type signer struct{ private ed25519.PrivateKey }

// Name implements [trails.Signer].
func (signer) Name() string { return "audit.test" }

// Sign implements [trails.Signer].
func (s signer) Sign(c *trails.Checkpoint) error { return c.Sign(s.private) }

// Keys implements [trails.Signer].
func (s signer) Keys() chain.Keys {
	return chain.Keys{chain.NewKey(s.Name(), s.private.Public().(ed25519.PublicKey), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))}
}

// TestDoors_TrailIsVerifiedElsewhere: what the doors answer is enough to verify
// a project's records without the platform, and what is altered on the way, or
// left out, is found.
func TestDoors_TrailIsVerifiedElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tr, err := trails.Open(t.TempDir(), trails.Options{
		Signer: signer{ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))}, SegmentBytes: 8 << 10,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tr.Close()) })
	w.keeper.Trail = tr
	for i := range 20 {
		w.paint("projects/p", "p", "r", []string{"red", "blue"}[i%2])
	}
	w.paint("projects/q", "q", "r", "red")
	require.NoError(t, w.hand())
	w.at = 0
	require.NoError(t, w.hand(), "the same once more is nothing")

	d := &audit.Doors{Chains: tr, Allow: service.Allow, Recorder: w.recorder, Store: w.store}
	routes := chi.NewRouter()
	d.Routes(routes)
	ask := func(by, method, path, body string) (int, string) {
		r := httptest.NewRequestWithContext(as(by), method, path, strings.NewReader(body))
		out := httptest.NewRecorder()
		routes.ServeHTTP(out, r)
		return out.Code, out.Body.String()
	}
	status, text := ask("projects/p", http.MethodGet, "/v1/auditTrail:keys", "")
	require.Equal(t, http.StatusOK, status)
	keys, err := chain.ParseKeys([]byte(text))
	require.NoError(t, err)
	status, head := ask("projects/p", http.MethodGet, "/v1/projects/p/auditTrail:head", "")
	require.Equal(t, http.StatusOK, status)
	note, err := chain.ParseNote(head)
	require.NoError(t, err)
	status, lines := ask("projects/p", http.MethodGet, "/v1/projects/p/auditTrail", "")
	require.Equal(t, http.StatusOK, status)
	verify := func(lines string) (chain.Report, error) {
		return chain.Verify(audit.ReadLines(strings.NewReader(lines)), chain.VerifyOptions{Project: "p", Keys: keys, Heads: []chain.Checkpoint{note}})
	}
	report, err := verify(lines)
	require.NoError(t, err)
	require.EqualValues(t, 42, report.Records, "two of the project, and two of each update")
	require.True(t, report.Signed)

	all := strings.SplitAfter(lines, "\n")
	_, err = verify(strings.Join(all[:len(all)/2], ""))
	require.Error(t, err, "cut off")
	_, err = verify(strings.Replace(lines, `\"blue\"`, `\"pink\"`, 1))
	require.Error(t, err, "altered")
	_, err = verify(strings.Join(append(append([]string{}, all[:5]...), all[6:]...), ""))
	require.Error(t, err, "a line is missing")
	for part := range strings.Lines(lines) {
		var l map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(part), &l))
		require.Len(t, l, 1)
	}

	status, rest := ask("projects/p", http.MethodGet, "/v1/projects/p/auditTrail?from=30", "")
	require.Equal(t, http.StatusOK, status)
	begin, _, found30 := strings.Cut(lines, `{"record":{"project":"p","seq":30,`)
	require.True(t, found30)
	report, err = verify(begin + rest)
	require.NoError(t, err, "who has what is before goes on there")
	require.EqualValues(t, 42, report.Records)
	status, found := ask("projects/p", http.MethodPost, "/v1/projects/p/auditTrail:verify", head)
	require.Equal(t, http.StatusOK, status, found)
	require.Contains(t, found, `"records":4`)
	require.NotContains(t, found, "finding")

	// Who may not is told so, and that he asked is recorded; as are the reads.
	for _, path := range []string{"/v1/projects/p/auditTrail", "/v1/projects/p/auditTrail:head", "/v1/auditTrail"} {
		status, _ = ask("projects/q", http.MethodGet, path, "")
		require.Equal(t, http.StatusForbidden, status, path)
	}
	status, _ = ask("projects/p", http.MethodGet, "/v1/projects/p/auditTrail?from=none", "")
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = ask("admin", http.MethodGet, "/v1/projects/none/auditTrail:head", "")
	require.Equal(t, http.StatusNotFound, status)
	require.NoError(t, w.hand())
	reads := do[*auditv1.ListActivityLogsResponse](w.ctx, w, activities, &auditv1.ListActivityLogsRequest{
		Parent: "projects/p", Filter: `jsonPayload.method:"auditTrail"`,
	}).GetActivityLogs()
	of := map[resourcev1.ActivityLog_Category]int{}
	for _, a := range reads {
		of[a.GetCategory()]++
	}
	require.Equal(t, map[resourcev1.ActivityLog_Category]int{
		resourcev1.ActivityLog_READ: 4, resourcev1.ActivityLog_REJECTED: 2, resourcev1.ActivityLog_CLIENT_ERROR: 1,
	}, of)
	denying := &audit.Doors{Chains: tr}
	denied := chi.NewRouter()
	denying.Routes(denied)
	out := httptest.NewRecorder()
	denied.ServeHTTP(out, httptest.NewRequestWithContext(iam.WithPrincipal(t.Context(), iam.Principal{Kind: iam.Admin, Name: "admin"}), http.MethodGet, "/v1/auditTrail", nil))
	require.Equal(t, http.StatusForbidden, out.Code, "without a policy nobody may")
}

// FuzzReadLines: no answer of somebody else does harm, and what is read is what
// was written.
func FuzzReadLines(f *testing.F) {
	f.Add([]byte(`{"end":true}`))
	f.Add([]byte(`{"checkpoint":"x"}` + "\n" + `{"end":true}`))
	f.Add([]byte(`{"start":{"project":"p","size":1,"peaks":[],"prev":""}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ended := true
		for _, err := range audit.ReadLines(bytes.NewReader(b)) {
			require.True(t, ended, "nothing comes after an error")
			ended = err == nil
		}
		if !ended {
			_, err := chain.Verify(audit.ReadLines(bytes.NewReader(b)), chain.VerifyOptions{})
			require.Error(t, err)
			require.NotEqual(t, io.EOF, err)
			_ = fault.KindOf(err)
		}
	})
}
