package otel

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"selvedge.dev/tests/process"
)

// selvedge is the program under test, built once by TestMain.
var selvedge string

// TestMain builds the program.
func TestMain(m *testing.M) {
	os.Exit(process.Main(m, func(ctx context.Context, dir string) (err error) {
		selvedge, err = process.Build(ctx, dir, "local")
		return err
	}))
}

// server is a platform and a key of its project.
type server struct {
	*process.Platform
	key string
}

// start starts a platform.
func start(t *testing.T) server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := process.Start(ctx, selvedge, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() }) // it may have ended already
	key, err := p.Key(ctx, "projects/default")
	require.NoError(t, err)
	return server{p, key}
}

// host is the address as exporters want it.
func (s server) host() string { return strings.TrimPrefix(s.URL, "http://") }

// headers are what an exporter is given to prove who it is.
func (s server) headers() map[string]string {
	return map[string]string{"authorization": "Bearer " + s.key}
}

// overGRPC is the exporter that speaks gRPC.
func (s server) overGRPC(t *testing.T, o ...otlpmetricgrpc.Option) sdk.Exporter {
	t.Helper()
	all := append([]otlpmetricgrpc.Option{
		otlpmetricgrpc.WithEndpoint(s.host()), otlpmetricgrpc.WithInsecure(), otlpmetricgrpc.WithHeaders(s.headers()),
	}, o...)
	e, err := otlpmetricgrpc.New(t.Context(), all...)
	require.NoError(t, err)
	return e
}

// overHTTP is the exporter that speaks protobuf over HTTP.
func (s server) overHTTP(t *testing.T, o ...otlpmetrichttp.Option) sdk.Exporter {
	t.Helper()
	all := append([]otlpmetrichttp.Option{
		otlpmetrichttp.WithEndpoint(s.host()), otlpmetrichttp.WithInsecure(), otlpmetrichttp.WithHeaders(s.headers()),
	}, o...)
	e, err := otlpmetrichttp.New(t.Context(), all...)
	require.NoError(t, err)
	return e
}

// meter is a meter whose measurements go to the exporter when flush is called.
func meter(t *testing.T, e sdk.Exporter) (m metric.Meter, flush func() error) {
	t.Helper()
	p := sdk.NewMeterProvider(
		sdk.WithReader(sdk.NewPeriodicReader(e, sdk.WithInterval(time.Hour))),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.namespace", "plant"), attribute.String("service.name", "press"), attribute.String("service.instance.id", "7"))))
	t.Cleanup(func() { _ = p.Shutdown(context.WithoutCancel(t.Context())) }) // what it flushes again is there already, or refused again
	return p.Meter("tests"), func() error { return p.ForceFlush(t.Context()) }
}

// series are the series of a metric as Google's API tells them: KIND TYPE UNIT,
// the labels, and the newest value.
func (s server) series(t *testing.T, name string) []string {
	t.Helper()
	type labelled struct {
		Type   string
		Labels map[string]string
	}
	var list struct {
		TimeSeries []struct {
			Metric, Resource            labelled
			MetricKind, ValueType, Unit string
			Points                      []struct{ Value map[string]any }
		}
	}
	now := time.Now()
	q := url.Values{
		"filter":             {fmt.Sprintf("metric.type = %q", name)},
		"interval.startTime": {now.Add(-time.Hour).UTC().Format(time.RFC3339)}, "interval.endTime": {now.UTC().Format(time.RFC3339Nano)},
	}
	require.NoError(t, s.Client(s.key).Call(t.Context(), http.MethodGet, "/v3/projects/default/timeSeries", q, nil, &list))
	out := []string{}
	for _, ts := range list.TimeSeries {
		require.Equal(t, labelled{"prometheus_target", map[string]string{"project_id": "default", "job": "plant/press", "instance": "7"}}, ts.Resource)
		value := ""
		for _, v := range ts.Points[0].Value {
			value = fmt.Sprint(v)
			if d, ok := v.(map[string]any); ok {
				value = fmt.Sprint("count ", d["count"], " mean ", d["mean"])
			}
		}
		out = append(out, fmt.Sprint(ts.MetricKind, " ", ts.ValueType, " ", ts.Unit, " ", ts.Metric.Labels, " ", value))
	}
	return out
}

// deltas is a temporality selector by which counters tell what came since the
// last time.
func deltas(sdk.InstrumentKind) metricdata.Temporality { return metricdata.DeltaTemporality }

// Every instrument of numbers, over both protocols, packed and not.
func TestSDK_Numbers(t *testing.T) {
	t.Parallel()
	s := start(t)
	f := func(name string, e sdk.Exporter, counterKind string) {
		t.Helper()
		m, flush := meter(t, e)
		parts, err := m.Int64Counter(name+".parts", metric.WithUnit("{part}"))
		require.NoError(t, err)
		energy, err := m.Float64Counter(name+".energy", metric.WithUnit("J"))
		require.NoError(t, err)
		queue, err := m.Int64UpDownCounter(name + ".queue")
		require.NoError(t, err)
		heat, err := m.Float64Gauge(name+".heat", metric.WithUnit("Cel"))
		require.NoError(t, err)
		_, err = m.Int64ObservableGauge(name+".level", metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(9, metric.WithAttributes(attribute.Bool("full", false)))
			return nil
		}))
		require.NoError(t, err)
		left := metric.WithAttributes(attribute.String("line", "left"))
		ctx := t.Context()
		parts.Add(ctx, 3, left)
		parts.Add(ctx, 4, left)
		energy.Add(ctx, 1.5)
		queue.Add(ctx, 5)
		queue.Add(ctx, -2)
		heat.Record(ctx, 21.5, left)
		require.NoError(t, flush())
		require.Equal(t, []string{counterKind + " INT64 {part} map[line:left] 7"}, s.series(t, name+".parts"))
		require.Equal(t, []string{counterKind + " DOUBLE J map[] 1.5"}, s.series(t, name+".energy"))
		require.Equal(t, []string{"GAUGE DOUBLE Cel map[line:left] 21.5"}, s.series(t, name+".heat"))
		require.Equal(t, []string{"GAUGE INT64  map[full:false] 9"}, s.series(t, name+".level"))
		if counterKind == "CUMULATIVE" {
			require.Equal(t, []string{"GAUGE INT64  map[] 3"}, s.series(t, name+".queue"))
		}
	}
	f("grpc", s.overGRPC(t), "CUMULATIVE")
	f("grpc.gzip", s.overGRPC(t, otlpmetricgrpc.WithCompressor("gzip")), "CUMULATIVE")
	f("grpc.delta", s.overGRPC(t, otlpmetricgrpc.WithTemporalitySelector(deltas)), "DELTA")
	f("http", s.overHTTP(t), "CUMULATIVE")
	f("http.gzip", s.overHTTP(t, otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression), otlpmetrichttp.WithURLPath("/opentelemetry/v1/metrics")), "CUMULATIVE")
	f("http.delta", s.overHTTP(t, otlpmetrichttp.WithTemporalitySelector(deltas)), "DELTA")
}

