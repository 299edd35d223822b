package embedded_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/embedded"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/logstore/intake"
)

// benchStart is when the entries of benchmarks begin.
var benchStart = time.Date(2026, 11, 18, 0, 0, 0, 0, time.UTC)

// realistic makes entries as services and devices write them, one every 250 ms.
func realistic(from, n int) []logstore.Entry {
	r := rand.New(rand.NewPCG(uint64(from), 1))
	shapes := []string{
		`{"message":"request %s served in %d ms","user":"user-%d","status":200,"path":"/v1/projects/p/devices"}`,
		`{"message":"device %s reports battery of %d percent","firmware":"2.4.%d","ok":true}`,
		`{"message":"Timeout while waiting for %s after %d ms","retry":%d,"error":{"code":"DEADLINE_EXCEEDED","peer":"10.0.0.7"}}`,
	}
	entries := make([]logstore.Entry, n)
	for i := range entries {
		at := benchStart.Add(time.Duration(from+i) * 250 * time.Millisecond)
		service := fmt.Sprint("service-", min(r.IntN(200), r.IntN(200), r.IntN(200)))
		e := logstore.Entry{
			Project: "p", Bucket: "_Default", Log: "stdout", Time: at, Received: at.Add(time.Second), InsertID: fmt.Sprintf("a7x3k2mcq1p8-%07d", from+i),
			Severity:     []logstore.Severity{logstore.Debug, logstore.Info, logstore.Info, logstore.Info, logstore.Warning, logstore.Error}[r.IntN(6)],
			ResourceType: "function", ResourceLabels: map[string]string{"service": service, "region": "eu-west"},
			Labels: map[string]string{"device_id": fmt.Sprint("device-", r.IntN(5000)), "version": "1.2.3"},
			Trace:  fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()), SpanID: fmt.Sprintf("%016x", r.Uint64()), Origin: "o", Seq: uint64(from + i),
		}
		if r.IntN(4) == 0 {
			e.Payload = logstore.Payload{Kind: logstore.Text, Data: fmt.Appendf(nil, "Handled request %08x of user-%d in %d ms", r.Uint32(), r.IntN(1000), r.IntN(900))}
		} else {
			e.Payload = logstore.Payload{Kind: logstore.JSON, Data: fmt.Appendf(nil, shapes[r.IntN(3)], fmt.Sprintf("%08x", r.Uint32()), r.IntN(900), r.IntN(1000))}
		}
		entries[i] = e
	}
	return entries
}

// benchBatch is how many entries are appended at once.
const benchBatch = 5_000

// BenchmarkAppend appends entries to the store, the last Sync included.
func BenchmarkAppend(b *testing.B) {
	s, err := embedded.Open(b.TempDir(), embedded.Options{MinFreeBytes: 1, Once: true})
	require.NoError(b, err)
	batches := benchBatches(b)
	for b.Loop() {
		for _, batch := range batches {
			require.NoError(b, s.Append(context.Background(), batch))
		}
		require.NoError(b, s.Sync(context.Background()))
	}
	b.ReportMetric(float64(b.N*len(batches)*benchBatch)/b.Elapsed().Seconds(), "entries/s")
	require.NoError(b, s.Close())
}

// BenchmarkIntake writes entries through an intake, until they are synced.
func BenchmarkIntake(b *testing.B) {
	s, err := embedded.Open(b.TempDir(), embedded.Options{MinFreeBytes: 1, Once: true})
	require.NoError(b, err)
	in, err := intake.Open(b.TempDir(), s, intake.Options{Future: 1000 * time.Hour})
	require.NoError(b, err)
	batches := benchBatches(b)
	var shift time.Duration
	start := time.Now()
	for b.Loop() {
		for _, batch := range batches {
			for i := range batch {
				batch[i].Time = batch[i].Time.Add(shift)
			}
			_, err := in.Write(context.Background(), slices.Clone(batch))
			require.NoError(b, err)
		}
		shift = time.Duration(len(batches)*benchBatch) * 250 * time.Millisecond
	}
	require.NoError(b, in.Flush(context.Background()))
	require.NoError(b, s.Sync(context.Background()))
	b.ReportMetric(float64(b.N*len(batches)*benchBatch)/time.Since(start).Seconds(), "entries/s")
	require.NoError(b, in.Close())
	require.NoError(b, s.Close())
}

