package logging_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/sdk/fault"
)

// text is an entry with a text of that many minutes after noon.
func text(log string, minute int, id string) *loggingpb.LogEntry {
	return &loggingpb.LogEntry{
		LogName: project + "/logs/" + log, InsertId: id, Timestamp: timestamppb.New(noon.Add(time.Duration(minute) * time.Minute)),
		Payload: &loggingpb.LogEntry_TextPayload{TextPayload: "text " + id},
	}
}

// What is written over gRPC comes back over gRPC as it was, and REST says the
// same. SPEC A5
func TestGoogle_EveryFieldComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.google(project)
	object, err := structpb.NewStruct(map[string]any{"user": map[string]any{"name": "ann", "age": 41.5}, "tags": []any{"a", true, nil}})
	require.NoError(t, err)
	known, err := anypb.New(&loggingpb.LogEntrySourceLocation{File: "main.go", Line: 7})
	require.NoError(t, err)
	wellKnown, err := anypb.New(durationpb.New(90 * time.Second))
	require.NoError(t, err)
	full := func(id string) *loggingpb.LogEntry {
		e := text("sys%2Flog", 0, id)
		e.Severity, e.Labels = 450, map[string]string{"site": "north", "a b": "é"}
		e.Resource = &monitoredres.MonitoredResource{Type: "device", Labels: map[string]string{"project_id": "p", "device_id": "d1"}}
		e.Trace, e.SpanId, e.TraceSampled = "projects/p/traces/0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", true
		e.Operation = &loggingpb.LogEntryOperation{Id: "o", Producer: "x", First: true}
		e.SourceLocation = &loggingpb.LogEntrySourceLocation{File: "f.go", Line: 12, Function: "f"}
		e.Split = &loggingpb.LogSplit{Uid: "u", Index: 1, TotalSplits: 2}
		return e
	}
	entries := []*loggingpb.LogEntry{full("0"), full("1"), full("2"), full("3"), full("4"), full("5")}
	entries[1].Payload = &loggingpb.LogEntry_JsonPayload{JsonPayload: object}
	entries[2].Payload = &loggingpb.LogEntry_ProtoPayload{ProtoPayload: known}
	entries[3].Payload = &loggingpb.LogEntry_ProtoPayload{ProtoPayload: &anypb.Any{TypeUrl: "type.googleapis.com/nobody.Knows", Value: []byte{8, 1}}}
	entries[4].Payload = &loggingpb.LogEntry_ProtoPayload{ProtoPayload: wellKnown}
	entries[5].Payload = nil
	_, err = c.WriteLogEntries(ctx, &loggingpb.WriteLogEntriesRequest{Entries: entries})
	require.NoError(t, err)

	got, err := c.ListLogEntries(ctx, &loggingpb.ListLogEntriesRequest{ResourceNames: []string{project}})
	require.NoError(t, err)
	require.Len(t, got.GetEntries(), len(entries))
	for i, e := range got.GetEntries() {
		require.Equal(t, noon, e.GetReceiveTimestamp().AsTime())
		e.ReceiveTimestamp = nil
		require.Equal(t, protojson.Format(entries[i]), strings.ReplaceAll(protojson.Format(e), "selvedge", "selvedge"))
	}
	rest := w.listed(project, `{"resourceNames": ["projects/p"]}`)
	require.Len(t, rest, len(entries))
	require.Equal(t, "projects/p/logs/sys%2Flog", rest[0]["logName"])
	require.Equal(t, map[string]any{"user": map[string]any{"name": "ann", "age": json.Number("41.5")}, "tags": []any{"a", true, nil}}, rest[1]["jsonPayload"])
	require.Equal(t, map[string]any{"@type": "type.googleapis.com/google.logging.v2.LogEntrySourceLocation", "file": "main.go", "line": "7"}, rest[2]["protoPayload"])
	require.Equal(t, map[string]any{"@type": "type.googleapis.com/nobody.Knows", "value": "CAE="}, rest[3]["protoPayload"])
}

