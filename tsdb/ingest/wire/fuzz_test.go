package wire_test

import (
	"bytes"
	"compress/gzip"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/ingest/wire"
)

// FuzzDecode holds every format to what a Batch promises, whatever the data:
// an error comes without points, and a point is one that a storage keeps.
// Decoding again gives the same.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(wire.Influx), []byte("cpu,host=a usage=1.5,n=1i,s=\"a b\",t=t 1780315200000000000\nbad\n"))
	f.Add(uint8(wire.Influx), []byte(`a\ b,c\,d=e\=f g\ h=1`))
	f.Add(uint8(wire.RemoteWrite1), writeRequest(2, 2))
	f.Add(uint8(wire.RemoteWrite2), writeRequest2(2))
	f.Add(uint8(wire.OTLP), exported([][]byte{kv("service.name", str("s"))}, metric("x", "", 5, nil, dot(1, kv("a", str("b"))))))
	f.Add(uint8(wire.OTLP), exported(nil, metric("h", "s", 9, nil, histogram(3, 4, []uint64{1, 2}, []float64{1})), metric("e", "s", 10, nil, exponential(0, 2, []uint64{1, 2}, []uint64{3}))))
	f.Add(uint8(wire.OTLPInJSON), []byte(otlpJSON))
	f.Fuzz(func(t *testing.T, format uint8, data []byte) {
		d := newDecoder(wire.Options{MaxPoints: 1000})
		b, err := decode(t, d, wire.Format(format%6), data)
		if err != nil {
			require.Contains(t, []fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err))
			require.Empty(t, b.Samples)
			return
		}
		for _, s := range b.Samples {
			require.False(t, math.IsNaN(s.Value) || math.IsInf(s.Value, 0))
			require.Equal(t, s.Series.ValueType == tsdb.Distributed, s.Distribution != nil)
			if s.Distribution != nil {
				require.NoError(t, distribution.Validate(s.Distribution))
			}
			require.Equal(t, "p", s.Series.Project)
			require.NotEmpty(t, s.Series.Metric)
			require.NotEmpty(t, s.Series.Resource)
			require.True(t, s.Time > 0 && s.Time <= now+48*3_600_000)
			for _, ls := range []tsdb.Labels{s.Series.MetricLabels, s.Series.ResourceLabels} {
				for i, l := range ls {
					require.NotEmpty(t, l.Name)
					require.True(t, i == 0 || ls[i-1].Name < l.Name)
				}
			}
		}
		again, err := decode(t, d, wire.Format(format%6), data)
		require.NoError(t, err)
		require.Equal(t, printed(b), printed(again))
		require.Equal(t, losses(b), losses(again))
	})
}

// FuzzUnpack holds the encodings to their bound.
func FuzzUnpack(f *testing.F) {
	f.Add(uint8(wire.Gzip), gzipped([]byte("some text")))
	f.Add(uint8(wire.Snappy), []byte("\x09\x20some text"))
	f.Add(uint8(wire.Snappy), []byte("\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, encoding uint8, data []byte) {
		const most = 1 << 16
		out, err := wire.Unpack(nil, data, wire.Encoding(encoding%4), most)
		if err != nil {
			require.Contains(t, []fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err))
			return
		}
		require.LessOrEqual(t, len(out), max(most, len(data)))
	})
}

// gzipped packs data.
func gzipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(data) // a bytes.Buffer takes everything
	_ = z.Close()
	return b.Bytes()
}

func TestUnpack_Bounds(t *testing.T) {
	t.Parallel()
	bomb := gzipped(make([]byte, 1<<20))
	_, err := wire.Unpack(nil, bomb, wire.Gzip, 1<<19)
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
	out, err := wire.Unpack(make([]byte, 0, 10), bomb, wire.Gzip, 1<<20)
	require.NoError(t, err)
	require.Len(t, out, 1<<20)
	_, err = wire.Unpack(nil, []byte("\xff\xff\xff\x7f"), wire.Snappy, 1<<20)
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
	_, err = wire.Unpack(nil, []byte("\xff\xff\x3f"), wire.Snappy, 1<<20)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	_, err = wire.Unpack(nil, []byte("no"), wire.Gzip, 1<<20)
	require.Equal(t, wire.Malformed, fault.ReasonOf(err))
}
