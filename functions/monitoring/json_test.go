package monitoring

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
)

// message is the page as Google's generated types have it.
func message(page query.Page) *monitoringpb.ListTimeSeriesResponse {
	m := &monitoringpb.ListTimeSeriesResponse{NextPageToken: page.Next}
	labels := func(ls tsdb.Labels) map[string]string {
		kv := map[string]string{}
		for _, l := range ls {
			kv[l.Name] = l.Value
		}
		return kv
	}
	stamp := func(t tsdb.Millis) *timestamppb.Timestamp { return timestamppb.New(time.UnixMilli(int64(t))) }
	for _, r := range page.Results {
		s := &monitoringpb.TimeSeries{
			Metric:     &metric.Metric{Type: r.Series.Metric, Labels: labels(r.Series.MetricLabels)},
			Resource:   &monitoredres.MonitoredResource{Type: r.Series.Resource, Labels: labels(r.Series.ResourceLabels)},
			MetricKind: metric.MetricDescriptor_MetricKind(metric.MetricDescriptor_MetricKind_value[string(r.Series.Kind)]),
			ValueType:  metric.MetricDescriptor_ValueType(metric.MetricDescriptor_ValueType_value[string(r.Series.ValueType)]),
			Unit:       r.Series.Unit,
		}
		for at, v := range r.Newest {
			p := &monitoringpb.Point{Interval: &monitoringpb.TimeInterval{EndTime: stamp(at)}, Value: &monitoringpb.TypedValue{}}
			switch {
			case r.Series.Kind == tsdb.Gauge:
				p.Interval.StartTime = stamp(at)
			case r.Period > 0:
				p.Interval.StartTime = stamp(at - r.Period)
			}
			switch r.Series.ValueType {
			case tsdb.Bool:
				p.Value.Value = &monitoringpb.TypedValue_BoolValue{BoolValue: v != 0}
			case tsdb.Int64:
				p.Value.Value = &monitoringpb.TypedValue_Int64Value{Int64Value: wholeNumber(v)}
			default:
				p.Value.Value = &monitoringpb.TypedValue_DoubleValue{DoubleValue: v}
			}
			s.Points = append(s.Points, p)
		}
		m.TimeSeries = append(m.TimeSeries, s)
	}
	if len(page.Results) > 0 {
		m.Unit = unitOf(page)
	}
	return m
}

// drawResult draws a series with any text in it, and points of any value.
func drawResult(rt *rapid.T) query.Result {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a", "b", `"\`, "<&>\u2028", "\x00\x1f\x7f"}))
	r := query.Result{
		Series: &tsdb.Series{
			Metric: text.Draw(rt, "metric"), Resource: "device",
			MetricLabels:   tsdb.LabelsOf(rapid.MapOf(text, text).Draw(rt, "labels")),
			ResourceLabels: tsdb.LabelsOf(rapid.MapOf(text, text).Draw(rt, "labels")),
			Kind:           rapid.SampledFrom([]tsdb.MetricKind{tsdb.Gauge, tsdb.Delta, tsdb.Cumulative}).Draw(rt, "kind"),
			ValueType:      rapid.SampledFrom([]tsdb.ValueType{tsdb.Bool, tsdb.Int64, tsdb.Double}).Draw(rt, "type"),
			Unit:           rapid.SampledFrom([]string{"", "By", `"`}).Draw(rt, "unit"),
		},
		Period: tsdb.Millis(rapid.SampledFrom([]int{0, 1000, 1500}).Draw(rt, "period")),
	}
	value := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{
		0, math.Copysign(0, -1), 1e-6, 9.9e-7, 1e20, 1e21, math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 1 << 53, -1 << 63, 1 << 63,
	}))
	for range rapid.IntRange(0, 5).Draw(rt, "points") {
		// Years 1 to 9999, as in RFC 3339, with room for a window before.
		r.Points.Times = append(r.Points.Times, tsdb.Millis(rapid.Int64Range(-62_135_596_000_000, 253_402_300_799_999).Draw(rt, "time")))
		r.Points.Values = append(r.Points.Values, value.Draw(rt, "value"))
	}
	slices.Sort(r.Points.Times)
	return r
}

// Whatever a page holds, Google's types read it as what it is.
func TestWritePage_ReadByStockTypes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		page := query.Page{Results: rapid.SliceOfN(rapid.Custom(drawResult), 0, 4).Draw(rt, "results")}
		if len(page.Results) > 0 {
			page.Next = rapid.SampledFrom([]string{"", "AbC-_"}).Draw(rt, "next")
		}
		var b bytes.Buffer
		require.NoError(rt, new(encoders).write(&b, page))
		got := &monitoringpb.ListTimeSeriesResponse{}
		require.NoError(rt, protojson.Unmarshal(b.Bytes(), got), b.String())
		want := message(page)
		require.True(rt, proto.Equal(want, got), "want %s\ngot  %s", protojson.Format(want), b.String())
	})
}

