package ingest_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb/ingest"
)

// FuzzDecode holds every form to what a Batch promises, whatever the data.
func FuzzDecode(f *testing.F) {
	for form, seeds := range [][]string{
		{tenReadings, `{"a":[1,{"b":true}],"a":2}`},
		{tenReadings, `{"temperature":1,"station":"n\u0000","at":1780315200.5}`},
		{`[{"bn":"urn:dev:ow:10e2073a01080063:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},{"n":"c","t":-5,"v":1.2,"s":3},{"vb":true}]`},
		{string(one(`"metric":{"type":"m","labels":{"a":"b"}},"metricKind":"CUMULATIVE"`, `{"int64Value":"3"}`).Data)},
	} {
		for _, seed := range seeds {
			f.Add(uint8(form), []byte(seed))
		}
	}
	plan := compile(f, "at", ingest.Field{Path: "temperature", Labels: map[string]string{"station": "station"}}, ingest.Field{Path: "humidity"})
	f.Fuzz(func(t *testing.T, form uint8, data []byte) {
		e := ingest.Event{Data: data}
		switch form % 4 {
		case 1:
			e.Plan = plan
		case 2:
			e.MediaType = event.MediaSenML
		case 3:
			e.Type = event.TypeTimeSeries
		}
		d := newDecoder(t)
		var first, second ingest.Batch
		err := d.Decode(t.Context(), fill(&e), &first)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.Empty(t, lines(&first))
			return
		}
		require.NotEmpty(t, lines(&first))
		for _, s := range first.Samples {
			require.False(t, math.IsNaN(s.Value) || math.IsInf(s.Value, 0))
			labels := len(s.Series.MetricLabels) + len(s.Series.ResourceLabels)
			require.Equal(t, 5+2*labels, strings.Count(s.Series.Key(), "\x00"), "a name or value holds the separator of keys")
		}
		// Seen for the second time, the data means the same.
		require.NoError(t, d.Decode(t.Context(), &e, &second))
		require.ElementsMatch(t, lines(&first), lines(&second))
	})
}

func TestObject_OrderOfMembersDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		fields := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,3}`), rapid.OneOf(
			rapid.Custom(func(r *rapid.T) string { return fmt.Sprint(rapid.Float64Range(-1e9, 1e9).Draw(r, "number")) }),
			rapid.SampledFrom([]string{"true", "null", `"text"`, "1e999", `{"x":1,"y":[2,3]}`}),
		), 1, 8).Draw(r, "fields")
		var want []string
		d := newDecoder(t)
		for range 3 {
			names := rapid.Permutation(slices.Sorted(maps.Keys(fields))).Draw(r, "order")
			var members []string
			for _, name := range names {
				members = append(members, fmt.Sprintf("%q: %s", name, fields[name]))
			}
			e := ingest.Event{Data: []byte("{" + strings.Join(members, ",") + "}")}
			var b ingest.Batch
			err := d.Decode(t.Context(), fill(&e), &b)
			got := append(lines(&b), fault.ReasonOf(err))
			slices.Sort(got)
			if want == nil {
				want = got
			}
			require.Equal(r, want, got, "%s", e.Data)
		}
	})
}
