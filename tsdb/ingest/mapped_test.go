package ingest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// compile makes a plan for events of type climate.
func compile(t testing.TB, timestamp string, fields ...ingest.Field) *ingest.Plan {
	t.Helper()
	plan, err := ingest.Compile(ingest.Mapping{EventType: climate, TimestampField: timestamp, Fields: fields})
	require.NoError(t, err)
	return plan
}

func TestMapped_OnlyMappedFieldsArePoints(t *testing.T) {
	t.Parallel()
	d := newDecoder(t)
	plan := compile(t, "",
		ingest.Field{Path: "t", Metric: "com.example/temperature", Unit: "Cel", Labels: map[string]string{"room": "room", "floor": "=2"}},
		ingest.Field{Path: "energy/total", Kind: tsdb.Cumulative, ValueType: tsdb.Int64, Unit: "W.h"},
		ingest.Field{Path: "doors/0/open"},
	)
	f := func(data string, want ...string) {
		t.Helper()
		require.Equal(t, want, d.decode(t, ingest.Event{Data: []byte(data), Plan: plan}), data)
	}
	for range 2 { // unknown and known
		f(`{"t": 21.5, "room": "kitchen", "energy": {"total": 7}, "doors": [{"open": true}], "other": 1}`,
			"com.example/temperature{floor=2,room=kitchen} 21.5 @noon",
			"com.example.climate/energy/total 7 @noon", "com.example.climate/doors/0/open 1 @noon")
		// Another value of a label is another series; the label's field may
		// hold a number or a boolean, come later, or be missing.
		f(`{"t": 19, "room": "h\u00e5ll"}`, "com.example/temperature{floor=2,room=håll} 19 @noon")
		f(`{"t": 19, "room": 12.50}`, "com.example/temperature{floor=2,room=12.50} 19 @noon")
		f(`{"t": 19, "room": true}`, "com.example/temperature{floor=2,room=true} 19 @noon")
		f(`{"t": 19, "room": null}`, "com.example/temperature{floor=2} 19 @noon")
		f(`{"t": 19}`, "com.example/temperature{floor=2} 19 @noon")
		// Text in a mapped field is a loss, null and absence are none.
		f(`{"t": "warm", "energy": {"total": null}, "doors": [{"open": false}]}`, "com.example.climate/doors/0/open 0 @noon", "TYPE_CONFLICT 1")
		f(`{"energy": {"total": 7.5}}`, "TYPE_CONFLICT 1")
		f(`{"t": 1e999}`, "NOT_FINITE 1")
		f(`{"t": 19, "room": "a\u0000b"}`, "INVALID_LABEL 1")
		// The last value counts.
		f(`{"t": 1, "t": 2}`, "com.example/temperature{floor=2} 2 @noon")
	}
	list, err := d.descriptors.List(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, []tsdb.Descriptor{
		{Project: "p", Type: climate + "/doors/0/open", Kind: tsdb.Gauge, ValueType: tsdb.Bool},
		{Project: "p", Type: climate + "/energy/total", Kind: tsdb.Cumulative, ValueType: tsdb.Int64, Unit: "W.h"},
		{Project: "p", Type: "com.example/temperature", Kind: tsdb.Gauge, ValueType: tsdb.Double, Unit: "Cel"},
	}, list)
}

func TestMapped_ConflictsWithTheDescriptor(t *testing.T) {
	t.Parallel()
	d := newDecoder(t,
		tsdb.Descriptor{Type: climate + "/kind", Kind: tsdb.Gauge},
		tsdb.Descriptor{Type: climate + "/unit", Unit: "Cel"},
		tsdb.Descriptor{Type: climate + "/nounit"},
	)
	plan := compile(t, "", ingest.Field{Path: "kind", Kind: tsdb.Delta}, ingest.Field{Path: "unit", Unit: "K"}, ingest.Field{Path: "nounit", Unit: "K"})
	require.Equal(t, []string{"com.example.climate/nounit 3 @noon", "KIND_CONFLICT 1", "UNIT_CONFLICT 1"},
		d.decode(t, ingest.Event{Data: []byte(`{"kind": 1, "unit": 2, "nounit": 3}`), Plan: plan}))
}

