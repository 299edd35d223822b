package filter_test

import (
	"testing"

	"selvedge.dev/triggers/filter"
)

// BenchmarkFilter measures one evaluation on an event in memory. Exact and
// prefix on a string attribute are the hot path: every event meets every
// trigger once. Source is slower since the SDK keeps it as a URL.
func BenchmarkFilter(b *testing.B) {
	e := reading(b)
	for name, spec := range map[string]filter.Spec{
		"exact_type":      {Exact: one("type", "com.example.climate")},
		"exact_extension": {Exact: one("region", "eu-west")},
		"exact_two":       {Exact: map[string]string{"type": "com.example.climate", "region": "eu-west"}},
		"prefix_type":     {Prefix: one("type", "com.example.")},
		"prefix_subject":  {Prefix: one("subject", "hall/")},
		"prefix_source":   {Prefix: one("source", "//selvedge.dev/projects/p/")},
		"not_any":         {Not: &filter.Spec{Any: []filter.Spec{{Exact: one("type", "a")}, {Exact: one("type", "b")}}}},
		"cesql":           {CESQL: "type = 'com.example.climate' AND level > 4"},
	} {
		parsed := parse(b, spec)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if parsed.Filter(e) != filter.Pass {
					b.Fatal("the event must pass")
				}
			}
		})
	}
}
