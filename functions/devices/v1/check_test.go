package devicesv1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
)

// field is the field at fault, "" when there is none.
func field(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, fault.Invalid, f.Kind)
	require.NotEmpty(t, f.Field)
	require.Less(t, len(f.Message()), 1500)
	return f.Field
}

func TestDevice_Check(t *testing.T) {
	t.Parallel()
	f := func(want string, edit func(*Device)) {
		t.Helper()
		d := Device{Name: "projects/p/devices/d"}
		edit(&d)
		require.Equal(t, want, field(t, d.Check()))
	}
	a := External{"boat-network", "esn", "5551212"}.Alias()
	f("", func(*Device) {})
	f("", func(d *Device) {
		d.Aliases, d.Blueprint, d.Route = []*Alias{a, External{"n", "k", "v/w é"}.Alias()}, "projects/p/blueprints/b", "my.topic-1"
	})
	f("name", func(d *Device) { d.Name = "" })
	f("name", func(d *Device) { d.Name = "projects/p/blueprints/d" })
	f("aliases", func(d *Device) { d.Aliases = make([]*Alias, 257) })
	f("aliases[1]", func(d *Device) { d.Aliases = []*Alias{a, a} })
	f("aliases[1].network", func(d *Device) { d.Aliases = []*Alias{a, External{"", "k", "v"}.Alias()} })
	f("aliases[0].network", func(d *Device) { d.Aliases = []*Alias{External{"a/b", "k", "v"}.Alias()} })
	f("aliases[0].key", func(d *Device) { d.Aliases = []*Alias{External{"n", "k\n", "v"}.Alias()} })
	f("aliases[0].key", func(d *Device) { d.Aliases = []*Alias{External{"n", "k/", "v"}.Alias()} })
	f("aliases[0].value", func(d *Device) { d.Aliases = []*Alias{External{"n", "k", "\xff"}.Alias()} })
	f("aliases[0].value", func(d *Device) { d.Aliases = []*Alias{External{"n", "k", strings.Repeat("v", 257)}.Alias()} })
	f("blueprint", func(d *Device) { d.Blueprint = "b" })
	f("blueprint", func(d *Device) { d.Blueprint = "projects/q/blueprints/b" })
	f("route", func(d *Device) { d.Route = "a/b" })
	f("route", func(d *Device) { d.Route = "processor" })
}

func TestBlueprint_Check(t *testing.T) {
	t.Parallel()
	f := func(want string, edit func(*Blueprint)) {
		t.Helper()
		b := Blueprint{Name: "projects/p/blueprints/b", Mappings: []*Mapping{
			{EventType: "com.example.climate", TimestampField: "meta/at", Fields: []*FieldMapping{
				{Field: "battery/volts", MetricType: "example.com/volts", Kind: "GAUGE", ValueType: "DOUBLE", Unit: "V"},
				{Field: "door", Kind: "GAUGE", ValueType: "BOOL", Labels: map[string]string{"side": "=left", "site": "meta/site"}},
			}},
			{EventType: "com.example.count", Fields: []*FieldMapping{{Field: "n", Kind: "CUMULATIVE", ValueType: "INT64"}}},
		}}
		edit(&b)
		require.Equal(t, want, field(t, b.Check()))
	}
	fields := func(b *Blueprint) []*FieldMapping { return b.Mappings[0].Fields }
	f("", func(*Blueprint) {})
	f("", func(b *Blueprint) { b.Mappings = nil })
	f("name", func(b *Blueprint) { b.Name = "projects/p/devices/b" })
	f("route", func(b *Blueprint) { b.Route = "processor" })
	f("mappings", func(b *Blueprint) { b.Mappings = make([]*Mapping, 101) })
	f("mappings[0].eventType", func(b *Blueprint) { b.Mappings[0].EventType = "" })
	f("mappings[0].eventType", func(b *Blueprint) { b.Mappings[0].EventType = strings.Repeat("t", 201) })
	f("mappings[1].eventType", func(b *Blueprint) { b.Mappings[1].EventType = "com.example.climate" })
	f("mappings[0].timestampField", func(b *Blueprint) { b.Mappings[0].TimestampField = "/at" })
	f("mappings[1].fields", func(b *Blueprint) { b.Mappings[1].Fields = nil })
	f("mappings[1].fields", func(b *Blueprint) { b.Mappings[1].Fields = make([]*FieldMapping, 1001) })
	for _, path := range []string{"", "/", "a/", "/a", "a//b", "a\x00", "\xff", strings.Repeat("a", 201)} {
		f("mappings[0].fields[0].field", func(b *Blueprint) { fields(b)[0].Field = path })
		if path != "" {
			f("mappings[0].fields[0].metricType", func(b *Blueprint) { fields(b)[0].MetricType = path })
		}
	}
	// The metric type that follows from the event type must be one as well.
	f("mappings[1].fields[0].metricType", func(b *Blueprint) { b.Mappings[1].EventType = "/t" })
	f("mappings[1].fields[0].metricType", func(b *Blueprint) { b.Mappings[1].Fields[0].Field = strings.Repeat("a", 200) })
	f("mappings[0].fields[1].field", func(b *Blueprint) { fields(b)[1].Field = "battery/volts" })
	f("mappings[0].fields[1].metricType", func(b *Blueprint) {
		fields(b)[1] = &FieldMapping{Field: "other", MetricType: "example.com/volts"}
	})
	f("", func(b *Blueprint) { // One metric of two fields, told apart by a label.
		fields(b)[1] = &FieldMapping{Field: "other", MetricType: "example.com/volts", Labels: map[string]string{"cell": "=2"}}
	})
	f("mappings[0].fields[0].kind", func(b *Blueprint) { fields(b)[0].Kind = "gauge" })
	f("mappings[0].fields[0].valueType", func(b *Blueprint) { fields(b)[0].ValueType = "STRING" })
	f("mappings[0].fields[1].valueType", func(b *Blueprint) { fields(b)[1].Kind = "CUMULATIVE" })
	f("mappings[0].fields[0].unit", func(b *Blueprint) { fields(b)[0].Unit = strings.Repeat("V", 64) })
	f("mappings[0].fields[0].labels", func(b *Blueprint) {
		fields(b)[0].Labels = map[string]string{}
		for i := range 31 {
			fields(b)[0].Labels[fmt.Sprintf("l%d", i)] = "=x"
		}
	})
	for _, name := range []string{"", "a b", "1a", "a.b", "a-b", strings.Repeat("a", 5000)} {
		f("mappings[0].fields[0].labels", func(b *Blueprint) { fields(b)[0].Labels = map[string]string{name: "=x"} })
	}
	for _, from := range []string{"", "=", "=\n", "a//b", "=" + strings.Repeat("x", 1025)} {
		f("mappings[0].fields[0].labels.l", func(b *Blueprint) { fields(b)[0].Labels = map[string]string{"l": from} })
	}
}

// FuzzParseAlias: an alias that parses is valid and prints as it was written.
func FuzzParseAlias(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "a/b/c", "a/b/c/d", "//", "a//b", "a/b/\x00", "boat-network/esn/5551212"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAlias(s)
		if err != nil {
			field(t, err)
			return
		}
		require.NoError(t, a.Check())
		require.Equal(t, s, a.String())
		require.NotContains(t, a.Network+a.Key, "/")
	})
}
