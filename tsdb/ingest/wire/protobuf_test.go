package wire_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb/ingest/wire"
)

// promSeries is a series of remote write by the encoder of VictoriaMetrics.
func promSeries(labels []string, samples ...prompb.Sample) prompb.TimeSeries {
	var ts prompb.TimeSeries
	for i := 0; i < len(labels); i += 2 {
		ts.Labels = append(ts.Labels, prompb.Label{Name: labels[i], Value: labels[i+1]})
	}
	ts.Samples = samples
	return ts
}

// writeRequest is a body of remote write 1 with many series like those of a
// scrape.
func writeRequest(series, samples int) []byte {
	var wr prompb.WriteRequest
	for i := range series {
		ts := promSeries([]string{
			"__name__", "node_cpu_seconds_total", "cpu", fmt.Sprint(i % 8), "instance", fmt.Sprintf("host-%d:9100", i/8), "job", "node", "mode", "idle",
		})
		for j := range samples {
			ts.Samples = append(ts.Samples, prompb.Sample{Value: float64(i*1000 + j), Timestamp: int64(now) - int64(j)*15_000})
		}
		wr.Timeseries = append(wr.Timeseries, ts)
	}
	return wr.MarshalProtobuf(nil)
}

// msg2 appends a field of bytes.
func msg2(dst []byte, number protowire.Number, data []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), data)
}

// int2 appends a field of a varint.
func int2(dst []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), v)
}

// series2 is a TimeSeries of remote write 2.
func series2(refs []uint64, kind, unit uint64, samples ...prompb.Sample) []byte {
	var packed, ts []byte
	for _, r := range refs {
		packed = protowire.AppendVarint(packed, r)
	}
	ts = msg2(ts, 1, packed)
	for _, s := range samples {
		data := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(s.Value))
		ts = msg2(ts, 2, int2(data, 2, uint64(s.Timestamp)))
	}
	return msg2(ts, 5, int2(int2(nil, 1, kind), 4, unit))
}

// request2 is a Request of remote write 2.
func request2(symbols []string, series ...[]byte) []byte {
	var out []byte
	for _, s := range symbols {
		out = msg2(out, 4, []byte(s))
	}
	for _, ts := range series {
		out = msg2(out, 5, ts)
	}
	return out
}

// writeRequest2 is a body of remote write 2 with many series.
func writeRequest2(n int) []byte {
	symbols := []string{"", "__name__", "up_total", "instance"}
	var series [][]byte
	for i := range n {
		symbols = append(symbols, fmt.Sprintf("host-%d:9100", i))
		series = append(series, series2([]uint64{1, 2, 3, uint64(4 + i)}, 1, 0, prompb.Sample{Value: 1, Timestamp: int64(now)}))
	}
	return request2(symbols, series...)
}

func TestRemoteWrite1_Points(t *testing.T) {
	t.Parallel()
	at := int64(now)
	wr := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
		promSeries([]string{"__name__", "http_requests_total", "code", "200", "instance", "i:1", "job", "j"},
			prompb.Sample{Value: 1, Timestamp: at - 1}, prompb.Sample{Value: 2, Timestamp: at}),
		promSeries([]string{"__name__", "rpc_seconds_bucket", "le", "0.5", "device", "d1"}, prompb.Sample{Value: 3, Timestamp: at}),
		promSeries([]string{"__name__", "up", "empty", ""}, prompb.Sample{Value: 1, Timestamp: at}),
		promSeries([]string{"__name__", "up", "empty", ""}, prompb.Sample{Value: math.Float64frombits(0x7ff0000000000002), Timestamp: at}),
		promSeries([]string{"__name__", "up"}, prompb.Sample{Value: math.NaN(), Timestamp: at}, prompb.Sample{Value: math.Inf(1), Timestamp: at}),
		promSeries([]string{"__name__", "up"}, prompb.Sample{Value: 1, Timestamp: at + 49*3_600_000}, prompb.Sample{Value: 1, Timestamp: 0}),
		promSeries([]string{"no", "name"}, prompb.Sample{Value: 1, Timestamp: at}),
		promSeries([]string{"__name__", "twice", "a", "1", "a", "2"}, prompb.Sample{Value: 1, Timestamp: at}),
	}}
	d := newDecoder(wire.Options{})
	for range 2 {
		b, err := decode(t, d, wire.RemoteWrite1, wr.MarshalProtobuf(nil))
		require.NoError(t, err)
		require.Equal(t, []string{
			"http_requests_total{code=200} prometheus_target{instance=i:1,job=j} CUMULATIVE DOUBLE -1 1",
			"http_requests_total{code=200} prometheus_target{instance=i:1,job=j} CUMULATIVE DOUBLE +0 2",
			"rpc_seconds_bucket{le=0.5} device{device_id=d1} CUMULATIVE DOUBLE +0 3",
			"up{} generic_node{} GAUGE DOUBLE +0 1",
		}, printed(b))
		require.Equal(t, "INVALID_LABEL=1, INVALID_METRIC=1, NOT_FINITE=2, TOO_FAR_IN_FUTURE=1, TOO_OLD=1", losses(b))
	}
}

