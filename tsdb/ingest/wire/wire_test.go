package wire_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/ingest/wire"
	"selvedge.dev/tsdb/memory"
)

// now is when every body of the tests comes.
const now = tsdb.Millis(1_780_315_200_000)

// newDecoder is a decoder with descriptors of its own.
func newDecoder(o wire.Options) *wire.Decoder { return wire.New(&memory.Descriptors{}, o) }

// decode decodes a body for project p.
func decode(t testing.TB, d *wire.Decoder, format wire.Format, data []byte) (*wire.Batch, error) {
	t.Helper()
	b := &wire.Batch{}
	err := d.Decode(t.Context(), &wire.Request{Project: "p", Format: format, Now: now, Unit: 1, Data: data}, b)
	return b, err
}

// printed are the points of a batch, one a line, in their order: metric,
// labels, resource, kind, type, time after now, value.
func printed(b *wire.Batch) []string {
	out := []string{}
	for _, s := range b.Samples {
		labels := func(ls tsdb.Labels) string {
			var parts []string
			for _, l := range ls {
				if l.Name != "project_id" || l.Value != s.Series.Project {
					parts = append(parts, l.Name+"="+l.Value)
				}
			}
			return "{" + strings.Join(parts, ",") + "}"
		}
		value := fmt.Sprint(s.Value)
		if s.Distribution != nil {
			value = string(distribution.AppendJSON(nil, s.Distribution))
		}
		out = append(out, fmt.Sprintf("%s%s %s%s %s %s %+d %s", s.Series.Metric, labels(s.Series.MetricLabels),
			s.Series.Resource, labels(s.Series.ResourceLabels), s.Series.Kind, s.Series.ValueType, s.Time-now, value))
	}
	return out
}

// losses are the losses of a batch as text, sorted.
func losses(b *wire.Batch) string {
	ls := slices.Clone(b.Losses)
	slices.SortFunc(ls, func(x, y function.Loss) int { return strings.Compare(x.Reason, y.Reason) })
	return function.FormatLosses(ls)
}

func TestInflux_Points(t *testing.T) {
	t.Parallel()
	f := func(line, lost string, want ...string) {
		t.Helper()
		d := newDecoder(wire.Options{})
		for range 2 { // known the second time
			b, err := decode(t, d, wire.Influx, []byte(strings.ReplaceAll(line, "NOW", "1780315200000000000")))
			require.NoError(t, err)
			require.Equal(t, append([]string{}, want...), printed(b), line)
			require.Equal(t, lost, losses(b), line)
			for i, s := range b.Samples {
				require.Same(t, s.Series, b.Samples[i].Series)
			}
		}
	}
	f("cpu,host=a usage=1.5 NOW", "", "cpu_usage{host=a} generic_node{} GAUGE DOUBLE +0 1.5")
	f("cpu usage=1.5", "", "cpu_usage{} generic_node{} GAUGE DOUBLE +0 1.5")
	f("cpu usage=1.5 ", "", "cpu_usage{} generic_node{} GAUGE DOUBLE +0 1.5")
	f("cpu  usage=1.5  1780315200001000000 \r\n\r\n# a=b\n", "", "cpu_usage{} generic_node{} GAUGE DOUBLE +1 1.5")
	f("m,device=d1,z=1,a=2 v=-1e3 1780315199999999999", "", "m_v{a=2,z=1} device{device_id=d1} GAUGE DOUBLE -1 -1000")
	f("m,job=j,instance=i:1 v=1i,w=2u,x=t,y=F NOW", "",
		"m_v{} prometheus_target{instance=i:1,job=j} GAUGE INT64 +0 1", "m_w{} prometheus_target{instance=i:1,job=j} GAUGE INT64 +0 2",
		"m_x{} prometheus_target{instance=i:1,job=j} GAUGE BOOL +0 1", "m_y{} prometheus_target{instance=i:1,job=j} GAUGE BOOL +0 0")
	f(`m s="a,b=\"c d\" \\",v=1,t="line`+"\n"+`break" NOW`, "", "m_v{} generic_node{} GAUGE DOUBLE +0 1")
	f(`a\ b,c\,d=e\=f,g=\x h\=i=1 NOW`, "", `a b_h=i{c,d=e=f,g=\x} generic_node{} GAUGE DOUBLE +0 1`)
	f(`m,t="q v=1 NOW`, "", `m_v{t="q} generic_node{} GAUGE DOUBLE +0 1`)
	f("m v=0.1,w=123456789012345678901.5,x=.5,y=5.,z=1e-3 NOW", "",
		"m_v{} generic_node{} GAUGE DOUBLE +0 0.1", "m_w{} generic_node{} GAUGE DOUBLE +0 1.2345678901234568e+20",
		"m_x{} generic_node{} GAUGE DOUBLE +0 0.5", "m_y{} generic_node{} GAUGE DOUBLE +0 5", "m_z{} generic_node{} GAUGE DOUBLE +0 0.001")
	f("", "")
	f("\n \n# only a comment", "")
}

