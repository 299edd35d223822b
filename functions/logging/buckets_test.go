package logging_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// write is a request that writes an entry of a log.
func write(log, id string) string {
	return `{"entries": [{"logName": "projects/p/logs/` + log + `", "insertId": "` + id + `", "timestamp": "2026-06-01T12:00:00Z", "textPayload": "x"}]}`
}

// An agent that has its bucket writes there without saying so, and sees nothing
// else. SPEC A5
func TestBuckets_AnAgentSeesAndWritesItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bucket("d1", &loggingv1.Bucket{})
	w.bucket("d2", &loggingv1.Bucket{})
	w.bucket("shared", &loggingv1.Bucket{})
	const d1, d2, robot, nobody = "projects/p/devices/d1", "projects/p/devices/d2", "projects/p/serviceAccounts/robot", "projects/p/serviceAccounts/nobody"
	may := []string{"logging.logEntries.*", "logging.logs.list"}
	w.grant("device:"+d1, "buckets/d1", may...)
	w.grant("device:"+d2, "buckets/d2", may...)
	w.grant("device:"+d2, "buckets/shared", may...)
	w.grant("serviceAccount:"+robot, "buckets/shared", may...)
	w.grant("serviceAccount:"+robot, "buckets/d1", may...)

	w.post(d1, "/v2/entries:write", write("l", "of-d1"))
	w.post(d2, "/v2/entries:write", write("l", "of-d2"))
	w.post(d2, "/v2/entries:write?bucket=shared", write("l", "shared"))
	w.post(project, "/v2/entries:write", write("l", "default"))
	f := func(who string, want ...string) {
		t.Helper()
		require.Equal(t, want, w.ids(who, ""))
	}
	f(d1, "of-d1")
	f(d2, "of-d2", "shared")
	f(robot, "of-d1", "shared")
	f(project, "default", "of-d1", "of-d2", "shared")
	f(admin, "default", "of-d1", "of-d2", "shared")

	list := func(name string) string { return `{"resourceNames": ["` + name + `"]}` }
	require.Len(t, w.listed(d1, list("projects/p/locations/global/buckets/d1/views/_AllLogs")), 1)
	require.Len(t, w.listed(project, list("projects/p/buckets/shared")), 1)
	denied := func(who, path, body string) {
		t.Helper()
		e := w.failing(who, path, body)
		require.Equal(t, fault.Denied, e.Kind, "%v", e)
	}
	for _, who := range []string{nobody, "projects/q", "projects/q/devices/d1"} {
		for _, path := range []string{"/v2/entries:list", "/v2/entries:count", "/v2/entries:tail"} {
			denied(who, path, list("projects/p"))
		}
		denied(who, "/v2/entries:write", write("l", "x"))
		denied(who, "/v2/entries:write?bucket=d1", write("l", "x"))
	}
	denied(d1, "/v2/entries:list", list("projects/p/buckets/d2"))
	denied(d1, "/v2/entries:list", list("projects/p/buckets/_Default"))
	denied(d1, "/v2/entries:write?bucket=d2", write("l", "x"))
	denied(d1, "/v2/entries:write?bucket=_Default", write("l", "x"))
	code, _, _ := w.send(d1, http.MethodDelete, "/v2/projects/p/logs/l", "")
	require.Equal(t, http.StatusForbidden, code)
	code, _, _ = w.send("", http.MethodPost, "/v2/entries:write", write("l", "x"))
	require.Equal(t, http.StatusUnauthorized, code)
	code, _, text := w.send(d1, http.MethodGet, "/v2/projects/p/logs", "")
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"logNames": ["projects/p/logs/l"]}`, string(text))

	e := w.failing(robot, "/v2/entries:write", write("l", "x"))
	require.Equal(t, "SEVERAL_BUCKETS", e.Reason)
	e = w.failing(project, "/v2/entries:write?bucket=none", write("l", "x"))
	require.Equal(t, fault.NotFound, e.Kind)
	e = w.failing(project, "/v2/entries:write?bucket=_Audit", write("l", "x"))
	require.Equal(t, fault.NotFound, e.Kind, "the platform alone writes there")

	// The audit's entries are shown to who asks for them by name and may.
	_, err := w.intake.Write(t.Context(), []logstore.Entry{{Project: "p", Bucket: "_Audit", Log: "selvedge.dev/activity", InsertID: "audit", Time: noon}})
	require.NoError(t, err)
	f(project, "default", "of-d1", "of-d2", "shared")
	require.Len(t, w.listed(project, list("projects/p/buckets/_Audit")), 1)
	w.grant("serviceAccount:"+nobody, "", "logging.logEntries.list")
	require.Len(t, w.listed(nobody, list("projects/p")), 4)
	denied(nobody, "/v2/entries:list", list("projects/p/buckets/_Audit"))
	denied(nobody, "/v2/entries:tail", list("projects/p/buckets/_Audit"))
	inUse, err := w.doors.HasEvents(t.Context(), "p")
	require.NoError(t, err)
	require.True(t, inUse)

	// What is taken away is gone at once.
	require.NoError(t, w.call("DeleteBucket", &loggingv1.DeleteBucketRequest{Name: project + "/buckets/d2"}))
	e = w.failing(d2, "/v2/entries:list", list("projects/p/buckets/d2"))
	require.Equal(t, fault.NotFound, e.Kind)
	f(d2, "shared")
}

// Rules say what may be in a bucket, descriptors which labels entries have.
// SPEC A5
func TestBuckets_RulesAndDescriptors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	descriptor := func(parent, id string, d *loggingv1.LogDescriptor) error {
		return w.call("CreateLogDescriptor", &loggingv1.CreateLogDescriptorRequest{Parent: parent, LogDescriptorId: id, LogDescriptor: d})
	}
	require.NoError(t, descriptor(project, "faults", &loggingv1.LogDescriptor{
		LogId: "press/faults", Labels: []*loggingv1.LogLabel{{Key: "line", Required: true}, {Key: "shift"}},
		PromotedLabelSets: []*loggingv1.PromotedLabels{{Keys: []string{"line", "shift"}}},
	}))
	require.ErrorContains(t, descriptor(project, "x", &loggingv1.LogDescriptor{LogId: "a b"}), "letters, digits")
	require.ErrorContains(t, descriptor(project, "x", &loggingv1.LogDescriptor{LogId: "a", PromotedLabelSets: []*loggingv1.PromotedLabels{{Keys: []string{"k"}}}}), "not among the labels")
	require.NoError(t, descriptor("services/s.example.com", "all", &loggingv1.LogDescriptor{LogId: "s.example.com/x", Labels: []*loggingv1.LogLabel{{Key: "k", Required: true}}}))

	w.bucket("b", &loggingv1.Bucket{Rules: []*loggingv1.BucketRule{
		{LogDescriptor: project + "/logDescriptors/faults", Labels: map[string]*loggingv1.LabelValues{"line": {Values: []string{"left", "right"}}}},
		{Logs: []string{"sys*", "kernel"}, ResourceTypes: []string{"device"}},
	}})
	f := func(log, labels, resource, want string) {
		t.Helper()
		body := `{"entries": [{"logName": "projects/p/logs/` + log + `", "labels": ` + labels + `, "resource": {"type": "` + resource + `"}, "textPayload": "x"}]}`
		code, _, text := w.send(project, http.MethodPost, "/v2/entries:write?bucket=b", body)
		if want == "" {
			require.Equal(t, http.StatusOK, code, "%s", text)
			return
		}
		require.Equal(t, want, fault.Parse("", code, text).Reason, "%s", text)
	}
	f("press%2Ffaults", `{"line": "left"}`, "device", "")
	f("press%2Ffaults", `{"line": "middle"}`, "device", "NOT_IN_BUCKET")
	f("press%2Ffaults", `{}`, "device", "LABEL_MISSING")
	f("syslog", `{}`, "device", "")
	f("kernel", `{}`, "device", "")
	f("kernel2", `{}`, "device", "NOT_IN_BUCKET")
	f("syslog", `{}`, "global", "NOT_IN_BUCKET")
	f("s.example.com%2Fx", `{}`, "global", "LABEL_MISSING")
	require.ErrorContains(t, w.call("DeleteLogDescriptor", &loggingv1.DeleteLogDescriptorRequest{Name: project + "/logDescriptors/faults"}), "")
	require.Len(t, w.ids(project, ""), 3)
}

// A locked bucket keeps what it has.
func TestBuckets_Locked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	day := durationpb.New(24 * time.Hour)
	w.bucket("vault", &loggingv1.Bucket{Locked: true, Retention: durationpb.New(30 * 24 * time.Hour), MaxBytes: 100})
	f := func(b *loggingv1.Bucket, want string) {
		t.Helper()
		b.Name = project + "/buckets/vault"
		err := w.call("UpdateBucket", &loggingv1.UpdateBucketRequest{Bucket: b})
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.Equal(t, want, fault.ReasonOf(err), "%v", err)
	}
	f(&loggingv1.Bucket{Retention: day}, "BUCKET_LOCKED")
	f(&loggingv1.Bucket{MaxBytes: 50}, "BUCKET_LOCKED")
	f(&loggingv1.Bucket{Retention: durationpb.New(31 * 24 * time.Hour), MaxBytes: 200, DisplayName: "Vault"}, "")
	f(&loggingv1.Bucket{Retention: durationpb.New(25 * time.Hour)}, "INVALID_FIELD")
	require.Equal(t, "BUCKET_LOCKED", fault.ReasonOf(w.call("DeleteBucket", &loggingv1.DeleteBucketRequest{Name: project + "/buckets/vault"})))
	require.Error(t, w.call("CreateBucket", &loggingv1.CreateBucketRequest{Parent: project, BucketId: "_mine", Bucket: &loggingv1.Bucket{}}))
	w.bucket("_Default", &loggingv1.Bucket{Retention: day})
	all, err := w.reg.Policies(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, 24*time.Hour, all[0].Retention)
	require.Equal(t, "vault", all[1].Bucket)
	require.True(t, all[1].Locked)
}
