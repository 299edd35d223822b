package otel

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
)

// record is a record of the SDK at a time.
func record(at time.Time, severity otellog.Severity, body attribute.Value, attributes ...attribute.KeyValue) otellog.Record {
	var r otellog.Record
	r.SetTimestamp(at)
	r.SetSeverity(severity)
	r.SetBody(body)
	r.AddAttributes(attributes...)
	return r
}

// entry is an entry as Google's API tells it.
type entry struct {
	LogName, Severity, TextPayload string
	JSONPayload                    map[string]any
	Labels                         map[string]string
	Resource                       struct {
		Type   string
		Labels map[string]string
	}
}

// entries are the entries that a filter selects.
func (s server) entries(t *testing.T, filter string) []entry {
	t.Helper()
	var list struct{ Entries []entry }
	require.NoError(t, s.Client(s.key).Call(t.Context(), http.MethodPost, "/v2/entries:list", nil,
		map[string]any{"resourceNames": []string{"projects/default"}, "filter": filter}, &list))
	return list.Entries
}

// The stock SDK's records arrive over both protocols, packed and not, with their
// severities, labels and bodies. SPEC A5
func TestSDK_Logs(t *testing.T) {
	t.Parallel()
	s := start(t)
	f := func(name string, e sdklog.Exporter, err error) {
		t.Helper()
		require.NoError(t, err)
		p := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(e)),
			sdklog.WithResource(resource.NewSchemaless(attribute.String("service.namespace", "plant"), attribute.String("service.name", name), attribute.String("service.instance.id", "7"))))
		logger, at := p.Logger("tests"), time.Now()
		logger.Emit(t.Context(), record(at, otellog.SeverityWarn2, attribute.StringValue("too hot"), attribute.Float64("heat", 71.5)))
		logger.Emit(t.Context(), record(at, otellog.SeverityInfo, attribute.MapValue(attribute.Int("n", 3), attribute.Map("deep", attribute.Bool("yes", true)))))
		require.NoError(t, p.Shutdown(t.Context()))
		got := s.entries(t, `resource.labels.job = "`+name+`" AND severity = WARNING`)
		require.Len(t, got, 1)
		require.Equal(t, "projects/default/logs/otlp too hot", got[0].LogName+" "+got[0].TextPayload)
		require.Equal(t, map[string]string{
			"heat": "71.5", "otel.scope.name": "tests", "service.namespace": "plant", "service.name": name, "service.instance.id": "7",
		}, got[0].Labels)
		require.Equal(t, "generic_task", got[0].Resource.Type)
		require.Equal(t, "7", got[0].Resource.Labels["task_id"])
		got = s.entries(t, `resource.labels.job = "`+name+`" AND jsonPayload.deep.yes = true AND jsonPayload.n > 2`)
		require.Len(t, got, 1)
		require.Equal(t, "INFO", got[0].Severity)
	}
	ctx := t.Context()
	overGRPC := []otlploggrpc.Option{otlploggrpc.WithEndpoint(s.host()), otlploggrpc.WithInsecure(), otlploggrpc.WithHeaders(s.headers())}
	overHTTP := []otlploghttp.Option{otlploghttp.WithEndpoint(s.host()), otlploghttp.WithInsecure(), otlploghttp.WithHeaders(s.headers())}
	grpc, err := otlploggrpc.New(ctx, overGRPC...)
	f("grpc", grpc, err)
	grpc, err = otlploggrpc.New(ctx, append(overGRPC, otlploggrpc.WithCompressor("gzip"))...)
	f("grpc.gzip", grpc, err)
	plain, err := otlploghttp.New(ctx, overHTTP...)
	f("http", plain, err)
	plain, err = otlploghttp.New(ctx, append(overHTTP, otlploghttp.WithCompression(otlploghttp.GzipCompression), otlploghttp.WithURLPath("/opentelemetry/v1/logs"))...)
	f("http.gzip", plain, err)
}

// The SDK learns of records that were refused, and the others are kept.
func TestSDK_LogsPartialSuccess(t *testing.T) {
	t.Parallel()
	s := start(t)
	e, err := otlploghttp.New(t.Context(), otlploghttp.WithEndpoint(s.host()), otlploghttp.WithInsecure(), otlploghttp.WithHeaders(s.headers()))
	require.NoError(t, err)
	at := time.Now()
	err = e.Export(t.Context(), []sdklog.Record{})
	require.NoError(t, err)
	var seen error
	p := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(listening{e, &seen})))
	logger := p.Logger("tests")
	logger.Emit(t.Context(), record(at, otellog.SeverityInfo, attribute.StringValue(strings.Repeat("x", 300<<10))))
	require.ErrorContains(t, seen, "ENTRY_TOO_LARGE=1")
	logger.Emit(t.Context(), record(at, otellog.SeverityInfo, attribute.StringValue("good")))
	require.Len(t, s.entries(t, `"good"`), 1)
	require.NoError(t, p.Shutdown(t.Context()))
}

// listening is an exporter that remembers its last error.
type listening struct {
	sdklog.Exporter
	seen *error
}

// Export implements sdklog.Exporter.
func (e listening) Export(ctx context.Context, records []sdklog.Record) error {
	*e.seen = e.Exporter.Export(ctx, records)
	return nil
}
