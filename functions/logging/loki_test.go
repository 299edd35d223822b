package logging_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/sdk/fault"
)

// packed is a body in snappy's block format, as literals.
func packed(body []byte) string {
	out := binary.AppendUvarint(nil, uint64(len(body)))
	for part := range slices.Chunk(body, 1<<16) {
		out = append(out, 61<<2, byte(len(part)-1), byte((len(part)-1)>>8))
		out = append(out, part...)
	}
	return string(out)
}

// field is a field of a message that has a length.
func field(n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), v)
}

// line is a logproto.Entry at noon.
func line(text string, labels ...string) []byte {
	at := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(noon.Unix()))
	at = protowire.AppendVarint(protowire.AppendTag(at, 2, protowire.VarintType), 7)
	out := append(field(1, at), field(2, []byte(text))...)
	for i := 0; i < len(labels); i += 2 {
		out = append(out, field(3, append(field(1, []byte(labels[i])), field(2, []byte(labels[i+1]))...))...)
	}
	return out
}

// push posts a logproto.PushRequest of one stream.
func (w *world) push(who, stream string, lines ...[]byte) (int, []byte) {
	w.t.Helper()
	body := field(1, []byte(stream))
	for _, l := range lines {
		body = append(body, field(2, l)...)
	}
	code, _, text := w.send(who, http.MethodPost, "/loki/api/v1/push", packed(field(1, body)), "Content-Type: application/x-protobuf")
	return code, text
}

// A line is the entry that the mapping says, in protobuf and in JSON the same.
// SPEC A5
func TestLoki_Mapping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code, text := w.push(project, `{job="press", instance="7", level="warn", q="a\"}"}`, line("pressed", "trace_id", "30313233343536373839616263646566", "user", "ann"))
	require.Equal(t, http.StatusNoContent, code, "%s", text)
	inJSON := fmt.Sprintf(`{"streams": [{"stream": {"job": "press", "instance": "7", "level": "warn", "q": "a\"}"},
		"values": [["%d", "pressed", {"trace_id": "30313233343536373839616263646566", "user": "ann"}], ["%[1]d", "two"]]}]}`, noon.UnixNano()+7)
	code, _, text = w.send(project, http.MethodPost, "/loki/api/v1/push", inJSON, "Content-Type: application/json; charset=utf-8")
	require.Equal(t, http.StatusNoContent, code, "%s", text)
	got := w.listed(project, `{"resourceNames": ["projects/p"], "filter": "SEARCH(\"pressed\")"}`)
	require.Len(t, got, 1, "the same line again is no second one")
	delete(got[0], "insertId")
	require.Equal(t, map[string]any{
		"logName": "projects/p/logs/loki", "timestamp": "2026-06-01T12:00:00.000000007Z", "receiveTimestamp": "2026-06-01T12:00:00Z", "severity": "WARNING",
		"resource": map[string]any{"type": "generic_task", "labels": map[string]any{"project_id": "p", "location": "", "namespace": "", "job": "press", "task_id": "7"}},
		"labels": map[string]any{
			"job": "press", "instance": "7", "level": "warn", "q": `a"}`, "trace_id": "30313233343536373839616263646566", "user": "ann",
		},
		"trace": "projects/p/traces/30313233343536373839616263646566", "textPayload": "pressed",
	}, got[0])
	require.Len(t, w.ids(project, ""), 2)
}

// The severity of a line is that of its level, what it is about follows from its
// labels.
func TestLoki_LevelsAndResources(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := 0
	f := func(labels, want string) {
		t.Helper()
		n++
		code, text := w.push(project, labels, line(fmt.Sprint("line", n)))
		require.Equal(t, http.StatusNoContent, code, "%s", text)
		got := w.listed(project, fmt.Sprintf(`{"resourceNames": ["projects/p"], "filter": "textPayload = line%d"}`, n))
		require.Len(t, got, 1)
		of := got[0]["resource"].(map[string]any)
		about := of["labels"].(map[string]any)
		delete(about, "project_id")
		severity, _ := got[0]["severity"].(string)
		require.Equal(t, want, fmt.Sprint(severity, " ", of["type"], " ", about))
	}
	f(`{}`, " global map[]")
	f(`{level="TRACE"}`, "DEBUG global map[]")
	f(`{detected_level="info"}`, "INFO global map[]")
	f(`{severity="err"}`, "ERROR global map[]")
	f(`{level="fatal", severity="debug"}`, "CRITICAL global map[]")
	f(`{level="emerg"}`, "EMERGENCY global map[]")
	f(`{level="loud"}`, " global map[]")
	f(`{device_id="d1", job="x"}`, " device map[device_id:d1]")
	f(`{service_name="s", pod="p"}`, " generic_task map[job:s location: namespace: task_id:p]")
	f(`{hostname="h", namespace="n"}`, " generic_node map[location: namespace:n node_id:h]")
}

// Malformed pushes are refused as a whole, lines that cannot be are told.
func TestLoki_Errors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := func(who, media, body string, want int, reason string) {
		t.Helper()
		code, _, text := w.send(who, http.MethodPost, "/loki/api/v1/push", body, "Content-Type: "+media)
		require.Equal(t, want, code, "%s", text)
		require.Equal(t, reason, fault.Parse("", code, text).Reason, "%s", text)
	}
	const inJSON, inProto = "application/json", "application/x-protobuf"
	f(project, "text/plain", "x", 415, "UNSUPPORTED_MEDIA_TYPE")
	f(project, inJSON, "x", 400, "MALFORMED_BODY")
	f(project, inJSON, `{"streams": [{"values": [["x", "line"]]}]}`, 400, "MALFORMED_BODY")
	f(project, inJSON, `{"streams": [{"values": [["1"]]}]}`, 400, "MALFORMED_BODY")
	f(project, inJSON, `{"streams": [{"values": [["1", 2]]}]}`, 400, "MALFORMED_BODY")
	f(project, inProto, packed(field(1, field(1, []byte(`{a}`)))), 400, "MALFORMED_BODY")
	f(project, inProto, packed(field(1, field(1, []byte(`{a="b"`)))), 400, "MALFORMED_BODY")
	f(project, inProto, packed(field(1, field(1, []byte(`a="b"`)))), 400, "MALFORMED_BODY")
	f(project, inProto, packed([]byte{0x0a}), 400, "MALFORMED_BODY")
	f("", inJSON, `{"streams": []}`, 401, "UNAUTHENTICATED")
	code, _ := w.push(project, `{a="b"}`, line("good"), line(strings.Repeat("x", 300<<10)))
	require.Equal(t, http.StatusBadRequest, code)
	require.Len(t, w.ids(project, ""), 1)
}

// Whatever is posted has an answer.
func FuzzLoki(f *testing.F) {
	w := newWorld(f)
	f.Add([]byte(packed(field(1, append(field(1, []byte(`{a="b"}`)), field(2, line("x", "k", "v"))...)))), true)
	f.Add([]byte(`{"streams": [{"stream": {"a": "b"}, "values": [["1", "x", {"k": "v"}]]}]}`), false)
	f.Fuzz(func(t *testing.T, body []byte, binary bool) {
		media := map[bool]string{true: "application/x-protobuf", false: "application/json"}[binary]
		code, _, text := w.of(t).send(project, http.MethodPost, "/loki/api/v1/push", string(body), "Content-Type: "+media)
		require.Contains(t, []int{http.StatusNoContent, http.StatusBadRequest, http.StatusRequestEntityTooLarge}, code, "%s", text)
	})
}
