package remote_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/remote"
)

// platform is the door for time series of a platform: the decoder of its own
// requests, with a store.
type platform struct {
	*httptest.Server
	decoder  *ingest.Decoder
	received []tsdb.Sample
	requests int
}

// newPlatform starts a platform with the descriptors.
func newPlatform(t *testing.T, descriptors *memory.Descriptors) *platform {
	t.Helper()
	p := &platform{decoder: ingest.New(descriptors, ingest.Options{MaxFuture: 1000 * time.Hour})}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer key" || r.URL.Path != "/v3/projects/p/timeSeries" {
			fault.Write(w, &fault.Error{Kind: fault.Denied})
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			fault.Write(w, err)
			return
		}
		var b ingest.Batch
		if err := p.decoder.Decode(r.Context(), &ingest.Event{Project: "p", Type: event.TypeTimeSeries, Data: body}, &b); err != nil {
			fault.Write(w, err)
			return
		}
		p.requests++
		p.received = append(p.received, b.Samples...)
		if len(b.Losses) > 0 {
			w.Header().Set(function.LossesHeader, function.FormatLosses(b.Losses))
			fault.Write(w, &fault.Error{Kind: fault.Invalid})
			return
		}
		_, _ = w.Write([]byte("{}")) // a test that does not read it fails elsewhere
	}))
	t.Cleanup(p.Close)
	return p
}

// now is the time of the samples.
var now = tsdb.Millis(time.Now().UnixMilli())

func TestAppend_ArrivesAsItWas(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, &memory.Descriptors{})
	device := tsdb.Labels{{Name: "device_id", Value: "d"}, {Name: "project_id", Value: "p"}}
	samples := []tsdb.Sample{
		{Series: &tsdb.Series{Project: "p", Metric: "m/double", Resource: "device", ResourceLabels: device, Kind: tsdb.Gauge, ValueType: tsdb.Double, Unit: "Cel"}, Time: now, Value: 0.1},
		{Series: &tsdb.Series{Project: "p", Metric: "m/int", Resource: "device", ResourceLabels: device, MetricLabels: tsdb.Labels{{Name: "a", Value: "é\"\n"}}, Kind: tsdb.Cumulative, ValueType: tsdb.Int64}, Time: now - 1, Value: 9007199254740992},
		{Series: &tsdb.Series{Project: "p", Metric: "m/bool", Resource: "device", ResourceLabels: device, Kind: tsdb.Gauge, ValueType: tsdb.Bool}, Time: now - 1001, Value: 1},
	}
	samples[1].Series.MetricLabels[0].Value = `é"<`
	latency := &tsdb.Series{Project: "p", Metric: "m/latency", Resource: "device", ResourceLabels: device, Kind: tsdb.Delta, ValueType: tsdb.Distributed, Unit: "s"}
	for i, b := range []tsdb.Buckets{
		{},
		{Kind: tsdb.LinearBuckets, Finite: 3, Width: 0.5, Offset: -1},
		{Kind: tsdb.ExponentialBuckets, Finite: 3, Growth: 1.5, Scale: 0.1},
		{Kind: tsdb.ExplicitBuckets, Bounds: []float64{-1, 1e-9, 1e30}},
	} {
		samples = append(samples, tsdb.Sample{Series: latency, Time: now - 5 + tsdb.Millis(i), Distribution: distribution.Of(b, -0.25, 0, 1.0/3)})
	}
	more := samples[2]
	more.Time, more.Value = now, 0
	samples = append(samples, more)
	require.NoError(t, remote.New(p.URL+"/", "key").Append(t.Context(), samples))
	require.Equal(t, samples, p.received)
	require.Same(t, p.received[3].Series, p.received[4].Series)
}

