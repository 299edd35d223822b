package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/memory"
)

// climate is the event type of most tests.
const climate = "com.example.climate"

// noon is the time of most events: 2026-06-01T12:00:00Z.
const noon tsdb.Millis = 1_780_315_200_000

// decoder is a Decoder with what it asks.
type decoder struct {
	*ingest.Decoder
	descriptors *memory.Descriptors
}

// newDecoder makes a decoder with no bound on the future, so that a test can
// say any time, and with the given descriptors.
func newDecoder(t *testing.T, descriptors ...tsdb.Descriptor) decoder {
	t.Helper()
	ds := &memory.Descriptors{}
	for _, d := range descriptors {
		d.Project = "p"
		_, err := ds.Ensure(t.Context(), d)
		require.NoError(t, err)
	}
	return decoder{ingest.New(ds, ingest.Options{MaxFuture: 100 * 365 * 24 * time.Hour}), ds}
}

// decode is what e becomes: a line for every sample, then one for every loss.
// What e leaves out is that of a device at noon.
func (d decoder) decode(t *testing.T, e ingest.Event) []string {
	t.Helper()
	var b ingest.Batch
	require.NoError(t, d.Decode(t.Context(), fill(&e), &b))
	return lines(&b)
}

// fails is the reason for which e is refused.
func (d decoder) fails(t *testing.T, e ingest.Event) string {
	t.Helper()
	var b ingest.Batch
	err := d.Decode(t.Context(), fill(&e), &b)
	require.Error(t, err)
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
	require.Empty(t, lines(&b))
	list, err2 := d.descriptors.List(t.Context(), "p")
	require.NoError(t, err2)
	require.Empty(t, list, "a refused event made a descriptor")
	return fault.ReasonOf(err)
}

// fill makes e an event of the device d at noon.
func fill(e *ingest.Event) *ingest.Event {
	if e.Type == "" {
		e.Type = climate
	}
	if e.Time == 0 {
		e.Time = noon
	}
	e.Project, e.Device = "p", "d"
	return e
}

// lines prints a batch. The labels of the device d are left out.
func lines(b *ingest.Batch) []string {
	var out []string
	for _, s := range b.Samples {
		value := strconv.FormatFloat(s.Value, 'g', -1, 64)
		if s.Distribution != nil {
			value = string(distribution.AppendJSON(nil, s.Distribution))
		}
		out = append(out, fmt.Sprintf("%s%s %s @%s", s.Series.Metric, labels(s.Series), value, at(s.Time)))
	}
	for _, l := range b.Losses {
		out = append(out, fmt.Sprintf("%s %d", l.Reason, l.Count))
	}
	return out
}

// at prints a time as its distance from noon.
func at(t tsdb.Millis) string {
	if t == noon {
		return "noon"
	}
	return "noon" + fmt.Sprintf("%+d", t-noon)
}

