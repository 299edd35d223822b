package collector_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/local/collector"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest/wire"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/vm"
)

// load is bodies of a thousand lines of ten fields, of a thousand hosts.
type load struct {
	at   int64
	next atomic.Int64
}

// newLoad begins a day ago.
func newLoad() *load { return &load{at: time.Now().Add(-24 * time.Hour).UnixMilli()} }

// perBody is how many samples a body of a load has.
const perBody = 10_000

// body appends the next body.
func (l *load) body(dst []byte) []byte {
	at := l.at + l.next.Add(1)*100
	for host := range 1000 {
		dst = fmt.Appendf(dst, "cpu,hostname=host_%d,region=eu-west-1,datacenter=eu-west-1b,rack=%d,os=Ubuntu16.04LTS,arch=x64,team=CHI,service=9,service_version=1,service_environment=staging ", host, host%100)
		for i, field := range [...]string{"user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"} {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = fmt.Appendf(dst, "usage_%s=%d", field, (int(at)+host*i)%100)
		}
		dst = fmt.Appendf(dst, " %d\n", at)
	}
	return dst
}

// bodies are the next n bodies.
func (l *load) bodies(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = l.body(nil)
	}
	return out
}

// benchmark takes bodies made beforehand, as many as there are cores at once.
func benchmark(b *testing.B, take func(ctx context.Context, body []byte) error) {
	b.Helper()
	bodies := newLoad().bodies(64) // again and again: what is there already costs the same
	require.NoError(b, take(b.Context(), bodies[0]))
	var n atomic.Int64
	b.SetBytes(int64(len(bodies[0])))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := take(b.Context(), bodies[int(n.Add(1))%len(bodies)]); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(perBody*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}

// discard is an answer that nobody reads.
type discard struct {
	header http.Header
	code   int
}

// Header implements http.ResponseWriter.
func (d *discard) Header() http.Header { return d.header }

// Write implements http.ResponseWriter.
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader implements http.ResponseWriter.
func (d *discard) WriteHeader(code int) { d.code = code }

// BenchmarkInflux takes lines through the door, with the log in front, into
// VictoriaMetrics' storage.
func BenchmarkInflux(b *testing.B) {
	series, err := vm.Open(filepath.Join(b.TempDir(), "series"), vm.Options{})
	require.NoError(b, err)
	s, err := collector.Open(b.Context(), collector.Options{
		Dir: b.TempDir(), Series: series, Descriptors: &memory.Descriptors{}, Ledger: &counter{}, Authorize: iam.Authorize,
	})
	require.NoError(b, err)
	r := chi.NewRouter()
	s.Routes(r)
	benchmark(b, func(ctx context.Context, body []byte) error {
		ctx = iam.WithPrincipal(ctx, iam.Principal{Kind: iam.Project, Name: "projects/p", Project: "p"})
		req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/influx/write?precision=ms", bytes.NewReader(body))
		w := &discard{header: http.Header{}}
		r.ServeHTTP(w, req)
		if w.code != http.StatusNoContent {
			return fmt.Errorf("status %d", w.code)
		}
		return nil
	})
	require.NoError(b, s.Close())
	require.NoError(b, series.Close())
}

// BenchmarkInfluxWithoutLog is BenchmarkInflux as it would be if a point might
// be lost: decode and append.
func BenchmarkInfluxWithoutLog(b *testing.B) {
	series, err := vm.Open(filepath.Join(b.TempDir(), "series"), vm.Options{})
	require.NoError(b, err)
	d := wire.New(&memory.Descriptors{}, wire.Options{})
	batches := make(chan *wire.Batch, 64)
	benchmark(b, func(ctx context.Context, body []byte) error {
		data, err := io.ReadAll(bytes.NewReader(body))
		if err != nil {
			return err
		}
		var batch *wire.Batch
		select {
		case batch = <-batches:
		default:
			batch = &wire.Batch{}
		}
		defer func() { batches <- batch }()
		req := &wire.Request{Project: "p", Format: wire.Influx, Now: tsdb.Millis(ms()), Unit: wire.Unit(time.Millisecond), Data: data}
		if err := d.Decode(ctx, req, batch); err != nil {
			return err
		}
		return series.Append(ctx, batch.Samples)
	})
	require.NoError(b, series.Close())
}
