package devices_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// A blueprint that the registry takes is one that the series engine can work
// by: what is wrong with a mapping is said to the person who writes it, not to
// the devices whose readings would be refused.
func TestMappings_AcceptedOnesCompile(t *testing.T) {
	t.Parallel()
	good := rapid.SampledFrom([]string{"a", "b", "c/d", "é", "x y"})
	bad := rapid.SampledFrom([]string{"a//b", "/", "", "a\x7f", strings.Repeat("m", 101), strings.Repeat("m", 200)})
	word := rapid.OneOf(good, good, good, good, good, good, good, bad)
	source := rapid.OneOf(word, rapid.Map(word, func(s string) string { return "=" + s }))
	field := rapid.Custom(func(t *rapid.T) *devicesv1.FieldMapping {
		return &devicesv1.FieldMapping{
			Field: word.Draw(t, "field"), MetricType: word.Draw(t, "metric"),
			Kind:      rapid.SampledFrom([]string{"", "GAUGE", "DELTA", "CUMULATIVE", "", "gauge"}).Draw(t, "kind"),
			ValueType: rapid.SampledFrom([]string{"", "DOUBLE", "INT64", "", "BOOL", "STRING"}).Draw(t, "value type"),
			Labels:    rapid.MapOfN(rapid.SampledFrom([]string{"l", "m", "n", "o", "p", "_1", "a b"}), source, 0, 2).Draw(t, "labels"),
		}
	})
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		m := &devicesv1.Mapping{
			EventType: word.Draw(t, "event type"), TimestampField: word.Draw(t, "timestamp"),
			Fields: rapid.SliceOfN(field, 1, 2).Draw(t, "fields"),
		}
		b := &devicesv1.Blueprint{Name: "projects/p/blueprints/b", Mappings: []*devicesv1.Mapping{m}}
		if err := b.Check(); err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		accepted++
		plan := ingest.Mapping{EventType: m.EventType, TimestampField: m.TimestampField}
		for _, f := range m.Fields {
			plan.Fields = append(plan.Fields, ingest.Field{
				Path: f.Field, Metric: f.MetricType, Kind: tsdb.MetricKind(f.Kind), ValueType: tsdb.ValueType(f.ValueType), Unit: f.Unit, Labels: f.Labels,
			})
		}
		_, err := ingest.Compile(plan)
		require.NoError(t, err, "%+v", m)
	})
	require.Positive(t, accepted, "no mapping was right; one in three is")
}