// TestInflux_Refusals is the table of what is refused, and that what stands
// beside it is kept.
func TestInflux_Refusals(t *testing.T) {
	t.Parallel()
	f := func(line, lost string) {
		t.Helper()
		d := newDecoder(wire.Options{Retention: 24 * time.Hour})
		b, err := decode(t, d, wire.Influx, []byte("good v=1\n"+line+"\ngood v=2 1780315200000000000\n"))
		require.NoError(t, err)
		require.Equal(t, lost, losses(b), line)
		require.Len(t, b.Samples, 2, line)
	}
	for _, line := range []string{
		"m", "m ", "m v", "m v=", "m =1", "m v=1,", "m v=1 x", "m v=1 1 2", "m v=abc", "m v=1x", "m v=0x10", "m v=1_0", "m v=--1", "m v=1-",
		"m v=e5", "m v=.", "m v=1ii", "m v=1.5i", `m v="a"b`, "m v=99999999999999999999i", "m v=-1u", "m\\", "m v\\", "m,a=b\\", `m v="open`[:6], "m v=1 99999999999999999999",
	} {
		f(line, "INVALID_LINE=1")
	}
	f("m v=NaN,w=1e999,x=-Inf", "NOT_FINITE=3")
	f("m v=1,w=2 1780660800000000000", "TOO_FAR_IN_FUTURE=2")
	f("m v=1 1780228799999000000", "TOO_OLD=1")
	f("good v=t", "TYPE_CONFLICT=1")
	f(",a=b v=1", "INVALID_METRIC=1")
	f("m//x v=1", "INVALID_METRIC=1")
	f("m\x01 v=1", "INVALID_METRIC=1")
	f("m\xff v=1", "INVALID_METRIC=1")
	f("m,a=b,a=c v=1", "INVALID_LABEL=1")
	f("m,a= v=1", "INVALID_LABEL=1")
	f("m,a v=1", "INVALID_LABEL=1")
	f("m,a="+strings.Repeat("x", 1025)+" v=1", "INVALID_LABEL=1")
	var many strings.Builder
	for i := range 31 {
		fmt.Fprintf(&many, ",l%d=x", i)
	}
	f("m"+many.String()+" v=1", "TOO_MANY_LABELS=1")
}