// labels prints the labels of s.
func labels(s *tsdb.Series) string {
	var parts []string
	for _, l := range s.MetricLabels {
		parts = append(parts, l.Name+"="+l.Value)
	}
	if s.Resource != "device" {
		parts = append(parts, "resource="+s.Resource)
	}
	for _, l := range s.ResourceLabels {
		if l != (tsdb.Label{Name: "device_id", Value: "d"}) && l != (tsdb.Label{Name: "project_id", Value: "p"}) {
			parts = append(parts, "resource."+l.Name+"="+l.Value)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestObject_EveryNumberAndBooleanIsAPoint(t *testing.T) {
	t.Parallel()
	f := func(data string, want ...string) {
		t.Helper()
		require.Equal(t, want, newDecoder(t).decode(t, ingest.Event{Data: []byte(data)}), data)
	}
	f(`{"temperature": 21.5}`, "com.example.climate/temperature 21.5 @noon")
	f(`{"temperature": 21.5, "battery": {"volts": 3.7, "low": false}, "door": true}`,
		"com.example.climate/temperature 21.5 @noon", "com.example.climate/battery/volts 3.7 @noon",
		"com.example.climate/battery/low 0 @noon", "com.example.climate/door 1 @noon")
	// An element of an array is named by its index.
	f(`{"cpu": [0.5, {"used": 2}], "empty": []}`, "com.example.climate/cpu/0 0.5 @noon", "com.example.climate/cpu/1/used 2 @noon")
	// Texts and nulls are no points and no losses.
	f(`{"a": 1, "b": "2", "c": null}`, "com.example.climate/a 1 @noon")
	// The last value of a path that is there twice counts, also at the first
	// sight of it; a text does not.
	f(`{"a": 1, "b": 5, "a": 2}`, "com.example.climate/a 2 @noon", "com.example.climate/b 5 @noon")
	f(`{"a": 1, "a": "x"}`, "com.example.climate/a 1 @noon")
	f(`{"a/b": 1, "a": {"b": 2}}`, "com.example.climate/a/b 2 @noon")
	// Names are what they mean, not how they are written.
	f(`{"temp\u00e9rature": 1}`, "com.example.climate/température 1 @noon")
	f(`{"a b": -0.0, "c": 1E3, "d": 123456789012345678}`,
		"com.example.climate/a b -0 @noon", "com.example.climate/c 1000 @noon", "com.example.climate/d 1.2345678901234568e+17 @noon")
}

func TestObject_KnownFieldsMeanTheSame(t *testing.T) {
	t.Parallel()
	d := newDecoder(t)
	for range 3 {
		require.Equal(t, []string{"com.example.climate/a 2 @noon", "com.example.climate/b/c 1 @noon", "NOT_FINITE 1"},
			d.decode(t, ingest.Event{Data: []byte(`{"a": 1, "b": {"c": true}, "big": 1e999, "a": 2}`)}))
	}
}

func TestObject_RefusesWhatIsNoObjectWithAPoint(t *testing.T) {
	t.Parallel()
	f := func(data, reason string) {
		t.Helper()
		require.Equal(t, reason, newDecoder(t).fails(t, ingest.Event{Data: []byte(data)}), data)
	}
	f(`{}`, "NO_NUMERIC_FIELD")
	f(`{"a": "1", "b": null, "c": {}}`, "NO_NUMERIC_FIELD")
	f(`[1]`, "NOT_AN_OBJECT")
	f(`1`, "NOT_AN_OBJECT")
	f(``, "MALFORMED_JSON")
	f(`[1`, "MALFORMED_JSON")
	f(`{"a": 1`, "MALFORMED_JSON")
	f(`{"a": 1} {"b": 2}`, "MALFORMED_JSON")
}

func TestObject_BadPointsAreDroppedAlone(t *testing.T) {
	t.Parallel()
	f := func(data string, want ...string) {
		t.Helper()
		require.Equal(t, want, newDecoder(t).decode(t, ingest.Event{Data: []byte(data)}), data)
	}
	f(`{"a": 1e400, "b": -1e400, "c": 1}`, "com.example.climate/c 1 @noon", "NOT_FINITE 2")
	f(`{"": 1, "a": {"": 2}, "b/": 3, "/c": 4, "d//e": 5, "f": 6}`, "com.example.climate/f 6 @noon", "INVALID_METRIC 5")
	f(`{"a\u0000b": 1, "a\nb": 2, "f": 6}`, "com.example.climate/f 6 @noon", "INVALID_METRIC 2")
	// The longest metric type has 512 bytes.
	long := strings.Repeat("x", 512-len(climate)-1)
	f(`{"`+long+`": 1, "`+long+`y": 2}`, climate+"/"+long+" 1 @noon", "INVALID_METRIC 1")
}

func TestObject_KeepsAThousandFields(t *testing.T) {
	t.Parallel()
	var data strings.Builder
	for i := range 1003 {
		fmt.Fprintf(&data, `,"f%d":%d`, i, i)
	}
	got := newDecoder(t).decode(t, ingest.Event{Data: []byte("{" + data.String()[1:] + "}")})
	require.Len(t, got, 1001)
	require.Equal(t, []string{"com.example.climate/f999 999 @noon", "TOO_MANY_FIELDS 3"}, got[999:])
}

func TestDecode_PointsFitTheirMetric(t *testing.T) {
	t.Parallel()
	d := newDecoder(t,
		tsdb.Descriptor{Type: climate + "/bool", ValueType: tsdb.Bool},
		tsdb.Descriptor{Type: climate + "/int", ValueType: tsdb.Int64},
		tsdb.Descriptor{Type: climate + "/double"},
		tsdb.Descriptor{Type: climate + "/counter", Kind: tsdb.Cumulative, ValueType: tsdb.Int64, Unit: "By"},
	)
	f := func(data string, want ...string) {
		t.Helper()
		require.Equal(t, want, d.decode(t, ingest.Event{Data: []byte(data)}), data)
	}
	for range 2 { // unknown and known
		f(`{"bool": true, "int": 7, "double": 7.5}`,
			"com.example.climate/bool 1 @noon", "com.example.climate/int 7 @noon", "com.example.climate/double 7.5 @noon")
		f(`{"bool": 1, "int": true, "double": false}`, "TYPE_CONFLICT 3")
		f(`{"int": 7.5, "double": 1}`, "com.example.climate/double 1 @noon", "TYPE_CONFLICT 1")
		f(`{"int": 1e300}`, "TYPE_CONFLICT 1")
		f(`{"int": -9223372036854775808}`, "com.example.climate/int -9.223372036854776e+18 @noon")
	}
	// Plain JSON states no kind and takes the descriptor's.
	var b ingest.Batch
	require.NoError(t, d.Decode(t.Context(), fill(&ingest.Event{Data: []byte(`{"counter": 3}`)}), &b))
	require.Equal(t, tsdb.Series{
		Project: "p", Metric: climate + "/counter", Resource: "device", Kind: tsdb.Cumulative, ValueType: tsdb.Int64, Unit: "By",
		ResourceLabels: tsdb.Labels{{Name: "device_id", Value: "d"}, {Name: "project_id", Value: "p"}},
	}, *b.Samples[0].Series)
}

func TestDecode_TheFirstPointMakesTheDescriptor(t *testing.T) {
	t.Parallel()
	d := newDecoder(t)
	d.decode(t, ingest.Event{Data: []byte(`{"a": 1, "b": true, "big": 1e999}`)})
	list, err := d.descriptors.List(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, []tsdb.Descriptor{
		{Project: "p", Type: climate + "/a", Kind: tsdb.Gauge, ValueType: tsdb.Double},
		{Project: "p", Type: climate + "/b", Kind: tsdb.Gauge, ValueType: tsdb.Bool},
	}, list)
}

func TestDecode_SharesSeries(t *testing.T) {
	t.Parallel()
	d := newDecoder(t)
	var first, second ingest.Batch
	e := fill(&ingest.Event{Data: []byte(`{"a": 1}`)})
	require.NoError(t, d.Decode(t.Context(), e, &first))
	require.NoError(t, d.Decode(t.Context(), e, &second))
	require.Same(t, first.Samples[0].Series, second.Samples[0].Series)
}

func TestDecode_BoundsTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ds := &memory.Descriptors{}
		now := tsdb.Millis(time.Now().UnixMilli())
		day := tsdb.Millis((24 * time.Hour).Milliseconds())
		f := func(opts ingest.Options, at tsdb.Millis, loss string) {
			t.Helper()
			var b ingest.Batch
			e := ingest.Event{Project: "p", Device: "d", Type: "t", Time: at, Data: []byte(`{"a": 1, "b": 2}`)}
			require.NoError(t, ingest.New(ds, opts).Decode(t.Context(), &e, &b))
			if loss == "" {
				require.Len(t, b.Samples, 2)
				return
			}
			require.Empty(t, b.Samples)
			require.Equal(t, []function.Loss{{Reason: loss, Count: 2}}, b.Losses)
		}
		f(ingest.Options{}, now, "")
		f(ingest.Options{}, now+2*day, "")
		f(ingest.Options{}, now+2*day+1, "TOO_FAR_IN_FUTURE")
		f(ingest.Options{MaxFuture: time.Hour}, now+day, "TOO_FAR_IN_FUTURE")
		f(ingest.Options{}, 0, "")
		f(ingest.Options{}, -1<<62, "TOO_OLD")
		f(ingest.Options{Retention: 24 * time.Hour}, now-day, "")
		f(ingest.Options{Retention: 24 * time.Hour}, now-day-1, "TOO_OLD")
	})
}