// A JSON payload keeps what a google.protobuf.Struct would not: large numbers and
// the order of its members.
func TestGoogle_JSONStaysAsItWasWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const payload = `{"z":9007199254740993,"a":1.50,"s":" é<"}`
	w.post(project, "/v2/entries:write", `{"logName": "projects/p/logs/l", "labels": {"k": "v"}, "entries": [{"jsonPayload": `+strings.ReplaceAll(payload, ",", " , ")+`}]}`)
	answer := w.post(project, "/v2/entries:list", `{"resourceNames": ["projects/p"]}`)
	require.Contains(t, string(answer), `"jsonPayload":`+payload)
	require.Len(t, w.ids(project, `jsonPayload.z = 9007199254740993 AND labels.k = "v" AND resource.type = "global"`), 1)
}

// Entries that were refused are told one by one, and the others are written if
// the caller says so.
func TestGoogle_PartialSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.google(project)
	bad := text("l", 1, "bad")
	bad.Labels = map[string]string{"": "x"}
	req := &loggingpb.WriteLogEntriesRequest{Entries: []*loggingpb.LogEntry{text("l", 0, "a"), bad, text("l", 2, "c"), {LogName: "x"}}}
	f := func(partial, dry bool, want ...string) {
		t.Helper()
		req.PartialSuccess, req.DryRun = partial, dry
		_, err := c.WriteLogEntries(ctx, req)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
		var more *loggingpb.WriteLogEntriesPartialErrors
		for _, d := range status.Convert(err).Details() {
			if m, ok := d.(*loggingpb.WriteLogEntriesPartialErrors); ok {
				more = m
			}
		}
		require.Len(t, more.GetLogEntryErrors(), 2)
		require.Contains(t, more.GetLogEntryErrors()[1].GetMessage(), "a key is empty")
		require.Contains(t, more.GetLogEntryErrors()[3].GetMessage(), "no name of a log")
		require.Equal(t, append([]string{}, want...), w.ids(project, ""))
	}
	f(false, false)
	f(true, true)
	f(true, false, "a", "c")
	f(true, false, "a", "c") // the same again is no second one
	e := w.failing(project, "/v2/entries:write", `{"entries": [{"logName": "projects/p/logs/l", "textPayload": "x", "severity": "LOUD"}]}`)
	require.Equal(t, fault.Invalid, e.Kind)
	e = w.failing(project, "/v2/entries:write", `{"partialSuccess": true, "entries": [{"logName": "projects/p/logs/l", "labels": {"": "x"}}]}`)
	require.Equal(t, "INVALID_ENTRY", e.Reason)
	_, err := c.WriteLogEntries(ctx, &loggingpb.WriteLogEntriesRequest{DryRun: true, Entries: []*loggingpb.LogEntry{text("l", 0, "dry")}})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "c"}, w.ids(project, ""))

	// Each of them is counted by reason.
	require.NoError(t, w.doors.Tell(t.Context()))
	totals, err := w.losses.Totals(t.Context(), "p")
	require.NoError(t, err)
	require.Len(t, totals, 1)
	require.Equal(t, "logging-google INVALID_ENTRY", totals[0].Stream+" "+totals[0].Reason)
	require.NotZero(t, totals[0].Count)
}