func TestInflux_Precision(t *testing.T) {
	t.Parallel()
	f := func(precision, stamp string, want tsdb.Millis) {
		t.Helper()
		unit, ok := wire.UnitOf(precision)
		require.True(t, ok, precision)
		b := &wire.Batch{}
		err := newDecoder(wire.Options{}).Decode(t.Context(), &wire.Request{
			Project: "p", Format: wire.Influx, Now: now, Unit: unit, Data: []byte("m v=1 " + stamp),
		}, b)
		require.NoError(t, err)
		if want == 0 {
			require.Empty(t, b.Samples)
			require.NotEmpty(t, b.Losses)
			return
		}
		require.Equal(t, want, b.Samples[0].Time)
	}
	f("", "1780315200123999999", 1780315200123)
	f("ns", "1780315200123999999", 1780315200123)
	f("u", "1780315200123999", 1780315200123)
	f("ms", "1780315200123", 1780315200123)
	f("s", "1780315200", 1780315200000)
	f("m", "29671920", 1780315200000)
	f("h", "494532", 1780315200000)
	f("h", "9223372036854775807", 0)
	f("h", "-9223372036854775808", 0)
	f("ns", "-1", 0)
	_, ok := wire.UnitOf("d")
	require.False(t, ok)
}

// What is forgotten is learned again.
func TestDecoder_Forgets(t *testing.T) {
	t.Parallel()
	d := newDecoder(wire.Options{Window: time.Hour})
	req := &wire.Request{Project: "p", Format: wire.Influx, Now: now, Unit: 1, Data: []byte("m,i=1 v=1\nm,i=2 v=1\nm,i=1 v=2")}
	b := &wire.Batch{}
	for range 4 {
		require.NoError(t, d.Decode(t.Context(), req, b))
		require.Len(t, b.Samples, 3)
		require.Empty(t, losses(b))
		require.Same(t, b.Samples[0].Series, b.Samples[2].Series)
		req.Now += 1_800_001
	}
}

func TestDecoder_BoundsPointsAndMemory(t *testing.T) {
	t.Parallel()
	_, err := decode(t, newDecoder(wire.Options{MaxPoints: 3}), wire.Influx, []byte("m v=1\nm v=2\nm v=3\nm v=4"))
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
	require.Equal(t, wire.TooManyPoints, fault.ReasonOf(err))

	d := newDecoder(wire.Options{MaxRemembered: 10})
	for i := range 100 {
		b, err := decode(t, d, wire.Influx, fmt.Appendf(nil, "m,i=%d v=1", i))
		require.NoError(t, err)
		require.Len(t, b.Samples, 1)
	}
	_, err = decode(t, d, 0, nil)
	require.Equal(t, wire.Malformed, fault.ReasonOf(err))
}

// TestDecoder_AllocatesNothingForKnownSeries holds the hot path to its promise.
func TestDecoder_AllocatesNothingForKnownSeries(t *testing.T) {
	d := newDecoder(wire.Options{})
	f := func(format wire.Format, data []byte) {
		t.Helper()
		req := &wire.Request{Project: "p", Format: format, Now: now, Unit: 1, Data: data}
		b := &wire.Batch{}
		once := func() {
			if err := d.Decode(t.Context(), req, b); err != nil || len(b.Samples) < 1000 {
				t.Fatal(err, len(b.Samples))
			}
		}
		once()
		// A run, closures and a context: nothing that grows with the points.
		require.LessOrEqual(t, testing.AllocsPerRun(20, once), 8.0)
	}
	f(wire.Influx, influxBody(100, 10))
	f(wire.RemoteWrite1, writeRequest(1000, 1))
	f(wire.RemoteWrite2, writeRequest2(1000))
}

// TestNumber_IsTheNearest compares the quick path with strconv, by way of
// lines.
func TestNumber_IsTheNearest(t *testing.T) {
	t.Parallel()
	d := newDecoder(wire.Options{})
	for _, v := range []float64{0, 1, 0.1, 0.3, 123.456, 99999.99999, 1e14, 0.00000000000001, math.Pi, 1e22, 5e-324, math.MaxFloat64} {
		for _, form := range []string{"%v", "%.3f", "%.14g", "%.17g"} {
			text := fmt.Sprintf(form, v)
			var want float64
			_, err := fmt.Sscan(text, &want)
			require.NoError(t, err)
			b, err := decode(t, d, wire.Influx, []byte("m v="+text))
			require.NoError(t, err)
			require.Len(t, b.Samples, 1, text)
			require.Equal(t, want, b.Samples[0].Value, text)
		}
	}
}
