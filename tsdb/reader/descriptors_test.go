package reader

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// platform answers for descriptors: of each project one metric a page, on two
// pages.
type platform struct {
	asked  atomic.Int64
	status atomic.Int64
	hold   chan struct{} // nil, or answers wait until it is closed
}

// ServeHTTP answers a page.
func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.asked.Add(1)
	if p.hold != nil {
		<-p.hold
	}
	if status := int(p.status.Load()); status != 0 {
		fault.Write(w, &fault.Error{Op: "test", Kind: fault.Kind(status)})
		return
	}
	switch page := r.URL.Query().Get("pageToken"); {
	case r.URL.Path == "/v3/projects/p/monitoredResourceDescriptors":
		_, _ = fmt.Fprint(w, `{"resourceDescriptors": [{"type": "device", "labels": [{"key": "device_id"}]}]}`) // the client sees
	case page == "":
		_, _ = fmt.Fprint(w, `{"metricDescriptors": [{"type": "b", "metricKind": "DELTA", "valueType": "INT64", "unit": "By"}], "nextPageToken": "2"}`)
	default:
		_, _ = fmt.Fprint(w, `{"metricDescriptors": [{"type": "a", "metricKind": "GAUGE", "valueType": "BOOL", "metadata": {"samplePeriod": "60s"}}]}`)
	}
}

// descriptors are those of a platform, at a time that is told.
func descriptors(t *testing.T, p *platform) (d *Descriptors, pass func(time.Duration)) {
	t.Helper()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	d = NewDescriptors(&client.Client{URL: server.URL})
	now := time.Now()
	d.now = func() time.Time { return now }
	return d, func(by time.Duration) { now = now.Add(by) }
}

// What is known is believed for a while, and forgotten when nobody asks.
func TestDescriptors_AreAsked(t *testing.T) {
	t.Parallel()
	p := &platform{}
	d, pass := descriptors(t, p)
	_, found := d.Describe("p", "a")
	require.False(t, found, "it was not loaded")
	list, err := d.List(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, []tsdb.Descriptor{
		{Project: "p", Type: "a", Kind: tsdb.Gauge, ValueType: tsdb.Bool, Details: &tsdb.Details{SamplePeriod: time.Minute}},
		{Project: "p", Type: "b", Kind: tsdb.Delta, ValueType: tsdb.Int64, Unit: "By", Details: &tsdb.Details{}},
	}, list, "of all pages, by their types")
	b, found := d.Describe("p", "b")
	require.True(t, found)
	require.Equal(t, list[1], b)
	_, found = d.Describe("q", "b")
	require.False(t, found, "of another project")
	_, err = d.Descriptor(t.Context(), "p", "c")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	resource, err := d.Resource(t.Context(), "p", "device")
	require.NoError(t, err)
	require.Equal(t, tsdb.StringLabel, resource.Labels[0].Type)
	_, err = d.Resource(t.Context(), "p", "boiler")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.EqualValues(t, 3, p.asked.Load(), "three pages, once")

	pass(fresh)
	require.NoError(t, d.Load(t.Context(), "p"))
	require.EqualValues(t, 6, p.asked.Load(), "it was too old")
	pass(unused + time.Second)
	require.NoError(t, d.Load(t.Context(), "q"))
	require.Len(t, d.projects, 1, "nobody has asked about p")

	_, err = d.Ensure(t.Context(), b)
	require.Equal(t, fault.Unsupported, fault.KindOf(err))
	_, err = d.EnsureResource(t.Context(), resource)
	require.Equal(t, fault.Unsupported, fault.KindOf(err))
}

// Who asks at the same time waits for one answer; an error is not remembered.
func TestDescriptors_OneQuestion(t *testing.T) {
	t.Parallel()
	p := &platform{hold: make(chan struct{})}
	d, _ := descriptors(t, p)
	p.status.Store(int64(fault.Denied))
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { errs[i] = d.Load(t.Context(), "p") })
	}
	require.Eventually(t, func() bool { return p.asked.Load() > 0 }, time.Minute, time.Millisecond)
	close(p.hold)
	all.Wait()
	for _, err := range errs {
		require.Equal(t, fault.Unavailable, fault.KindOf(err), "the caller is not denied: %v", err)
		require.Equal(t, "MAY_NOT_ASK", fault.ReasonOf(err))
	}
	p.status.Store(0)
	require.NoError(t, d.Load(t.Context(), "p"))
}