func TestAppend_InSeveralRequests(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, &memory.Descriptors{})
	s := &tsdb.Series{Project: "p", Metric: "m", Resource: "device", Kind: tsdb.Gauge, ValueType: tsdb.Double, ResourceLabels: tsdb.LabelsOf(map[string]string{"project_id": "p"})}
	var samples []tsdb.Sample
	for i := range 2500 {
		samples = append(samples, tsdb.Sample{Series: s, Time: now + tsdb.Millis(i), Value: float64(i)})
	}
	require.NoError(t, remote.New(p.URL, "key").Append(t.Context(), samples))
	require.Equal(t, samples, p.received)
	require.Equal(t, 3, p.requests)
	require.NoError(t, remote.New(p.URL, "key").Append(t.Context(), nil))
	require.Equal(t, 3, p.requests)
}

func TestAppend_ThePlatformDecidesAboutKindsAndReportsLosses(t *testing.T) {
	t.Parallel()
	descriptors := &memory.Descriptors{}
	_, err := descriptors.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: "t/total", Kind: tsdb.Cumulative, ValueType: tsdb.Int64})
	require.NoError(t, err)
	p := newPlatform(t, descriptors)
	appender := remote.New(p.URL, "key")
	decoder := ingest.New(appender, ingest.Options{})
	f := func(data string, want []float64, losses ...function.Loss) {
		t.Helper()
		p.received = nil
		var b ingest.Batch
		require.NoError(t, decoder.Decode(t.Context(), &ingest.Event{Project: "p", Device: "d", Type: "t", Time: now, Data: []byte(data)}, &b))
		var drops function.Drops
		require.NoError(t, appender.Append(function.WithDrops(t.Context(), &drops), b.Samples))
		var got []float64
		for _, s := range p.received {
			got = append(got, s.Value)
		}
		require.Equal(t, want, got, data)
		require.Equal(t, losses, drops.Losses(), data)
	}
	f(`{"total": 7, "new": 1.5}`, []float64{7, 1.5})
	require.Equal(t, tsdb.Cumulative, p.received[0].Series.Kind)
	f(`{"total": 7.5, "new": 1.5}`, []float64{1.5}, function.Loss{Reason: "TYPE_CONFLICT", Count: 1})
}

func TestAppend_Errors(t *testing.T) {
	t.Parallel()
	samples := []tsdb.Sample{{Series: &tsdb.Series{Project: "p", Metric: "m", Resource: "device"}, Time: now, Value: 1}}
	f := func(answer func(http.ResponseWriter), want fault.Kind, reason string) {
		t.Helper()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
		defer server.Close()
		err := remote.New(server.URL, "key").Append(t.Context(), samples)
		require.Equal(t, want, fault.KindOf(err), "%v", err)
		require.Equal(t, reason, fault.ReasonOf(err))
	}
	problem := func(kind fault.Kind) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { fault.Write(w, &fault.Error{Kind: kind, Reason: "WHY"}) }
	}
	f(problem(fault.Invalid), fault.Invalid, "WHY")
	f(problem(fault.TooLarge), fault.TooLarge, "WHY")
	f(problem(fault.Exhausted), fault.Exhausted, "WHY")
	for _, kind := range []fault.Kind{fault.Internal, fault.Unauthenticated, fault.Denied, fault.NotFound, fault.Conflict, fault.Unavailable} {
		f(problem(kind), fault.Unavailable, "UNAVAILABLE")
	}
	f(func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(http.StatusFound) }, fault.Unavailable, "UNAVAILABLE")
	f(func(w http.ResponseWriter) { w.Header().Set(function.LossesHeader, "many") }, fault.Unavailable, "UNAVAILABLE")
	f(func(w http.ResponseWriter) { w.Header().Set("Content-Length", "10"); w.WriteHeader(http.StatusOK) }, fault.Unavailable, "UNAVAILABLE")
	for _, url := range []string{"http://127.0.0.1:1", "", ":"} {
		require.Equal(t, fault.Unavailable, fault.KindOf(remote.New(url, "key").Append(t.Context(), samples)), url)
	}
}
