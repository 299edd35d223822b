package export_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/export"
)

// written is a file of the format with what f writes.
func written(t require.TestingT, format string, f func(w export.Writer)) []byte {
	x, err := export.FormatOf(format)
	require.NoError(t, err)
	var b bytes.Buffer
	w := x.New(&b)
	f(w)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// temperature is a series, with labels that need quotes.
var temperature = &tsdb.Series{
	Project: "p", Metric: "climate/temperature", Resource: "device", ValueType: tsdb.Double, Kind: tsdb.Gauge,
	MetricLabels: tsdb.LabelsOf(map[string]string{"room": `the "big", one`, "floor": "<2>"}), ResourceLabels: tsdb.LabelsOf(map[string]string{"device_id": "d"}),
}

// state are states of a door, counter what it counted.
var (
	state   = &tsdb.Series{Metric: "door/open", Resource: "device", ValueType: tsdb.Bool}
	counter = &tsdb.Series{Metric: "door/count", Resource: "device", ValueType: tsdb.Int64}
)

// some writes a bit of everything. 1767225600000 is 2026-01-01T00:00:00Z.
func some(t require.TestingT) func(w export.Writer) {
	return func(w export.Writer) {
		require.NoError(t, w.Write(temperature, 60_000, tsdb.Points{Times: []tsdb.Millis{1767225660000, 1767225600000}, Values: []float64{21.5, -0.1}}))
		require.NoError(t, w.Write(state, 0, tsdb.Points{Times: []tsdb.Millis{1767225600123}, Values: []float64{1}}))
		require.NoError(t, w.Write(counter, 0, tsdb.Points{Times: []tsdb.Millis{1767225600000}, Values: []float64{1 << 53}}))
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	require.Equal(t, `start_time,end_time,metric,resource,metric_labels,resource_labels,value,kind,value_type,unit
2026-01-01T00:00:00.000Z,2026-01-01T00:01:00.000Z,climate/temperature,device,"{""floor"":""<2>"",""room"":""the \""big\"", one""}","{""device_id"":""d""}",21.5,GAUGE,DOUBLE,
2025-12-31T23:59:00.000Z,2026-01-01T00:00:00.000Z,climate/temperature,device,"{""floor"":""<2>"",""room"":""the \""big\"", one""}","{""device_id"":""d""}",-0.1,GAUGE,DOUBLE,
,2026-01-01T00:00:00.123Z,door/open,device,{},{},true,,BOOL,
,2026-01-01T00:00:00.000Z,door/count,device,{},{},9007199254740992,,INT64,
`, string(written(t, "csv", some(t))))
	require.Equal(t, "start_time,end_time,metric,resource,metric_labels,resource_labels,value,kind,value_type,unit\n", string(written(t, "csv", func(export.Writer) {})))
}

func TestNDJSON(t *testing.T) {
	t.Parallel()
	want := `{"start_time":"2026-01-01T00:00:00.000Z","end_time":"2026-01-01T00:01:00.000Z","metric":"climate/temperature","resource":"device","metric_labels":{"floor":"<2>","room":"the \"big\", one"},"resource_labels":{"device_id":"d"},"kind":"GAUGE","value_type":"DOUBLE","value":21.5}
{"start_time":"2025-12-31T23:59:00.000Z","end_time":"2026-01-01T00:00:00.000Z","metric":"climate/temperature","resource":"device","metric_labels":{"floor":"<2>","room":"the \"big\", one"},"resource_labels":{"device_id":"d"},"kind":"GAUGE","value_type":"DOUBLE","value":-0.1}
{"end_time":"2026-01-01T00:00:00.123Z","metric":"door/open","resource":"device","metric_labels":{},"resource_labels":{},"value_type":"BOOL","value":true}
{"end_time":"2026-01-01T00:00:00.000Z","metric":"door/count","resource":"device","metric_labels":{},"resource_labels":{},"value_type":"INT64","value":9007199254740992}
`
	require.Equal(t, want, string(written(t, "ndjson", some(t)))) // byte by byte: a value is written one way
	require.Empty(t, written(t, "ndjson", func(export.Writer) {}))
}

// parquetRow is a row of a file as another reader of Parquet sees it.
type parquetRow struct {
	Start  int64             `parquet:"start_time,optional,timestamp(millisecond)"`
	End    int64             `parquet:"end_time,timestamp(millisecond)"`
	Metric string            `parquet:"metric"`
	Labels map[string]string `parquet:"metric_labels"`
	Of     map[string]string `parquet:"resource_labels"`
	Value  float64           `parquet:"value"`
}

// rows reads a Parquet file.
func rows(t require.TestingT, file []byte) []parquetRow {
	all, err := parquet.Read[parquetRow](bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	return all
}

func TestParquet(t *testing.T) {
	t.Parallel()
	all := rows(t, written(t, "parquet", some(t)))
	require.Len(t, all, 4)
	require.Equal(t, "2026-01-01T00:00:00Z", time.UnixMilli(all[0].Start).UTC().Format(time.RFC3339Nano))
	require.Equal(t, "2026-01-01T00:01:00Z", time.UnixMilli(all[0].End).UTC().Format(time.RFC3339Nano))
	require.Equal(t, map[string]string{"room": `the "big", one`, "floor": "<2>"}, all[0].Labels)
	require.Equal(t, map[string]string{"device_id": "d"}, all[0].Of)
	require.Zero(t, all[2].Start)
	require.Equal(t, []float64{21.5, -0.1, 1, 1 << 53}, []float64{all[0].Value, all[1].Value, all[2].Value, all[3].Value})
	require.Empty(t, rows(t, written(t, "parquet", func(export.Writer) {})))
}

// Whatever is written can be read back from each format as the same points, in
// their order, also over several groups of rows.
func TestFormats_SayTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type point struct {
			end   int64
			value float64
			label string
		}
		var want []point
		write := func(w export.Writer) {
			for _, p := range want {
				s := &tsdb.Series{Metric: "m", Resource: "r", ValueType: tsdb.Double, MetricLabels: tsdb.Labels{{Name: "l", Value: p.label}}}
				require.NoError(t, w.Write(s, 1000, tsdb.Points{Times: []tsdb.Millis{tsdb.Millis(p.end)}, Values: []float64{p.value}}))
			}
		}
		for range rapid.IntRange(0, 50).Draw(t, "points") {
			want = append(want, point{
				rapid.Int64Range(0, 1<<41).Draw(t, "time"), rapid.Float64().Draw(t, "value"),
				rapid.StringMatching(`[a-zäß"\\ ,\n<&]{0,8}`).Draw(t, "label"),
			})
		}
		got := []point(nil)
		for _, r := range rows(t, written(t, "parquet", write)) {
			got = append(got, point{r.End, r.Value, r.Labels["l"]})
		}
		require.Equal(t, want, got)

		got = nil
		lines := csv.NewReader(bytes.NewReader(written(t, "csv", write)))
		for n := 0; ; n++ {
			line, err := lines.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			if n == 0 {
				continue
			}
			got = append(got, read[point](t, line[1], line[6], line[4], func(end int64, v float64, label string) point { return point{end, v, label} }))
		}
		require.Equal(t, want, got)

		got = nil
		for line := range strings.Lines(string(written(t, "ndjson", write))) {
			var x struct {
				End    string          `json:"end_time"`
				Labels json.RawMessage `json:"metric_labels"`
				Value  json.RawMessage `json:"value"`
			}
			require.NoError(t, json.Unmarshal([]byte(line), &x))
			got = append(got, read[point](t, x.End, strings.Trim(string(x.Value), `"`), string(x.Labels), func(end int64, v float64, label string) point { return point{end, v, label} }))
		}
		require.Equal(t, want, got)
	})
}

