package filter_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/filter"
)

// typical is a filter of three conditions.
const typical = `metadata.labels.color = "red" AND state.battery > 20 AND spec.model = "projects/p/models/m"`

func TestMatch_DoesNotAllocate(t *testing.T) {
	f, err := filter.Parse(robotType(), typical+` AND metadata.labels:empty AND state.phase = BUSY AND metadata.create_time < 2030-01-01T00:00:00Z
		AND name = "projects/*" AND metadata.uid IN (u-1, u-2) AND display_name LIKE "%_of_%" AND NOT spec.armed = false`)
	require.NoError(t, err)
	m := robot().ProtoReflect()
	require.True(t, f.Match(m))
	require.Zero(t, testing.AllocsPerRun(100, func() { f.Match(m) }))
}

func BenchmarkParse(b *testing.B) {
	r := robotType()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := filter.Parse(r, typical); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	f, err := filter.Parse(robotType(), typical)
	require.NoError(b, err)
	m := robot().ProtoReflect()
	b.ReportAllocs()
	for b.Loop() {
		if !f.Match(m) {
			b.Fatal("no match")
		}
	}
}

func BenchmarkEntries(b *testing.B) {
	r, m := robotType(), robot().ProtoReflect()
	b.ReportAllocs()
	for b.Loop() {
		filter.Entries(r, m)
	}
}

func BenchmarkConjuncts(b *testing.B) {
	f, err := filter.Parse(robotType(), typical)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		f.Residual(f.Conjuncts())
	}
}