// BenchmarkEngine gives the same entries to the engine itself: as its makers
// have JSON, every value a field.
func BenchmarkEngine(b *testing.B) {
	s, err := embedded.Open(b.TempDir(), embedded.Options{}) // settles the process
	require.NoError(b, err)
	require.NoError(b, s.Close())
	dir := b.TempDir()
	engine := logstorage.MustOpenStorage(dir, &logstorage.StorageConfig{Retention: 10 * 365 * 24 * time.Hour, FlushInterval: 5 * time.Second})
	batches := benchBatches(b)
	var parser logstorage.JSONParser
	for b.Loop() {
		for _, batch := range batches {
			rows := logstorage.GetLogRows([]string{"service", "log"}, nil, nil, nil, "")
			for i := range batch {
				e := &batch[i]
				fields := []logstorage.Field{
					{Name: "log", Value: e.Log},
					{Name: "id", Value: e.InsertID},
					{Name: "severity", Value: e.Severity.String()},
					{Name: "type", Value: e.ResourceType},
					{Name: "trace", Value: e.Trace},
					{Name: "span", Value: e.SpanID},
				}
				for k, v := range e.ResourceLabels {
					fields = append(fields, logstorage.Field{Name: k, Value: v})
				}
				for k, v := range e.Labels {
					fields = append(fields, logstorage.Field{Name: k, Value: v})
				}
				if e.Payload.Kind == logstore.JSON {
					require.NoError(b, parser.ParseLogMessage(e.Payload.Data, nil, ""))
					logstorage.RenameField(parser.Fields, []string{"message"}, "_msg")
					fields = append(fields, parser.Fields...)
				} else {
					fields = append(fields, logstorage.Field{Name: "_msg", Value: string(e.Payload.Data)})
				}
				rows.MustAdd(logstorage.TenantID{}, e.Time.UnixNano(), fields, -1)
			}
			engine.MustAddRows(rows)
			logstorage.PutLogRows(rows)
		}
		engine.DebugFlush()
		for _, path := range engine.PartitionSnapshotMustCreate("") {
			require.NoError(b, engine.PartitionSnapshotDelete(path))
		}
	}
	b.ReportMetric(float64(b.N*len(batches)*benchBatch)/b.Elapsed().Seconds(), "entries/s")
	engine.MustClose()
}

// benchBatches makes the entries of a benchmark.
func benchBatches(b *testing.B) [][]logstore.Entry {
	b.Helper()
	var batches [][]logstore.Entry
	for i := range 20 {
		batches = append(batches, realistic(i*benchBatch, benchBatch))
	}
	b.ReportAllocs()
	return batches
}

// BenchmarkList finds entries in 300,000.
func BenchmarkList(b *testing.B) {
	s, err := embedded.Open(b.TempDir(), embedded.Options{MinFreeBytes: 1, Once: true})
	require.NoError(b, err)
	const n = 300_000
	for i := 0; i < n; i += benchBatch {
		require.NoError(b, s.Append(context.Background(), realistic(i, benchBatch)))
	}
	require.NoError(b, s.Sync(context.Background()))
	known := realistic(benchBatch, benchBatch)[7]
	hour := fmt.Sprintf(`timestamp >= %q `, benchStart.Add(n*250*time.Millisecond-time.Hour).Format(time.RFC3339))
	for name, text := range map[string]string{
		"Newest": "", "Service": `resource.labels.service="service-3"`, "ServiceHourErrors": hour + `resource.labels.service="service-3" severity>=ERROR`,
		"Trace": fmt.Sprintf("trace=%q", known.Trace), "RareWord": fmt.Sprintf("SEARCH(%q)", known.SpanID), "CommonWord": `SEARCH("timeout")`,
		"RareText": fmt.Sprintf("%q", known.SpanID[:12]), "Status": "jsonPayload.status=200", "Device": `labels.device_id="device-77"`,
	} {
		f, err := filter.Parse(text)
		require.NoError(b, err)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				page, err := s.List(context.Background(), logstore.Query{Selection: logstore.Selection{Project: "p", Filter: f}, Descending: true, Limit: 100})
				require.NoError(b, err)
				require.NotEmpty(b, page)
			}
		})
	}
	b.Run("Histogram", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Count(context.Background(), logstore.Counting{Selection: logstore.Selection{Project: "p"}, Interval: 5 * time.Minute, By: [][]string{{"severity"}}})
			require.NoError(b, err)
		}
	})
	require.NoError(b, s.Close())
}
