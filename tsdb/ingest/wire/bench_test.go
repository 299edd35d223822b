package wire_test

import (
	"fmt"
	"testing"

	"selvedge.dev/tsdb/ingest/wire"
)

// influxBody is lines like those of a host's agent: ten tags, and fields.
func influxBody(lines, fields int) []byte {
	var b []byte
	for i := range lines {
		b = fmt.Appendf(b, "cpu,hostname=host_%d,region=eu-west-1,datacenter=eu-west-1b,rack=%d,os=Ubuntu16.04LTS,arch=x64,team=CHI,service=9,service_version=1,service_environment=staging ", i, i%100)
		for j := range fields {
			if j > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, "usage_%d=%d.%d", j, i%100, j)
		}
		b = append(b, " 1780315200000000000\n"...)
	}
	return b
}

// benchmark decodes the body again and again.
func benchmark(b *testing.B, format wire.Format, data []byte) {
	b.Helper()
	d := newDecoder(wire.Options{})
	req := &wire.Request{Project: "p", Format: format, Now: now, Unit: 1, Data: data}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	samples := 0
	b.RunParallel(func(p *testing.PB) {
		var batch wire.Batch
		for p.Next() {
			if err := d.Decode(b.Context(), req, &batch); err != nil || batch.Losses != nil {
				b.Error(err, batch.Losses)
				return
			}
			samples = len(batch.Samples)
		}
	})
	b.ReportMetric(float64(samples)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}

// BenchmarkInflux decodes ten thousand samples of ten a line.
func BenchmarkInflux(b *testing.B) { benchmark(b, wire.Influx, influxBody(1000, 10)) }

// BenchmarkInfluxOneField decodes as many of one a line.
func BenchmarkInfluxOneField(b *testing.B) { benchmark(b, wire.Influx, influxBody(10_000, 1)) }

// BenchmarkRemoteWrite decodes ten thousand series of one sample.
func BenchmarkRemoteWrite(b *testing.B) { benchmark(b, wire.RemoteWrite1, writeRequest(10_000, 1)) }

// BenchmarkRemoteWrite2 decodes as many of version 2.
func BenchmarkRemoteWrite2(b *testing.B) { benchmark(b, wire.RemoteWrite2, writeRequest2(10_000)) }
