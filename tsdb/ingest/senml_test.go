package ingest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// pack makes a SenML event.
func pack(data string) ingest.Event {
	return ingest.Event{Data: []byte(data), MediaType: event.MediaSenML}
}

// The values are those of the examples of RFC 8428, section 5.1.

func TestSenML_RFCSingleDatapoint(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"com.example.climate/Cel{urn=urn:dev:ow:10e2073a01080063} 23.1 @noon"},
		newDecoder(t).decode(t, pack(`[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]`)))
}

func TestSenML_RFCMultipleDatapoints(t *testing.T) {
	t.Parallel()
	d := newDecoder(t)
	for range 2 {
		require.Equal(t, []string{
			"com.example.climate/voltage{urn=urn:dev:ow:10e2073a01080063} 120.1 @noon",
			"com.example.climate/current{urn=urn:dev:ow:10e2073a01080063} 1.2 @noon",
		}, d.decode(t, pack(`[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},{"n":"current","u":"A","v":1.2}]`)))
	}
	list, err := d.descriptors.List(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, []tsdb.Descriptor{
		{Project: "p", Type: climate + "/current", Kind: tsdb.Gauge, ValueType: tsdb.Double, Unit: "A"},
		{Project: "p", Type: climate + "/voltage", Kind: tsdb.Gauge, ValueType: tsdb.Double, Unit: "V"},
	}, list)
}

func TestSenML_RFCBaseTime(t *testing.T) {
	t.Parallel()
	// 1276020076.001 s is 504295123999 ms before noon.
	require.Equal(t, []string{
		"com.example.climate/voltage{urn=urn:dev:ow:10e2073a0108006} 120.1 @noon-504295123999",
		"com.example.climate/current{urn=urn:dev:ow:10e2073a0108006} 1.2 @noon-504295128999",
		"com.example.climate/current{urn=urn:dev:ow:10e2073a0108006} 1.3 @noon-504295127999",
		"com.example.climate/current{urn=urn:dev:ow:10e2073a0108006} 1.7 @noon-504295123999",
	}, newDecoder(t).decode(t, pack(`[
		{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
		{"n":"current","t":-5,"v":1.2}, {"n":"current","t":-4,"v":1.3}, {"n":"current","v":1.7}]`)))
}

func TestSenML_RFCMultipleMeasurements(t *testing.T) {
	t.Parallel()
	// One device, humidity, position and battery: told by the unit.
	require.Equal(t, []string{
		"com.example.climate/%RH{urn=urn:dev:ow:10e2073a01080063} 20 @noon-460247736000",
		"com.example.climate/lon{urn=urn:dev:ow:10e2073a01080063} 24.30621 @noon-460247736000",
		"com.example.climate/lat{urn=urn:dev:ow:10e2073a01080063} 60.07965 @noon-460247736000",
		"com.example.climate/%RH{urn=urn:dev:ow:10e2073a01080063} 20.3 @noon-460247676000",
		"com.example.climate/%EL{urn=urn:dev:ow:10e2073a01080063} 98 @noon-460247586000",
	}, newDecoder(t).decode(t, pack(`[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
		{"u":"lon","v":24.30621},{"u":"lat","v":60.07965},{"t":60,"v":20.3},{"u":"%EL","t":150,"v":98}]`)))
}

func TestSenML_RFCMultipleDataTypes(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"com.example.climate/temp{urn=urn:dev:ow:10e2073a01080063} 23.1 @noon",
		"com.example.climate/open{urn=urn:dev:ow:10e2073a01080063} 0 @noon",
	}, newDecoder(t).decode(t, pack(`[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
		{"n":"label","vs":"Machine Room"},{"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}]`)))
}

func TestSenML_RFCCollectionOfResources(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"com.example.climate/2001:db8::2/temperature 27.2 @noon-460236771000",
		"com.example.climate/2001:db8::2/humidity 80 @noon-460236771000",
		"com.example.climate/2001:db8::1/temperature 12.3 @noon-460236771000",
	}, newDecoder(t).decode(t, pack(`[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":27.2},
		{"n":"humidity","u":"%RH","v":80},{"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3}]`)))
}

