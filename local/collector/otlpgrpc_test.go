package collector_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // which the compressor of a call names
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/local/collector"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// plain is a codec of messages that are bytes already.
type plain struct{}

// Name implements encoding.Codec.
func (plain) Name() string { return "proto" }

// Marshal implements encoding.Codec.
func (plain) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

// Unmarshal implements encoding.Codec.
func (plain) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// serve serves the doors to a principal of a project, with HTTP/2 in the clear.
func (h *harness) serve(t *testing.T) *httptest.Server {
	t.Helper()
	r := chi.NewRouter()
	r.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := iam.ParsePrincipal("projects/p")
			if err == nil && r.Header.Get("Authorization") != "" {
				r = r.WithContext(iam.WithPrincipal(r.Context(), p))
			}
			next.ServeHTTP(w, r)
		})
	})
	h.Routes(r)
	srv := httptest.NewUnstartedServer(r)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// gauge is an ExportMetricsServiceRequest with one gauge, whose points have the
// value 1 if they are said to have one.
func gauge(name string, values ...bool) []byte {
	field := func(dst []byte, n protowire.Number, data []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(dst, n, protowire.BytesType), data)
	}
	var points []byte
	for _, v := range values {
		point := protowire.AppendFixed64([]byte{3<<3 | 1}, uint64(time.Now().UnixNano()))
		if v {
			point = protowire.AppendFixed64(append(point, 4<<3|1), 0x3ff0000000000000)
		}
		points = field(points, 1, point)
	}
	return field(nil, 1, field(nil, 2, field(nil, 2, field(field(nil, 1, []byte(name)), 5, points))))
}

// OTLP/gRPC: answers, partial success, and which errors a client may try again.
func TestExport_GRPC(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir(), collector.Options{})
	conn, err := grpc.NewClient(strings.TrimPrefix(h.serve(t).URL, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	export := func(ctx context.Context, message []byte, o ...grpc.CallOption) ([]byte, error) {
		var answer []byte
		err := conn.Invoke(ctx, collector.ExportProcedure, message, &answer, o...)
		return answer, err
	}
	known := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer x")

	answer, err := export(known, gauge("a", true))
	require.NoError(t, err)
	require.Empty(t, answer)
	answer, err = export(known, gauge("b", true, false, false), grpc.UseCompressor("gzip"))
	require.NoError(t, err)
	partial := append([]byte{1 << 3, 2, 2<<3 | 2, 10}, "NO_VALUE=2"...)
	require.Equal(t, protowire.AppendBytes([]byte{1<<3 | 2}, partial), answer)
	require.Equal(t, []string{"a 1", "b 1"}, h.stored(t, "p"))

	f := func(ctx context.Context, message []byte, code codes.Code, retry bool, o ...grpc.CallOption) {
		t.Helper()
		_, err := export(ctx, message, o...)
		require.Equal(t, code, status.Code(err), "%v", err)
		found := false
		for _, d := range status.Convert(err).Details() {
			info, ok := d.(*errdetails.RetryInfo)
			found = found || ok && info.GetRetryDelay().GetSeconds() > 0
		}
		require.Equal(t, retry, found)
	}
	f(t.Context(), gauge("c", true), codes.Unauthenticated, false)
	f(metadata.AppendToOutgoingContext(known, "x-selvedge-project", "q"), gauge("c", true), codes.PermissionDenied, false)
	f(known, []byte("junk"), codes.InvalidArgument, false)
	f(known, make([]byte, 9<<20), codes.ResourceExhausted, false)
	f(known, make([]byte, 9<<20), codes.ResourceExhausted, false, grpc.UseCompressor("gzip")) // packs to nine kilobytes
	h.series.fail(&fault.Error{Kind: fault.Unavailable, Err: errors.New("gone")}, nil)
	f(known, gauge("c", true), codes.Unavailable, true)
	h.series.fail(&fault.Error{Kind: fault.Exhausted, Err: errors.New("full")}, nil)
	f(known, gauge("c", true), codes.ResourceExhausted, true)
	h.series.fail(nil, nil)
	f(known, gauge("d", true), codes.OK, false)
	require.Equal(t, []string{"a 1", "b 1", "d 1"}, h.stored(t, "p"))
	require.NoError(t, h.Sync(t.Context()))
	require.Equal(t, map[string]int{"p collector-otlp NO_VALUE": 2}, h.ledger.totals())
}

// Connect's clients call the same method, also in JSON.
func TestExport_Connect(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir(), collector.Options{})
	f := func(contentType, body string, status int, want string) {
		t.Helper()
		w := h.post(t, call{"projects/p", collector.ExportProcedure, body, map[string]string{"Content-Type": contentType}})
		require.Equal(t, status, w.Code, w.Body)
		require.Contains(t, w.Body.String(), want)
	}
	const inJSON = `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":%q,"gauge":{"dataPoints":[{"asInt":"1"}%s]}}]}]}]}`
	f("application/json", fmt.Sprintf(inJSON, "a", ""), 200, "{}")
	f("application/json; charset=utf-8", fmt.Sprintf(inJSON, "b", ",{}"), 200, `{"partialSuccess":{"errorMessage":"NO_VALUE=1","rejectedDataPoints":"1"}}`)
	f("application/proto", string(gauge("c", true)), 200, "")
	f("application/json", "[]", 400, `"code":"invalid_argument"`)
	f("text/plain", "", 415, "")
	require.Equal(t, []string{"a 1", "b 1", "c 1"}, h.stored(t, "p"))
}