// exponential is an aggregation selector by which histograms choose their
// buckets themselves.
func exponential(kind sdk.InstrumentKind) sdk.Aggregation {
	if kind == sdk.InstrumentKindHistogram {
		return sdk.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}
	}
	return sdk.DefaultAggregationSelector(kind)
}

// Histograms are distributions, with buckets of their own and of the SDK's.
func TestSDK_Histograms(t *testing.T) {
	t.Parallel()
	s := start(t)
	f := func(name string, e sdk.Exporter, kind string) {
		t.Helper()
		m, flush := meter(t, e)
		latency, err := m.Float64Histogram(name+".latency", metric.WithUnit("ms"))
		require.NoError(t, err)
		for _, v := range []float64{2, 4, 30} {
			latency.Record(t.Context(), v, metric.WithAttributes(attribute.String("line", "left")))
		}
		require.NoError(t, flush())
		require.Equal(t, []string{kind + " DISTRIBUTION ms map[line:left] count 3 mean 12"}, s.series(t, name+".latency"))
	}
	f("grpc", s.overGRPC(t), "CUMULATIVE")
	f("grpc.exponential", s.overGRPC(t, otlpmetricgrpc.WithAggregationSelector(exponential)), "CUMULATIVE")
	f("grpc.delta", s.overGRPC(t, otlpmetricgrpc.WithTemporalitySelector(deltas)), "DELTA")
	f("http", s.overHTTP(t), "CUMULATIVE")
	f("http.exponential", s.overHTTP(t, otlpmetrichttp.WithAggregationSelector(exponential)), "CUMULATIVE")
}

// The SDK learns of points that were refused, and the others are kept.
func TestSDK_PartialSuccess(t *testing.T) {
	t.Parallel()
	s := start(t)
	f := func(name string, e sdk.Exporter) {
		t.Helper()
		m, flush := meter(t, e)
		heat, err := m.Float64Gauge(name + ".heat")
		require.NoError(t, err)
		heat.Record(t.Context(), math.NaN(), metric.WithAttributes(attribute.String("line", "left")))
		heat.Record(t.Context(), 4, metric.WithAttributes(attribute.String("line", "right")))
		err = flush()
		require.ErrorContains(t, err, "partial success")
		require.ErrorContains(t, err, "NOT_FINITE=1")
		require.ErrorContains(t, err, "(1 metric")
		require.Equal(t, []string{"GAUGE DOUBLE  map[line:right] 4"}, s.series(t, name+".heat"))
	}
	f("grpc", s.overGRPC(t))
	f("http", s.overHTTP(t))
}

// A wrong key, and a project that is not the key's, are refused at once.
func TestSDK_Credentials(t *testing.T) {
	t.Parallel()
	s := start(t)
	f := func(e sdk.Exporter, want string) {
		t.Helper()
		m, flush := meter(t, e)
		heat, err := m.Float64Gauge("heat")
		require.NoError(t, err)
		heat.Record(t.Context(), 1)
		begin := time.Now()
		err = flush()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), s.key)
		require.Less(t, time.Since(begin), 4*time.Second, "it is not tried again, for which the SDK waits five seconds")
	}
	wrong := map[string]string{"authorization": "Bearer wrong-wrong-wrong"}
	other := map[string]string{"authorization": "Bearer " + s.key, "x-selvedge-project": "other"}
	f(s.overGRPC(t, otlpmetricgrpc.WithHeaders(wrong)), "Unauthenticated")
	f(s.overGRPC(t, otlpmetricgrpc.WithHeaders(other)), "PermissionDenied")
	f(s.overGRPC(t, otlpmetricgrpc.WithHeaders(nil)), "Unauthenticated")
	f(s.overHTTP(t, otlpmetrichttp.WithHeaders(wrong)), "401")
	f(s.overHTTP(t, otlpmetrichttp.WithHeaders(other)), "403")
}