// read makes a point of texts.
func read[P any](t *rapid.T, end, value, labels string, f func(int64, float64, string) P) P {
	at, err := time.Parse(time.RFC3339Nano, end)
	require.NoError(t, err)
	v, err := strconv.ParseFloat(value, 64)
	require.NoError(t, err)
	var m map[string]string
	require.NoError(t, json.Unmarshal([]byte(labels), &m))
	return f(at.UnixMilli(), v, m["l"])
}

// Distributions are their JSON: in CSV as text, in Parquet in a column of their
// own.
func TestFormats_Distributions(t *testing.T) {
	t.Parallel()
	s := &tsdb.Series{Metric: "m", Resource: "device", Kind: tsdb.Delta, ValueType: tsdb.Distributed}
	d := distribution.Of(tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{1, 2}}, 1.5)
	const want = `{"count":"1","mean":1.5,"range":{"min":1.5,"max":1.5},"bucketOptions":{"explicitBuckets":{"bounds":[1,2]}},"bucketCounts":["0","1"]}`
	write := func(w export.Writer) {
		require.NoError(t, w.Write(s, 0, tsdb.Points{Times: []tsdb.Millis{0}, Distributions: []*tsdb.Distribution{d}}))
	}
	lines, err := csv.NewReader(bytes.NewReader(written(t, "csv", write))).ReadAll()
	require.NoError(t, err)
	require.JSONEq(t, want, lines[1][6])
	var line struct{ Value json.RawMessage }
	require.NoError(t, json.Unmarshal(written(t, "ndjson", write), &line))
	require.JSONEq(t, want, string(line.Value))
	file := written(t, "parquet", write)
	type row struct {
		Value        float64 `parquet:"value"`
		Distribution string  `parquet:"distribution,optional"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	require.Equal(t, []row{{0, want}}, rows)
}

// JSON has no infinities: they are text there.
func TestNDJSON_Infinity(t *testing.T) {
	t.Parallel()
	line := written(t, "ndjson", func(w export.Writer) {
		require.NoError(t, w.Write(temperature, 0, tsdb.Points{Times: []tsdb.Millis{0}, Values: []float64{math.Inf(1)}}))
	})
	require.True(t, json.Valid(line))
	require.Contains(t, string(line), `"value":"+Inf"`)
}

// full is a file that takes so many bytes.
type full int

// Write implements io.Writer.
func (f *full) Write(b []byte) (int, error) {
	if *f -= full(len(b)); *f < 0 {
		return 0, errors.New("the disk is full")
	}
	return len(b), nil
}

// A file that cannot be written is an error, at once or at the end, and a
// writer does not gather all that it is given before it writes.
func TestFormats_WriteAsTheyGo(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"csv", "ndjson", "parquet"} {
		x, err := export.FormatOf(name)
		require.NoError(t, err)
		room := full(1 << 20)
		w := x.New(&room)
		points := tsdb.Points{Times: make([]tsdb.Millis, 1000), Values: make([]float64, 1000)}
		written := 0
		for err == nil && written < 1<<22 {
			for i := range points.Times {
				points.Times[i], points.Values[i] = tsdb.Millis(written*7919%1_000_003), math.Sqrt(float64(written))
				written++
			}
			err = w.Write(temperature, 0, points)
		}
		require.ErrorContains(t, err, "full", "%s after %d points", name, written)
	}
	_, err := export.FormatOf("xlsx")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, `"xlsx"`)
}

// BenchmarkFormats writes a million points of a thousand series.
func BenchmarkFormats(b *testing.B) {
	points := tsdb.Points{Times: make([]tsdb.Millis, 1000), Values: make([]float64, 1000)}
	for i := range points.Times {
		points.Times[i], points.Values[i] = tsdb.Millis(i*60_000), math.Sqrt(float64(i))
	}
	for _, name := range []string{"csv", "ndjson", "parquet"} {
		x, err := export.FormatOf(name)
		require.NoError(b, err)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := x.New(io.Discard)
				for i := range 1000 {
					s := *temperature
					s.ResourceLabels = tsdb.Labels{{Name: "device_id", Value: fmt.Sprint(i)}}
					require.NoError(b, w.Write(&s, 60_000, points))
				}
				require.NoError(b, w.Close())
			}
			b.ReportMetric(1e6*float64(b.N)/b.Elapsed().Seconds(), "points/s")
		})
	}
}
