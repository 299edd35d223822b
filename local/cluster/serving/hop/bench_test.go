package hop_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving/hop"
)

// BenchmarkHop is a small event to a process that answers it, by the short way and by
// the standard library's transport, in turns: one after another and sixteen at once.
func BenchmarkHop(b *testing.B) {
	l := httptest.NewServer(http.HandlerFunc(echo))
	defer l.Close()
	address := l.Listener.Addr().String()
	short := hop.New(address, false)
	defer short.CloseIdleConnections()
	ways := []struct {
		name string
		by   http.RoundTripper
	}{{"short", short}, {"standard", standard(b, address)}}
	ask := func(by http.RoundTripper) error {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://f/", io.NopCloser(strings.NewReader(`{"temperature":31}`)))
		if err != nil {
			return err
		}
		r.ContentLength = int64(len(`{"temperature":31}`))
		r.Header.Set("Ce-Id", "1")
		r.Header.Set("Content-Type", "application/json")
		resp, err := by.RoundTrip(r)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body) // what is missing fails the next request
		return resp.Body.Close()
	}
	for _, w := range ways {
		b.Run(w.name, func(b *testing.B) {
			b.ReportAllocs()
			var took []time.Duration
			for b.Loop() {
				from := time.Now()
				require.NoError(b, ask(w.by))
				took = append(took, time.Since(from))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[(len(took)-1)*99/100].Microseconds()), "p99-µs")
		})
	}
	for _, w := range ways {
		b.Run(w.name+"-many", func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := ask(w.by); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
