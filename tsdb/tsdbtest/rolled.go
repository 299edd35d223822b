package tsdbtest

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/rollup"
	"selvedge.dev/tsdb/validity"
)

// rolledPeriod is that of the rollups of RunRolled: the samples of the scripts are
// mostly as far apart, and the windows of their questions multiples of it.
const rolledPeriod = 30 * time.Second

// RunRolled is RunScripts, of samples in another order, with a rollup of every
// metric, of all aligners that one can answer, and with questions that are
// answered from it where they can be. keep makes the Keeper of a store.
func RunRolled(
	t *testing.T, open func(t *testing.T, dir string, ds tsdb.Descriptors) tsdb.Store,
	keep func(t *testing.T, store tsdb.Store, options rollup.Options) *rollup.Keeper,
) {
	t.Helper()
	var distributions atomic.Int64
	t.Run("Scripts", func(t *testing.T) {
		for name, steps := range scripts(t) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ds := &memory.Descriptors{}
				store := open(t, t.TempDir(), ds)
				t.Cleanup(func() { require.NoError(t, store.Close()) })
				const project = "p"
				clock := time.UnixMilli(int64(base)).Add(12 * time.Hour)
				k := keep(t, store, rollup.Options{
					Rolled:    func() []tsdb.Descriptor { return withRollups(t, ds, project) },
					Retention: 24 * time.Hour, Now: func() time.Time { return clock },
				})
				r := runner{t: t, store: k, ds: ds, project: project}
				more := true // since samples were added
				r.answer = func(req query.Request) (query.Page, error) {
					for more {
						var err error
						more, err = k.Step(t.Context())
						require.NoError(t, err)
					}
					req.Explain = true
					if of, err := ds.List(t.Context(), project); err == nil && len(of) == 1 {
						req.Filter = fmt.Sprintf("metric.type = %q AND %s", of[0].Type, req.Filter)
					}
					page, err := query.New(store, query.Options{Rollups: k, Block: 1}).List(t.Context(), req)
					if err == nil && page.Trace.Windows > 0 && page.Trace.Samples == 0 && withRollups(t, ds, project)[0].ValueType == tsdb.Distributed {
						distributions.Add(1)
					}
					return page, err
				}
				random := rand.New(rand.NewPCG(1, 0))
				r.run(steps, func(samples []tsdb.Sample) {
					r.rearrange(samples, random.IntN)
					more = true
				})
			})
		}
	})
	require.Greater(t, distributions.Load(), int64(20), "questions of distributions that rollups answered")
}

// withRollups are the descriptors of a project with a rollup of what one can keep.
func withRollups(t *testing.T, ds tsdb.Descriptors, project string) []tsdb.Descriptor {
	t.Helper()
	all, err := ds.List(t.Context(), project)
	require.NoError(t, err)
	var out []tsdb.Descriptor
	for _, d := range all {
		r := tsdb.Rollup{Period: rolledPeriod}
		for _, rule := range validity.Rules(validity.Aligner) {
			if rollup.Check(d, []tsdb.Rollup{{Period: rolledPeriod, Aligners: []string{rule.Name}}}) == nil {
				r.Aligners = append(r.Aligners, rule.Name)
			}
		}
		if len(r.Aligners) > 0 {
			d.Details = &tsdb.Details{Rollups: []tsdb.Rollup{r}, SamplePeriod: rolledPeriod}
			out = append(out, d)
		}
	}
	return out
}
