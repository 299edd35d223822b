package logging_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"selvedge.dev/functions/logging"
	"selvedge.dev/logstore"
)

// str is a text of OTLP.
func str(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

// export is a request with records of a service.
func export(records ...*logspb.LogRecord) *logspb.LogsData {
	return &logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{Key: "service.name", Value: str("press")}, {Key: "service.instance.id", Value: str("7")}}},
		ScopeLogs: []*logspb.ScopeLogs{{
			Scope: &commonpb.InstrumentationScope{Name: "lib", Version: "1"}, LogRecords: records,
		}},
	}}}
}

// rec is a record with a text.
func rec(body string) *logspb.LogRecord {
	return &logspb.LogRecord{TimeUnixNano: uint64(noon.UnixNano()), Body: str(body)}
}

// otlp posts a request in protobuf and returns the answer.
func (w *world) otlp(who string, data *logspb.LogsData, header ...string) (int, []byte) {
	w.t.Helper()
	body, err := proto.Marshal(data)
	require.NoError(w.t, err)
	code, _, answer := w.send(who, http.MethodPost, "/v1/logs", string(body), append(header, "Content-Type: application/x-protobuf")...)
	return code, answer
}

// A record is the entry that the mapping says, in protobuf, JSON and over gRPC
// the same. SPEC A5
func TestOTLP_Mapping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := rec("pressed")
	r.SeverityNumber, r.Flags = logspb.SeverityNumber_SEVERITY_NUMBER_WARN, 1
	r.TraceId, r.SpanId = []byte("0123456789abcdef"), []byte("01234567")
	r.EventName = "press.done"
	r.Attributes = []*commonpb.KeyValue{
		{Key: "force", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: 1.5}}},
		{Key: "service.name", Value: str("mine")},
	}
	code, answer := w.otlp(project, export(r))
	require.Equal(t, http.StatusOK, code, "%s", answer)
	require.Empty(t, answer)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+project)
	require.NoError(t, w.conn.Invoke(ctx, logging.ExportProcedure, export(r), &emptypb.Empty{}))
	inJSON := `{"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "press"}}, {"key": "service.instance.id", "value": {"stringValue": "7"}}]},
		"scopeLogs": [{"scope": {"name": "lib", "version": "1"}, "logRecords": [{"timeUnixNano": "` + fmt.Sprint(noon.UnixNano()) + `", "severityNumber": 13, "flags": 1, "eventName": "press.done",
		"traceId": "30313233343536373839616263646566", "spanId": "3031323334353637", "body": {"stringValue": "pressed"}, "later": {},
		"attributes": [{"key": "force", "value": {"doubleValue": 1.5}}, {"key": "service.name", "value": {"stringValue": "mine"}}]}]}]}]}`
	code, _, text := w.send(project, http.MethodPost, "/opentelemetry/v1/logs", inJSON, "Content-Type: application/json")
	require.Equal(t, http.StatusOK, code, "%s", text)
	require.JSONEq(t, `{}`, string(text))

	got := w.listed(project, `{"resourceNames": ["projects/p"]}`)
	require.Len(t, got, 1, "the same request, three times, is there once")
	delete(got[0], "insertId")
	require.Equal(t, map[string]any{
		"logName": "projects/p/logs/otlp", "timestamp": "2026-06-01T12:00:00Z", "receiveTimestamp": "2026-06-01T12:00:00Z", "severity": "WARNING",
		"resource": map[string]any{"type": "generic_task", "labels": map[string]any{"project_id": "p", "location": "", "namespace": "", "job": "press", "task_id": "7"}},
		"labels": map[string]any{
			"service.name": "mine", "service.instance.id": "7", "otel.scope.name": "lib", "otel.scope.version": "1", "event.name": "press.done", "force": "1.5",
		},
		"trace": "projects/p/traces/30313233343536373839616263646566", "spanId": "3031323334353637", "traceSampled": true, "textPayload": "pressed",
	}, got[0])
}

// Every severity number has the severity of the table.
func TestOTLP_Severities(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*logspb.LogRecord
	for n := range 26 {
		r := rec(fmt.Sprintf("%02d", n))
		r.SeverityNumber = logspb.SeverityNumber(n)
		all = append(all, r)
	}
	for _, word := range []string{"Information", "warn", "FATAL", "notice", "7", "what"} {
		r := rec(word)
		r.SeverityText = word
		all = append(all, r)
	}
	code, _ := w.otlp(project, export(all...))
	require.Equal(t, http.StatusOK, code)
	got := map[string]string{}
	for _, e := range w.listed(project, `{"resourceNames": ["projects/p"]}`) {
		severity, _ := e["severity"].(string)
		got[severity] += " " + e["textPayload"].(string)
	}
	for severity, words := range got {
		fields := strings.Fields(words)
		got[severity] = fmt.Sprint(len(fields))
	}
	require.Equal(t, map[string]string{
		"": "4", "DEBUG": "8", "INFO": "3", "NOTICE": "3", "WARNING": "5", "ERROR": "4", "CRITICAL": "3", "ALERT": "1", "EMERGENCY": "1",
	}, got)
	require.Equal(t, []string{"21", "22", "FATAL"}, texts(w, `severity = CRITICAL`))
	require.Equal(t, []string{"11", "12", "notice"}, texts(w, `severity = NOTICE`))
}