func TestDecode_ReadsByMediaType(t *testing.T) {
	t.Parallel()
	data := []byte(`{"a": 1}`)
	for _, media := range []string{"", "application/json", "application/json; charset=utf-8", "Application/JSON", "text/json", "application/vnd.example+json"} {
		require.Len(t, newDecoder(t).decode(t, ingest.Event{MediaType: media, Data: data}), 1, media)
	}
	for _, media := range []string{"text/plain", "application/octet-stream", "application/xml", "json", "application/senml+cbor"} {
		require.Equal(t, "UNSUPPORTED_CONTENT_TYPE", newDecoder(t).fails(t, ingest.Event{MediaType: media, Data: data}), media)
	}
}

func TestDecode_NeedsADevice(t *testing.T) {
	t.Parallel()
	var b ingest.Batch
	err := newDecoder(t).Decode(t.Context(), &ingest.Event{Project: "p", Type: "t", Data: []byte(`{"a": 1}`)}, &b)
	require.Equal(t, "NO_DEVICE", fault.ReasonOf(err))
}

// brokenDescriptors answer with an error.
type brokenDescriptors struct{ err error }

// Ensure implements ingest.Describer.
func (d brokenDescriptors) Ensure(context.Context, tsdb.Descriptor) (tsdb.Descriptor, error) {
	return tsdb.Descriptor{}, d.err
}