func TestSenML_Names(t *testing.T) {
	t.Parallel()
	f := func(records string, want ...string) {
		t.Helper()
		require.Equal(t, want, newDecoder(t).decode(t, pack("["+records+"]")), records)
	}
	// However a name is divided into base and name.
	for _, records := range []string{
		`{"n":"urn:dev:mac:0024befffe804ff1:rack/0/temp","v":1}`,
		`{"bn":"urn:dev:mac:0024befffe804ff1:rack","n":"/0/temp","v":1}`,
		`{"bn":"urn:dev:mac:0024befffe804ff1:","n":"rack/0/temp","v":1}`,
		`{"bn":"urn:dev:mac:","n":"0024befffe804ff1:rack/0/temp","v":1}`,
		`{"bn":"urn:dev:mac:0024befffe804ff1","n":"rack/0/temp","v":1}`, // the sender forgot the separator
	} {
		f(records, "com.example.climate/rack/0/temp{urn=urn:dev:mac:0024befffe804ff1} 1 @noon")
	}
	f(`{"n":"urn:dev:ow:10e2073a01080063_temp","v":1}`, "com.example.climate/temp{urn=urn:dev:ow:10e2073a01080063} 1 @noon")
	f(`{"n":"urn:dev:ow:10e2073a01080063","v":1}`, "com.example.climate/value{urn=urn:dev:ow:10e2073a01080063} 1 @noon")
	f(`{"n":"urn:dev:ow","v":1}`, "com.example.climate/value{urn=urn:dev:ow} 1 @noon")
	// Two devices behind one gateway stay two series of one metric.
	f(`{"n":"urn:dev:ow:a:temp","v":1},{"n":"urn:dev:ow:b:temp","v":2}`,
		"com.example.climate/temp{urn=urn:dev:ow:a} 1 @noon", "com.example.climate/temp{urn=urn:dev:ow:b} 2 @noon")
	f(`{"bn":"kitchen/","n":"temp","v":1}`, "com.example.climate/kitchen/temp 1 @noon")
	f(`{"n":"a.b-c:d_e","v":1}`, "com.example.climate/a.b-c:d_e 1 @noon")
	// The characters and the first one are bounded; a bad name drops its
	// record.
	f(`{"n":"ok","v":1},{"n":"/a","v":1},{"n":"a b","v":1},{"n":"é","v":1},{"n":"","v":1},{"n":"_a","v":1},{"n":"a//b","v":1}`,
		"com.example.climate/ok 1 @noon", "INVALID_METRIC 6")
}

func TestSenML_ResolvesRecords(t *testing.T) {
	t.Parallel()
	f := func(records string, want ...string) {
		t.Helper()
		require.Equal(t, want, newDecoder(t).decode(t, pack("["+records+"]")), records)
	}
	// A base holds from its record on, up to the next one, wherever in the
	// record it stands; a record of bases alone is no measurement.
	f(`{"n":"a","v":1,"bv":10},{"n":"b","v":2},{"bv":100},{"n":"c","v":3},{"n":"d"}`,
		"com.example.climate/a 11 @noon", "com.example.climate/b 12 @noon", "com.example.climate/c 103 @noon", "com.example.climate/d 100 @noon")
	f(`{"bn":"x/","bt":-10,"bu":"s"},{"n":"a","v":1},{"n":"b","t":-5,"v":2}`,
		"com.example.climate/x/a 1 @noon-10000", "com.example.climate/x/b 2 @noon-15000")
	// The base value is for numbers.
	f(`{"bv":10,"n":"a","vb":true}`, "com.example.climate/a 1 @noon")
	// Sums are counters of their own, and may come without a value.
	f(`{"n":"power","u":"W","v":5,"s":100},{"n":"water","s":7}`,
		"com.example.climate/power 5 @noon", "com.example.climate/power/sum 100 @noon", "com.example.climate/water/sum 7 @noon")
	f(`{"bs":1000,"n":"a","v":1,"s":1},{"n":"b","v":2},{"n":"c","vs":"x"}`,
		"com.example.climate/a 1 @noon", "com.example.climate/a/sum 1001 @noon", "com.example.climate/b 2 @noon", "com.example.climate/b/sum 1000 @noon")
	// A record without any value is a loss, unknown fields are none.
	f(`{"n":"a","v":1,"x":{"y":[1,null]},"ut":60},{"n":"b","t":1}`, "com.example.climate/a 1 @noon", "NO_VALUE 1")
	// Null is absent.
	f(`{"n":"a","v":1,"u":null,"bn":null}`, "com.example.climate/a 1 @noon")
	f(`{"n":"a","v":1e999},{"n":"b","v":1,"t":1e300}`, "NOT_FINITE 1", "TOO_FAR_IN_FUTURE 1")
}