// texts are the sorted texts of the entries that a filter selects.
func texts(w *world, filter string) []string {
	var out []string
	for _, word := range []string{"11", "12", "21", "22", "FATAL", "notice"} {
		if len(w.ids(project, filter+` AND textPayload = "`+word+`"`)) > 0 {
			out = append(out, word)
		}
	}
	return out
}

// Bodies that are no text have their forms.
func TestOTLP_Bodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kv := func(key string, v *commonpb.AnyValue) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{Values: []*commonpb.KeyValue{{Key: key, Value: v}}}}}
	}
	f := func(v *commonpb.AnyValue, want string) {
		t.Helper()
		r := rec("")
		r.Body = v
		r.Attributes = []*commonpb.KeyValue{{Key: "gcp.log_name", Value: str("mine")}, {Key: "log.record.uid", Value: str("u" + fmt.Sprint(len(want)))}}
		code, _ := w.otlp(project, export(r))
		require.Equal(t, http.StatusOK, code)
		got := w.listed(project, fmt.Sprintf(`{"resourceNames": ["projects/p"], "filter": "log_id(\"mine\") AND insertId = \"u%d\""}`, len(want)))
		require.Len(t, got, 1)
		have := map[string]any{}
		for _, key := range []string{"textPayload", "jsonPayload", "protoPayload"} {
			if got[0][key] != nil {
				have[key] = got[0][key]
			}
		}
		text, err := json.Marshal(have)
		require.NoError(t, err)
		require.JSONEq(t, want, string(text))
	}
	f(nil, `{}`)
	f(str("a"), `{"textPayload": "a"}`)
	f(kv("k", kv("deep", &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 1 << 60}})), `{"jsonPayload": {"k": {"deep": 1152921504606846976}}}`)
	f(&commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: true}}, `{"jsonPayload": {"value": true}}`)
	f(&commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: []*commonpb.AnyValue{str("x"), nil}}}}, `{"jsonPayload": {"value": ["x", null]}}`)
	f(&commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: []byte{0, 255}}}, `{"protoPayload": {"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": "AP8="}}`)
}

// What is refused is told in the answer, and counted; the others are kept.
func TestOTLP_PartialSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := rec(strings.Repeat("x", logstore.MaxSize+1))
	code, answer := w.otlp(project, export(rec("a"), bad, rec("b"), rec("b")))
	require.Equal(t, http.StatusOK, code)
	_, _, n := protowire.ConsumeTag(answer)
	partial, _ := protowire.ConsumeBytes(answer[n:])
	require.Equal(t, "\x08\x01\x12\x11ENTRY_TOO_LARGE=1", string(partial))
	require.Len(t, w.ids(project, ""), 3, "two that are the same are two")
	require.NoError(t, w.doors.Tell(t.Context()))
	totals, err := w.losses.Totals(t.Context(), "p")
	require.NoError(t, err)
	require.Len(t, totals, 1)
	require.Equal(t, "logging-otlp ENTRY_TOO_LARGE 1", fmt.Sprint(totals[0].Stream, " ", totals[0].Reason, " ", totals[0].Count))

	status401, _ := w.otlp("", export(rec("a")))
	require.Equal(t, http.StatusUnauthorized, status401)
	code, _ = w.otlp("projects/q", export(rec("a")), "X-Selvedge-Project: p")
	require.Equal(t, http.StatusForbidden, code)
	code, answer = w.otlp(admin, export(rec("a")))
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, string(answer), "X-Selvedge-Project")
	code, _ = w.otlp(admin, export(rec("a")), "X-Selvedge-Project: p")
	require.Equal(t, http.StatusOK, code)

	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer projects/q", "x-selvedge-project", "p")
	err = w.conn.Invoke(ctx, logging.ExportProcedure, export(rec("a")), &emptypb.Empty{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	code, _, _ = w.send(project, http.MethodPost, "/v1/logs", "x", "Content-Type: text/plain")
	require.Equal(t, http.StatusUnsupportedMediaType, code)
	code, _, _ = w.send(project, http.MethodPost, "/v1/logs", "\x0a", "Content-Type: application/x-protobuf")
	require.Equal(t, http.StatusBadRequest, code)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write(make([]byte, 64<<20))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	code, _, _ = w.send(project, http.MethodPost, "/v1/logs", packed.String(), "Content-Type: application/x-protobuf", "Content-Encoding: gzip")
	require.Equal(t, http.StatusRequestEntityTooLarge, code)
}

// Whatever is posted has an answer.
func FuzzOTLP(f *testing.F) {
	w := newWorld(f)
	body, err := proto.Marshal(export(rec("a")))
	require.NoError(f, err)
	f.Add(body, true)
	f.Add([]byte(`{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": "30", "body": {"arrayValue": {"values": [{}]}}}]}]}]}`), false)
	f.Fuzz(func(t *testing.T, body []byte, binary bool) {
		media := map[bool]string{true: "application/x-protobuf", false: "application/json"}[binary]
		code, _, text := w.of(t).send(project, http.MethodPost, "/v1/logs", string(body), "Content-Type: "+media)
		require.Contains(t, []int{http.StatusOK, http.StatusBadRequest, http.StatusRequestEntityTooLarge}, code, "%s", text)
	})
}