func TestMapped_RefusesWhatHoldsNothing(t *testing.T) {
	t.Parallel()
	plan := compile(t, "at", ingest.Field{Path: "t"})
	f := func(data, reason string) {
		t.Helper()
		require.Equal(t, reason, newDecoder(t).fails(t, ingest.Event{Data: []byte(data), Plan: plan}), data)
	}
	f(`{"at": 1, "other": 2}`, "NO_NUMERIC_FIELD")
	f(`{"t": 1}`, "INVALID_TIMESTAMP")
	f(`{"t": 1, "at": "yesterday"}`, "INVALID_TIMESTAMP")
	f(`{"t": 1, "at": true}`, "INVALID_TIMESTAMP")
	f(`{"t": 1, "at": 1e20}`, "INVALID_TIMESTAMP")
	f(`[{"t": 1}]`, "NOT_AN_OBJECT")
	f(`{"t": 1`, "MALFORMED_JSON")
}

func TestMapped_TimestampByMagnitude(t *testing.T) {
	t.Parallel()
	d := newDecoder(t)
	plan := compile(t, "at", ingest.Field{Path: "t"})
	f := func(at, want string) {
		t.Helper()
		require.Equal(t, []string{"com.example.climate/t 1 @" + want}, d.decode(t, ingest.Event{Data: []byte(`{"t": 1, "at": ` + at + `}`), Plan: plan}), at)
	}
	// Noon in every unit, and a millisecond after it.
	for _, at := range []string{"1780315200", "1780315200000", "1780315200000000", "1780315200000000000", "1.7803152e9", `"2026-06-01T12:00:00Z"`, `"2026-06-01T14:00:00+02:00"`} {
		f(at, "noon")
	}
	for _, at := range []string{"1780315200.001", "1780315200001", "1780315200001000", "1780315200001000000", `"2026-06-01T12:00:00.001Z"`} {
		f(at, "noon+1")
	}
	// What is finer than a millisecond is cut off.
	for _, at := range []string{"1780315200.0019", "1780315200001.9", "1780315200001999", "1780315200001999000", `"2026-06-01T12:00:00.001999999Z"`} {
		f(at, "noon+1")
	}
	f("1780315199.9999", "noon-1")
	f("0", "noon-1780315200000")
	f("-1.5", "noon-1780315201500")
}

func TestCompile_NamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	f := func(want string, m ingest.Mapping) {
		t.Helper()
		_, err := ingest.Compile(m)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, "INVALID_MAPPING", fault.ReasonOf(err))
		require.ErrorContains(t, err, want)
	}
	one := func(f ingest.Field) ingest.Mapping { return ingest.Mapping{EventType: "t", Fields: []ingest.Field{f}} }
	f("the event type is missing", ingest.Mapping{Fields: []ingest.Field{{Path: "a"}}})
	f("no field is mapped", ingest.Mapping{EventType: "t"})
	f("field 0 \"\": the path is missing", one(ingest.Field{Metric: "m"}))
	f(`"a//b" cannot be a metric type`, one(ingest.Field{Path: "a", Metric: "a//b"}))
	f(`there is no metric kind "GUAGE"`, one(ingest.Field{Path: "a", Kind: "GUAGE"}))
	f(`there is no value type "FLOAT"`, one(ingest.Field{Path: "a", ValueType: "FLOAT"}))
	f(`label "": "x" can be neither a path nor a constant`, one(ingest.Field{Path: "a", Labels: map[string]string{"": "x"}}))
	f(`label "l": "" can be neither`, one(ingest.Field{Path: "a", Labels: map[string]string{"l": ""}}))
	f("field 1 \"b\": another field has the metric m and the same labels",
		ingest.Mapping{EventType: "t", Fields: []ingest.Field{{Path: "a", Metric: "m"}, {Path: "b", Metric: "m"}}})
	plan, err := ingest.Compile(ingest.Mapping{EventType: "t", Fields: []ingest.Field{
		{Path: "a", Metric: "m", Labels: map[string]string{"l": "=1"}}, {Path: "b", Metric: "m", Labels: map[string]string{"l": "=2"}},
	}})
	require.NoError(t, err)
	require.Equal(t, "t", plan.EventType())
}
