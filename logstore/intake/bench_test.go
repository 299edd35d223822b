package intake_test

import (
	"context"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/intake"
)

// free is a store that costs nothing: it has nothing and takes everything.
type free struct{ logstore.Store }

// List implements logstore.Reader.
func (free) List(context.Context, logstore.Query) ([]logstore.Entry, error) { return nil, nil }

// Append implements logstore.Writer.
func (free) Append(context.Context, []logstore.Entry) error { return nil }

// Sync implements logstore.Writer.
func (free) Sync(context.Context) error { return nil }

// Since implements logstore.Writer.
func (free) Since(context.Context, string, uint64) ([]uint64, error) { return nil, nil }

// BenchmarkIntake writes entries, 5,000 at a time, to an intake before a store that
// costs nothing: what an entry costs besides, in time of processors.
func BenchmarkIntake(b *testing.B) {
	in, err := intake.Open(b.TempDir(), free{}, intake.Options{Future: 1000 * time.Hour})
	require.NoError(b, err)
	const atOnce, times = 5_000, 20
	at := time.Now().UTC().Truncate(time.Second)
	resource := map[string]string{"service_name": "checkout", "region": "eu-west", "zone": "a", "version": "1.2.3", "instance": "i-12"}
	labels := map[string]string{"device.id": "device-77", "http.method": "GET", "thread": "worker-3"}
	text := []byte("upstream connection timeout after 300 ms while reading the response header of /v1/devices")
	b.ReportAllocs()
	before := processorTime(b)
	for n := 0; b.Loop(); {
		for range times {
			entries := make([]logstore.Entry, atOnce)
			for i := range entries {
				n++
				id := strconv.Itoa(1_000_000 + n)
				entries[i] = logstore.Entry{
					Project: "p1", Bucket: "_Default", Log: "service", Time: at.Add(time.Duration(n) * time.Millisecond), InsertID: "a7x3k2mcq1p8-" + id,
					Severity: logstore.Info, ResourceType: "generic_task",
					ResourceLabels: resource, Labels: labels,
					Trace: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7",
					Payload: logstore.Payload{Kind: logstore.Text, Data: text},
				}
			}
			_, err := in.Write(context.Background(), entries)
			require.NoError(b, err)
		}
		require.NoError(b, in.Flush(context.Background()))
	}
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N*atOnce*times), "processor-ns/entry")
	require.NoError(b, in.Close())
}

// processorTime is how long this process has used processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