func TestSenML_RelativeTimesEndAt2To28(t *testing.T) {
	t.Parallel()
	f := func(time, want string) {
		t.Helper()
		require.Equal(t, []string{"com.example.climate/a 1 @" + want}, newDecoder(t).decode(t, pack(`[{"n":"a","v":1,`+time+`}]`)), time)
	}
	f(`"t":0`, "noon")
	f(`"t":1.5`, "noon+1500")
	f(`"t":-0.001`, "noon-1")
	f(`"t":268435455`, "noon+268435455000")
	f(`"t":268435456`, "noon-1511879744000")
	f(`"bt":268435455,"t":1`, "noon-1511879744000")
	f(`"bt":1780315200,"t":-1`, "noon-1000")
}

func TestSenML_SumsAreCounters(t *testing.T) {
	t.Parallel()
	d := newDecoder(t)
	d.decode(t, pack(`[{"n":"power","u":"W","s":100}]`))
	got, err := d.descriptors.Descriptor(t.Context(), "p", climate+"/power/sum")
	require.NoError(t, err)
	require.Equal(t, tsdb.Descriptor{Project: "p", Type: climate + "/power/sum", Kind: tsdb.Cumulative, ValueType: tsdb.Double, Unit: "W.s"}, got)
}

func TestSenML_UnitsDoNotMix(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"com.example.climate/a 20 @noon", "com.example.climate/a 21 @noon-1000", "UNIT_CONFLICT 1"},
		newDecoder(t).decode(t, pack(`[{"n":"a","u":"Cel","v":20},{"n":"a","u":"K","v":293.15},{"n":"a","v":21,"t":-1}]`)))
}

func TestSenML_RefusesWhatIsNoPack(t *testing.T) {
	t.Parallel()
	f := func(data, reason string) {
		t.Helper()
		require.Equal(t, reason, newDecoder(t).fails(t, pack(data)), data)
	}
	f(`[{"n":"a","v":1,"x_":1}]`, "SENML_MUST_UNDERSTAND")
	f(`[{"n":"a","v":1},{"n":"b","v_":1}]`, "SENML_MUST_UNDERSTAND")
	f(`[{"bver":11,"n":"a","v":1}]`, "SENML_VERSION")
	f(`[{"n":"a","v":"1"}]`, "MALFORMED_SENML")
	f(`[{"n":1,"v":1}]`, "MALFORMED_SENML")
	f(`[{"n":"a","v":[1]}]`, "MALFORMED_SENML")
	f(`[{"n":"a","v":1,"vb":true}]`, "MALFORMED_SENML")
	f(`{"n":"a","v":1}`, "MALFORMED_SENML")
	f(`[1]`, "MALFORMED_SENML")
	f(`[{"n":"a","v":1}`, "MALFORMED_SENML")
	f(`[]`, "NO_NUMERIC_FIELD")
	f(`[{"n":"a","vs":"x"}]`, "NO_NUMERIC_FIELD")
	f(`[{"bn":"a","bv":1}]`, "NO_NUMERIC_FIELD")
}