func TestRemoteWrite1_MetadataSaysTheKind(t *testing.T) {
	t.Parallel()
	d := newDecoder(wire.Options{})
	b, err := decode(t, d, wire.RemoteWrite1, (&prompb.WriteRequest{Metadata: []prompb.MetricMetadata{
		{Type: prompb.MetricTypeCounter, MetricFamilyName: "hits"},
		{Type: prompb.MetricTypeGauge, MetricFamilyName: "odd_total"},
		{Type: prompb.MetricTypeSummary, MetricFamilyName: "lat", Unit: "s"},
		{Type: prompb.MetricTypeUnknown, MetricFamilyName: "what"},
	}}).MarshalProtobuf(nil))
	require.NoError(t, err)
	require.Empty(t, b.Samples)
	require.Empty(t, b.Losses)
	var wr prompb.WriteRequest
	for _, name := range []string{"hits", "odd_total", "lat", "lat_sum", "lat_count", "what", "hits_count"} {
		wr.Timeseries = append(wr.Timeseries, promSeries([]string{"__name__", name}, prompb.Sample{Timestamp: int64(now)}))
	}
	b, err = decode(t, d, wire.RemoteWrite1, wr.MarshalProtobuf(nil))
	require.NoError(t, err)
	require.Equal(t, []string{
		"hits{} generic_node{} CUMULATIVE DOUBLE +0 0", "odd_total{} generic_node{} GAUGE DOUBLE +0 0", "lat{} generic_node{} GAUGE DOUBLE +0 0",
		"lat_sum{} generic_node{} CUMULATIVE DOUBLE +0 0", "lat_count{} generic_node{} CUMULATIVE DOUBLE +0 0",
		"what{} generic_node{} GAUGE DOUBLE +0 0", "hits_count{} generic_node{} GAUGE DOUBLE +0 0",
	}, printed(b))
}

// TestRemoteWrite1_Histograms shows that native histograms are refused one by
// one, and that labels may stand anywhere.
func TestRemoteWrite1_Histograms(t *testing.T) {
	t.Parallel()
	label := func(name, value string) []byte { return msg2(msg2(nil, 1, []byte(name)), 2, []byte(value)) }
	point := int2(protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(5)), 2, uint64(now))
	ts := msg2(msg2(msg2(msg2(msg2(nil, 1, label("__name__", "m")), 2, point), 1, label("a", "b")), 4, nil), 4, int2(nil, 15, 1))
	b, err := decode(t, newDecoder(wire.Options{}), wire.RemoteWrite1, msg2(nil, 1, ts))
	require.NoError(t, err)
	require.Equal(t, []string{"m{a=b} generic_node{} GAUGE DOUBLE +0 5"}, printed(b))
	require.Equal(t, "DISTRIBUTION_NOT_SUPPORTED=2", losses(b))
}