// Encoders are used again, for points and numbers that were there before.
func TestWritePage_Aligned(t *testing.T) {
	t.Parallel()
	all := new(encoders) // used again, as the service does
	rapid.Check(t, func(rt *rapid.T) {
		var page query.Page
		period := tsdb.Millis(rapid.SampledFrom([]int{1000, 1500, 86_400_000}).Draw(rt, "period"))
		for range rapid.IntRange(2, 9).Draw(rt, "series") {
			r := drawResult(rt)
			r.Period, r.Points = period, tsdb.Points{}
			if rapid.IntRange(0, 3).Draw(rt, "like the others") > 0 {
				r.Series.Kind, r.Series.ValueType = tsdb.Delta, tsdb.Double
			}
			gaps := rapid.SampledFrom([]int{1, 2, 7}).Draw(rt, "gaps")
			for i := range 100 {
				if rapid.IntRange(1, gaps).Draw(rt, "gap") == 1 {
					r.Points.Times = append(r.Points.Times, 1_750_000_000_500+tsdb.Millis(i)*period)
					r.Points.Values = append(r.Points.Values, rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -7, 1.0 / 3, 0.1, 1e-9, 1 << 60, math.Inf(1)}).Draw(rt, "value"))
				}
			}
			page.Results = append(page.Results, r)
		}
		var b bytes.Buffer
		require.NoError(rt, all.write(&b, page))
		got := &monitoringpb.ListTimeSeriesResponse{}
		require.NoError(rt, protojson.Unmarshal(b.Bytes(), got), b.String())
		require.True(rt, proto.Equal(message(page), got), b.String())
	})
}

// A long page is written in chunks; an error of the writer ends it.
func TestWritePage_Chunks(t *testing.T) {
	t.Parallel()
	page := long(5000)
	var b bytes.Buffer
	require.NoError(t, new(encoders).write(&b, page))
	require.Greater(t, b.Len(), 5*chunk)
	got := &monitoringpb.ListTimeSeriesResponse{}
	require.NoError(t, protojson.Unmarshal(b.Bytes(), got))
	require.True(t, proto.Equal(message(page), got))

	closed, w := io.Pipe()
	require.NoError(t, closed.Close())
	require.ErrorIs(t, new(encoders).write(w, page), io.ErrClosedPipe)
}

// long is a page with n points in ten series.
func long(n int) query.Page {
	var page query.Page
	for i := range 50 {
		r := query.Result{Series: &tsdb.Series{
			Metric: "com.example.climate/temperature", Resource: "device", Kind: tsdb.Gauge, ValueType: tsdb.Double,
			ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprint("d", i)}, {Name: "project_id", Value: "p"}},
		}}
		for j := range n / 50 {
			r.Points.Times = append(r.Points.Times, 1_750_000_000_000+tsdb.Millis(j)*60_000)
			r.Points.Values = append(r.Points.Values, 20+float64(j%100)/10)
		}
		page.Results = append(page.Results, r)
	}
	return page
}

// BenchmarkPage writes a page of 100,000 points, by hand and as protobuf does.
func BenchmarkPage(b *testing.B) {
	page := long(query.MaxPageSize)
	all := new(encoders)
	b.Run("ByHand", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, all.write(io.Discard, page))
		}
	})
	b.Run("Aligned", func(b *testing.B) {
		aligned := long(query.MaxPageSize)
		for i := range aligned.Results {
			r := &aligned.Results[i]
			r.Period = 60_000
			for j := range r.Points.Values {
				r.Points.Values[j] = float64((i+1)*j%600) / 6
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			require.NoError(b, all.write(io.Discard, aligned))
		}
	})
	b.Run("Protojson", func(b *testing.B) {
		for b.Loop() {
			_, err := protojson.Marshal(message(page))
			require.NoError(b, err)
		}
	})
}

// A time is written as package time does.
func TestEncoder_Time(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var e encoder
		for _, at := range rapid.SliceOf(rapid.Int64Range(-62_135_596_800_000, 253_402_300_799_999)).Draw(rt, "times") {
			e.buf = e.buf[:0]
			e.buf = e.time(e.buf, tsdb.Millis(at))
			layout := `"2006-01-02T15:04:05Z"`
			if at%1000 != 0 {
				layout = `"2006-01-02T15:04:05.000Z"`
			}
			require.Equal(rt, time.UnixMilli(at).UTC().Format(layout), string(e.buf))
		}
	})
}
