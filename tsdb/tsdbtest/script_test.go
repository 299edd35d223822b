package tsdbtest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
)

// However the samples of a script arrive, its answers are the same.
func TestScripts_Metamorphic(t *testing.T) {
	t.Parallel()
	for name, steps := range scripts(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				ds := &memory.Descriptors{}
				r := runner{t: rt, store: memory.New(ds), ds: ds, project: "p"}
				choose := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "choice") }
				r.run(steps, func(samples []tsdb.Sample) { r.rearrange(samples, choose) })
			})
		})
	}
}

func TestParseScript_Load(t *testing.T) {
	t.Parallel()
	f := func(values string, want map[int]float64) {
		t.Helper()
		steps, err := parseScript("load 10s from 1m as delta int64 By # comment\n  m{a=\"x\",resource.b=\"y\"} " + values)
		require.NoError(t, err)
		require.Len(t, steps, 1)
		require.Equal(t, tsdb.Descriptor{Kind: tsdb.Delta, ValueType: tsdb.Int64, Unit: "By"}, steps[0].load.as)
		got := map[int]float64{}
		for _, sample := range steps[0].load.samples {
			require.Equal(t, `m{a="x",resource.b="y"}`, nameOf(sample.Series))
			got[int(sample.Time-base)/1000] = sample.Value
		}
		require.Equal(t, want, got)
	}
	f("5", map[int]float64{60: 5})
	f("5 _ -1.5e3", map[int]float64{60: 5, 80: -1500})
	f("5x2 7", map[int]float64{60: 5, 70: 5, 80: 5, 90: 7})
	f("5+2x2", map[int]float64{60: 5, 70: 7, 80: 9})
	f("5-2.5x1 1", map[int]float64{60: 5, 70: 2.5, 80: 1})
	f("_x3 1", map[int]float64{90: 1})
	f("_x1 1", map[int]float64{70: 1})
}

func TestParseScript_Errors(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		_, err := parseScript(text)
		require.ErrorContains(t, err, want)
	}
	f("  m 1", "line 1: a body without a step")
	f("\n# comment\nlaod 10s", `line 3: no step begins like "laod 10s"`)
	f("load ten", "line 1: time: invalid duration")
	f("load 10s from x", "line 1: time: invalid duration")
	f("load 10s\n  m", "line 2: no series and values")
	f("load 10s\n  m 1 x", `line 2: no value: "x"`)
	f("load 10s\n  m 1.2.3", "line 2: strconv")
	f("load 10s\n  m{a=b} 1", "line 2: no label")
	f("align mean from 0s", "line 1: no step")
	f("align mean period x from 0s to 1s", "line 1: time: invalid duration")
	f("align mean from 0s to 1s\n  m 1", `line 2: no VALUE@TIME: "1"`)
	f("align mean from 0s to 1s\n  m 1@x", "line 2: time: invalid duration")
	f("align mean from 0s to 1s\n  m a@1s", "line 2: strconv")
}

// failed is a test that remembers whether it failed, and goes on.
type failed struct {
	*testing.T
	yes bool
}

func (f *failed) Errorf(string, ...any) { f.yes = true }
func (f *failed) FailNow()              { panic(f) }

// A script whose answers are not those of the engine fails.
func TestRunner_Fails(t *testing.T) {
	t.Parallel()
	f := func(question string) {
		t.Helper()
		steps, err := parseScript("load 10s as gauge int64 By\n  m{a=\"x\"} _ 1 2\n" + question)
		require.NoError(t, err)
		ds := &memory.Descriptors{}
		ft := &failed{T: t}
		r := runner{t: ft, store: memory.New(ds), ds: ds, project: "p"}
		func() {
			defer func() { _ = recover() }() // how FailNow stops the runner
			r.run(steps, r.append)
		}()
		require.True(t, ft.yes, question)
	}
	const query = "align sum period 20s from 0s to 20s\n"
	f(query)                                              // a series too many
	f(query + `  m{a="x"} 4@20s`)                         // another value
	f(query + `  m{a="x"} 3@10s`)                         // another time
	f(query + `  m{a="x"} 3@20s 3@40s`)                   // a point too few
	f(query + `  m{a="y"} 3@20s`)                         // another series
	f(query + "  is gauge double By\n  m{a=\"x\"} 3@20s") // another type
	f(query + `  fails anything`)                         // no failure
	f("align mean from 0s to 20s\n  fails something else")
	f("align mean from 0s to 20s\n  m{a=\"x\"} 3@20s")
}