func TestRemoteWrite2_Points(t *testing.T) {
	t.Parallel()
	at := prompb.Sample{Value: 1, Timestamp: int64(now)}
	symbols := []string{"", "__name__", "temp", "device", "d1", "Cel", "lat_sum", "hits", "lat", "a"}
	hist := msg2(series2([]uint64{1, 8}, 3, 0), 3, nil)
	data := request2(symbols, series2([]uint64{1, 2, 3, 4}, 2, 5, at), series2([]uint64{1, 6}, 5, 0, at), series2([]uint64{1, 7}, 1, 0, at), hist)
	b, err := decode(t, newDecoder(wire.Options{}), wire.RemoteWrite2, data)
	require.NoError(t, err)
	require.Equal(t, []string{
		"temp{} device{device_id=d1} GAUGE DOUBLE +0 1", "lat_sum{} generic_node{} CUMULATIVE DOUBLE +0 1", "hits{} generic_node{} CUMULATIVE DOUBLE +0 1",
	}, printed(b))
	require.Equal(t, "Cel", b.Samples[0].Series.Unit)
	require.Equal(t, "DISTRIBUTION_NOT_SUPPORTED=1", losses(b))
	for name, bad := range map[string][]byte{
		"a symbol that is not there": request2(symbols, series2([]uint64{1, 99}, 0, 0, at)),
		"a unit that is not there":   request2(symbols, series2([]uint64{1, 2}, 0, 99, at)),
		"a name without a value":     request2(symbols, series2([]uint64{1, 2, 9}, 0, 0, at)),
	} {
		b, err := decode(t, newDecoder(wire.Options{}), wire.RemoteWrite2, bad)
		require.Equal(t, wire.Malformed, fault.ReasonOf(err), name)
		require.Empty(t, b.Samples, name)
	}
}

// kv is an attribute of OTLP, with an AnyValue of one field.
func kv(key string, value []byte) []byte { return msg2(msg2(nil, 1, []byte(key)), 2, value) }

// str is an AnyValue of text.
func str(s string) []byte { return msg2(nil, 1, []byte(s)) }

// fixed2 appends a field of eight bytes.
func fixed2(dst []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(dst, number, protowire.Fixed64Type), v)
}

// dot is a NumberDataPoint of OTLP.
func dot(v float64, attributes ...[]byte) []byte {
	out := fixed2(fixed2(nil, 3, uint64(now)*1_000_000), 4, math.Float64bits(v))
	for _, a := range attributes {
		out = msg2(out, 7, a)
	}
	return out
}

// metric is a Metric of OTLP, whose data are in the field.
func metric(name, unit string, field protowire.Number, options []byte, points ...[]byte) []byte {
	data := options
	for _, p := range points {
		data = msg2(data, 1, p)
	}
	return msg2(msg2(msg2(nil, 1, []byte(name)), 3, []byte(unit)), field, data)
}

// exported is a body of OTLP of one resource.
func exported(attributes [][]byte, metrics ...[]byte) []byte {
	var resource, scope []byte
	for _, a := range attributes {
		resource = msg2(resource, 1, a)
	}
	for _, m := range metrics {
		scope = msg2(scope, 2, m)
	}
	return msg2(nil, 1, msg2(msg2(nil, 1, resource), 2, scope))
}

func TestOTLP_Points(t *testing.T) {
	t.Parallel()
	sum := func(temporality, monotonic uint64) []byte { return int2(int2(nil, 2, temporality), 3, monotonic) }
	at := fixed2(nil, 3, uint64(now)*1_000_000)
	data := exported(
		[][]byte{kv("service.name", str("shop")), kv("service.namespace", str("eu")), kv("service.instance.id", str("i1")), kv("os", str("linux")), kv("list", msg2(nil, 5, nil))},
		metric("g", "Cel", 5, nil,
			dot(1.5, kv("os", str("plan9")), kv("n", int2(nil, 3, 7))),
			dot(2, kv("b", int2(nil, 2, 1)), kv("h", fixed2(nil, 4, math.Float64bits(0.5)))),
			int2(dot(3), 8, 1), at, dot(math.NaN())),
		metric("i", "", 5, nil, fixed2(at, 6, 7)),
		metric("c", "", 7, sum(2, 1), dot(1)), metric("updown", "", 7, sum(2, 0), dot(1)),
		metric("d", "", 7, sum(1, 1), dot(1)), metric("c", "", 7, sum(1, 1), dot(1)),
		metric("h", "", 9, nil, nil, nil), metric("s", "", 11, nil, nil), metric("e", "", 10, nil, nil),
		metric("g", "K", 5, nil, dot(1)),
	)
	d := newDecoder(wire.Options{})
	for range 2 {
		b, err := decode(t, d, wire.OTLP, data)
		require.NoError(t, err)
		const target = " prometheus_target{instance=i1,job=eu/shop} "
		require.Equal(t, []string{
			"g{n=7,os=plan9}" + target + "GAUGE DOUBLE +0 1.5", "g{b=true,h=0.5,os=linux}" + target + "GAUGE DOUBLE +0 2",
			"i{os=linux}" + target + "GAUGE INT64 +0 7", "c{os=linux}" + target + "CUMULATIVE DOUBLE +0 1",
			"updown{os=linux}" + target + "GAUGE DOUBLE +0 1", "d{os=linux}" + target + "DELTA DOUBLE +0 1",
			"h{os=linux}" + target + "CUMULATIVE DISTRIBUTION +0 {}", "h{os=linux}" + target + "CUMULATIVE DISTRIBUTION +0 {}",
			"e{os=linux}" + target + `CUMULATIVE DISTRIBUTION +0 {"bucketOptions":{"explicitBuckets":{"bounds":[0]}}}`,
		}, printed(b))
		require.Equal(t, "DISTRIBUTION_NOT_SUPPORTED=1, KIND_CONFLICT=1, NOT_FINITE=1, NO_VALUE=1, UNIT_CONFLICT=1", losses(b))
	}
	b, err := decode(t, d, wire.OTLP, exported([][]byte{kv("device.id", str("d1"))}, metric("x", "", 5, nil, dot(1))))
	require.NoError(t, err)
	require.Equal(t, []string{"x{} device{device_id=d1} GAUGE DOUBLE +0 1"}, printed(b))
}