func TestDecode_ErrorsOfTheDescriptors(t *testing.T) {
	t.Parallel()
	decode := func(err error) (*ingest.Batch, error) {
		var b ingest.Batch
		e := fill(&ingest.Event{Data: []byte(`{"a": 1}`)})
		return &b, ingest.New(brokenDescriptors{err: err}, ingest.Options{}).Decode(t.Context(), e, &b)
	}
	// Trying again may help, whatever it was.
	for _, cause := range []error{errors.New("disk"), context.Canceled, &fault.Error{Kind: fault.Internal}} {
		b, err := decode(cause)
		require.ErrorIs(t, err, cause)
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		require.Empty(t, lines(b))
	}
	// A metric that is refused takes only its own points with it.
	b, err := decode(&fault.Error{Kind: fault.Invalid})
	require.NoError(t, err)
	require.Equal(t, []string{"INVALID_METRIC 1"}, lines(b))
	b, err = decode(&fault.Error{Kind: fault.Exhausted})
	require.NoError(t, err)
	require.Equal(t, []string{"TOO_MANY_METRICS 1"}, lines(b))
}

func TestDecode_Concurrently(t *testing.T) {
	t.Parallel()
	ds := &memory.Descriptors{}
	d := ingest.New(ds, ingest.Options{MaxSeries: 40}) // so that shapes come and go
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			var b ingest.Batch
			for i := range 500 {
				e := ingest.Event{
					Project: "p", Device: strconv.Itoa((i + worker) % 5), Type: climate, Time: noon,
					Data: fmt.Appendf(nil, `{"a": %d, "b": {"c": %d}}`, i, worker),
				}
				if err := d.Decode(context.Background(), &e, &b); err != nil || len(b.Samples) != 2 || b.Samples[0].Value != float64(i) ||
					b.Samples[1].Value != float64(worker) || b.Samples[0].Series.ResourceLabels[0].Value != e.Device {
					t.Errorf("event %d of worker %d: %v %v", i, worker, err, lines(&b))
					return
				}
			}
		})
	}
	wg.Wait()
}