// Pages have every entry once and in order, whatever is written meanwhile after
// them, over one project and several.
func TestGoogle_PagesAreStable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.google(admin)
	write := func(project, id string, minute int) {
		e := text("l", minute, id)
		e.LogName = "projects/" + project + "/logs/l"
		_, err := c.WriteLogEntries(ctx, &loggingpb.WriteLogEntriesRequest{Entries: []*loggingpb.LogEntry{e}})
		require.NoError(t, err)
	}
	for i := range 10 {
		write("p", fmt.Sprintf("%02d", i), i/3) // with ties
		write("q", fmt.Sprintf("%02d", i), i/3)
	}
	f := func(order string, size int32, names []string, want ...string) {
		t.Helper()
		got := []string{}
		req := &loggingpb.ListLogEntriesRequest{ResourceNames: names, OrderBy: order, PageSize: size}
		for {
			answer, err := c.ListLogEntries(ctx, req)
			require.NoError(t, err)
			for _, e := range answer.GetEntries() {
				got = append(got, e.GetLogName()[len("projects/"):][:1]+e.GetInsertId())
			}
			require.LessOrEqual(t, len(answer.GetEntries()), int(size))
			if req.PageToken = answer.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		require.Equal(t, want, got)
	}
	up := []string{"p00", "p01", "p02", "p03", "p04", "p05", "p06", "p07", "p08", "p09"}
	f("", 3, []string{"projects/p"}, up...)
	f("timestamp asc", 10, []string{"projects/p"}, up...)
	f("timestamp  desc", 4, []string{"projects/p"}, "p09", "p08", "p07", "p06", "p05", "p04", "p03", "p02", "p01", "p00")
	var both []string
	for i := range 10 {
		both = append(both, fmt.Sprintf("p%02d", i), fmt.Sprintf("q%02d", i))
	}
	f("", 3, []string{"projects/q", "projects/p"}, both...)
	f("", 100, []string{"projects/q", "projects/p", "projects/p"}, both...)

	bad := func(req *loggingpb.ListLogEntriesRequest, want string) {
		t.Helper()
		_, err := c.ListLogEntries(ctx, req)
		require.Equal(t, codes.InvalidArgument, status.Code(err))
		require.ErrorContains(t, err, want)
	}
	names := []string{"projects/p"}
	bad(&loggingpb.ListLogEntriesRequest{}, "name a project")
	bad(&loggingpb.ListLogEntriesRequest{ResourceNames: []string{"organizations/o"}}, "organizations/o")
	bad(&loggingpb.ListLogEntriesRequest{ResourceNames: names, Filter: "severity >"}, "")
	bad(&loggingpb.ListLogEntriesRequest{ResourceNames: names, OrderBy: "severity"}, "timestamp desc")
	bad(&loggingpb.ListLogEntriesRequest{ResourceNames: names, PageSize: -1}, "negative")
	bad(&loggingpb.ListLogEntriesRequest{ResourceNames: names, PageToken: "x"}, "not one that this service gave")
	answer, err := c.ListLogEntries(ctx, &loggingpb.ListLogEntriesRequest{ResourceNames: names, PageSize: 1})
	require.NoError(t, err)
	bad(&loggingpb.ListLogEntriesRequest{ResourceNames: names, Filter: "x", PageToken: answer.GetNextPageToken()}, "another filter")
}

// Logs are listed and deleted; a deleted one comes back with what is newer, and
// one in a locked bucket stays.
func TestGoogle_Logs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.google(project)
	write := func(bucket string, e *loggingpb.LogEntry) {
		body, err := protojson.Marshal(&loggingpb.WriteLogEntriesRequest{Entries: []*loggingpb.LogEntry{e}})
		require.NoError(t, err)
		w.post(project, "/v2/entries:write"+bucket, string(body))
	}
	for i := range 5 {
		write("", text(fmt.Sprintf("app%%2F%d", i), -i-1, fmt.Sprint(i)))
	}
	f := func(want ...string) {
		t.Helper()
		got := []string{}
		req := &loggingpb.ListLogsRequest{Parent: project, PageSize: 2}
		for {
			answer, err := c.ListLogs(ctx, req)
			require.NoError(t, err)
			for _, name := range answer.GetLogNames() {
				got = append(got, strings.TrimPrefix(name, project+"/logs/app%2F"))
			}
			if req.PageToken = answer.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		require.Equal(t, want, got)
	}
	f("0", "1", "2", "3", "4")
	_, err := c.DeleteLog(ctx, &loggingpb.DeleteLogRequest{LogName: project + "/logs/app%2F1"})
	require.NoError(t, err)
	code, _, _ := w.send(project, http.MethodDelete, "/v2/projects/p/logs/app%2F2", "")
	require.Equal(t, http.StatusOK, code)
	f("0", "3", "4")
	require.Equal(t, []string{"4", "3", "0"}, w.ids(project, ""))
	_, err = c.DeleteLog(ctx, &loggingpb.DeleteLogRequest{LogName: project + "/logs/app%2F1"})
	require.Equal(t, codes.NotFound, status.Code(err))
	write("", text("app%2F1", 1, "new"))
	f("0", "1", "3", "4")
	require.Equal(t, []string{"new"}, w.ids(project, `log_id("app/1")`))

	w.bucket("vault", &loggingv1.Bucket{Locked: true})
	write("?bucket=vault", text("app%2F3", -1, "kept"))
	_, err = c.DeleteLog(ctx, &loggingpb.DeleteLogRequest{LogName: project + "/logs/app%2F3"})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.Equal(t, []string{"3", "kept"}, w.ids(project, `log_id("app/3")`))

	answer, err := c.ListMonitoredResourceDescriptors(ctx, &loggingpb.ListMonitoredResourceDescriptorsRequest{})
	require.NoError(t, err)
	require.Equal(t, "device", answer.GetResourceDescriptors()[0].GetType())
}