// otlpJSON is a body of OTLP in JSON, as the specification's example has it.
const otlpJSON = `{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
	"scopeMetrics":[{"scope":{"name":"my.library","version":"1.0.0"},"metrics":[
	{"name":"my.counter","unit":"1","description":"I am a Counter","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[
		{"asDouble":5,"startTimeUnixNano":"1780315199000000000","timeUnixNano":"1780315200000000000","attributes":[{"key":"k","value":{"intValue":"7"}},{"key":"b","value":{"boolValue":true}}]}]}},
	{"name":"my.gauge","gauge":{"dataPoints":[{"asInt":"10","timeUnixNano":1780315200000000000},{"asDouble":"NaN","timeUnixNano":"1780315200000000000"}]}},
	{"name":"my.histogram","histogram":{"aggregationTemporality":1,"dataPoints":[{"count":2,"sum":2,"bucketCounts":[1,1],"explicitBounds":[1]}]}}]}]}]}`

func TestOTLP_InJSON(t *testing.T) {
	t.Parallel()
	d := newDecoder(wire.Options{})
	for range 2 {
		b, err := decode(t, d, wire.OTLPInJSON, []byte(otlpJSON))
		require.NoError(t, err)
		require.Equal(t, []string{
			"my.counter{b=true,k=7} prometheus_target{job=my.service} DELTA DOUBLE +0 5", "my.gauge{} prometheus_target{job=my.service} GAUGE INT64 +0 10",
			`my.histogram{} prometheus_target{job=my.service} DELTA DISTRIBUTION +0 {"count":"2","mean":1,` +
				`"bucketOptions":{"explicitBuckets":{"bounds":[1]}},"bucketCounts":["1","1"]}`,
		}, printed(b))
		require.Equal(t, "NOT_FINITE=1", losses(b))
	}
	for _, bad := range []string{"", "null", "[]", "{", "{} x", `{"resourceMetrics":1}`, `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":1}]}]}]}`} {
		_, err := decode(t, d, wire.OTLPInJSON, []byte(bad))
		require.Equal(t, wire.Malformed, fault.ReasonOf(err), bad)
	}
}

// TestProtobuf_NeverAPartOfABody cuts every body at every place: what is
// malformed is refused as a whole.
func TestProtobuf_NeverAPartOfABody(t *testing.T) {
	t.Parallel()
	for format, data := range map[wire.Format][]byte{
		wire.RemoteWrite1: writeRequest(3, 2), wire.RemoteWrite2: writeRequest2(3),
		wire.OTLP: exported(nil, metric("x", "", 5, nil, dot(1), dot(2, kv("a", str("b"))))),
	} {
		d := newDecoder(wire.Options{})
		for n := range data {
			b, err := decode(t, d, format, data[:n])
			if err != nil {
				require.Equal(t, wire.Malformed, fault.ReasonOf(err))
				require.Empty(t, b.Samples)
				require.Empty(t, b.Losses)
			}
		}
	}
}