// Entries are counted by time and by fields, over several projects too.
func TestCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 6 {
		w.post(admin, "/v2/entries:write", fmt.Sprintf(`{"entries": [{"logName": "projects/%s/logs/l", "timestamp": %q, "severity": %q, "labels": {"site": "s%d"}, "textPayload": "x"}]}`,
			[]string{"p", "q"}[i%2], noon.Add(time.Duration(i)*20*time.Second).Format(time.RFC3339), []string{"INFO", "ERROR"}[i%2], i%3))
	}
	f := func(body, want string) {
		t.Helper()
		require.JSONEq(t, want, string(w.post(admin, "/v2/entries:count", body)))
	}
	f(`{"resourceNames": ["projects/p"]}`, `{"entries": "3", "groups": [{"entries": "3"}]}`)
	f(`{"resourceNames": ["projects/none"]}`, `{"entries": "0", "groups": []}`)
	f(`{"resourceNames": ["projects/p", "projects/q"], "interval": "60s", "groupBy": ["severity"]}`, `{"entries": "6", "groups": [
		{"startTime": "2026-06-01T12:00:00Z", "values": ["INFO"], "entries": "2"}, {"startTime": "2026-06-01T12:00:00Z", "values": ["ERROR"], "entries": "1"},
		{"startTime": "2026-06-01T12:01:00Z", "values": ["ERROR"], "entries": "2"}, {"startTime": "2026-06-01T12:01:00Z", "values": ["INFO"], "entries": "1"}]}`)
	f(`{"resourceNames": ["projects/p"], "groupBy": ["labels.\"site\""], "filter": "labels.site != s0", "startTime": "2026-06-01T12:00:00Z", "endTime": "2026-06-01T12:01:00Z"}`,
		`{"entries": "1", "groups": [{"values": ["s2"], "entries": "1"}]}`)
	bad := func(body, field string) {
		t.Helper()
		e := w.failing(admin, "/v2/entries:count", body)
		require.Equal(t, fault.Invalid, e.Kind)
		require.Equal(t, field, e.Field, "%v", e)
	}
	bad(`{"resourceNames": ["projects/p"], "interval": "1m"}`, "interval")
	bad(`{"resourceNames": ["projects/p"], "groupBy": ["a OR b"]}`, "groupBy[0]")
	bad(`{"resourceNames": ["projects/p"], "groupBy": ["severity", "severity", "severity", "severity", "severity"]}`, "groupBy")
	bad(`{"resourceNames": ["projects/p"], "limit": -1}`, "limit")
	bad(`{"resourceNames": ["projects/p"], "what": 1}`, "body")
	bad(`{}`, "resourceNames")
}

// Entries that are lost before they come to a door are counted by who had them.
func TestDoors_Lost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, project := range []string{"p", "q", "p"} {
		w.doors.Lost(project, "logging-functions", "JOURNAL_FULL", 2)
	}
	require.NoError(t, w.doors.Tell(t.Context()))
	for project, n := range map[string]int64{"p": 4, "q": 2} {
		totals, err := w.losses.Totals(t.Context(), project)
		require.NoError(t, err)
		require.Len(t, totals, 1)
		require.Equal(t, "logging-functions JOURNAL_FULL", totals[0].Stream+" "+totals[0].Reason)
		require.Equal(t, n, totals[0].Count)
	}
}
