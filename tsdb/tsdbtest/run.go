package tsdbtest

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
)

// testdata holds the scripts.
//
//go:embed testdata/*.test
var testdata embed.FS

// rearrangements is how often RunScripts runs each script with its samples
// arranged another way. Storages take their time to make an append visible,
// so there are few; the package's own tests draw many over tsdb/memory.
const rearrangements = 3

// RunScripts runs the scripts over stores that open makes, one for each
// script, and expects the answers that are written in them, also when the
// samples come in other ways. A store takes kinds and value types from ds.
func RunScripts(t *testing.T, open func(t *testing.T, dir string, ds tsdb.Descriptors) tsdb.Store) {
	t.Helper()
	for name, steps := range scripts(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ds := &memory.Descriptors{}
			store := open(t, t.TempDir(), ds)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			t.Run("AsWritten", func(t *testing.T) {
				r := runner{t: t, store: store, ds: ds, project: "p"}
				r.run(steps, r.append)
			})
			for seed := range uint64(rearrangements) {
				t.Run(fmt.Sprintf("Rearranged%d", seed), func(t *testing.T) {
					r := runner{t: t, store: store, ds: ds, project: fmt.Sprintf("rearranged%d", seed)}
					random := rand.New(rand.NewPCG(seed, 0))
					r.run(steps, func(samples []tsdb.Sample) { r.rearrange(samples, random.IntN) })
				})
			}
		})
	}
}

// scripts are the parsed scripts of testdata by name.
func scripts(t *testing.T) map[string][]step {
	t.Helper()
	files, err := fs.Glob(testdata, "testdata/*.test")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := map[string][]step{}
	for _, file := range files {
		text, err := testdata.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimSuffix(path.Base(file), ".test")
		all[name], err = parseScript(string(text))
		require.NoError(t, err, file)
	}
	return all
}

// runner runs a script in a project of its own.
type runner struct {
	t interface {
		require.TestingT
		Helper()
		Context() context.Context
	}
	store   tsdb.Store
	ds      tsdb.Descriptors
	project string
	// answer answers questions, nil for the points of the store.
	answer func(query.Request) (query.Page, error)
}

// run runs the steps; add is how samples get into the store.
func (r runner) run(steps []step, add func([]tsdb.Sample)) {
	r.t.Helper()
	for _, st := range steps {
		if st.question != nil {
			r.ask(st.line, st.question)
			continue
		}
		samples := slices.Clone(st.load.samples)
		for i := range samples {
			s := *samples[i].Series
			s.Project = r.project
			if samples[i].Distribution != nil {
				s.ValueType = tsdb.Distributed
			}
			samples[i].Series = &s
			d := st.load.as
			d.Project, d.Type = r.project, s.Metric
			_, err := r.ds.Ensure(r.t.Context(), d)
			require.NoError(r.t, err)
		}
		add(samples)
	}
}

// append appends the samples as they are.
func (r runner) append(samples []tsdb.Sample) {
	r.t.Helper()
	require.NoError(r.t, r.store.Append(r.t.Context(), samples))
}

// rearrange appends the samples in another order and in several batches, some
// of them twice and some with a lower value at the same time. What choose(n)
// returns, from 0 to n-1, decides.
func (r runner) rearrange(samples []tsdb.Sample, choose func(n int) int) {
	r.t.Helper()
	order := slices.Clone(samples)
	for _, sample := range samples {
		switch choose(4) {
		case 0:
			order = append(order, sample)
		case 1:
			if sample.Distribution == nil {
				sample.Value--
			}
			order = append(order, sample)
		}
	}
	for i := len(order) - 1; i > 0; i-- {
		j := choose(i + 1)
		order[i], order[j] = order[j], order[i]
	}
	for len(order) > 0 {
		n := 1 + choose(len(order))
		r.append(order[:n])
		order = order[n:]
	}
}

// ask asks a question and compares the answer.
func (r runner) ask(line int, q *question) {
	r.t.Helper()
	req := query.Request{
		Project: r.project, Filter: q.filter,
		Start: time.UnixMilli(int64(q.from)), End: time.UnixMilli(int64(q.to)),
		Aggregation: q.first, SecondaryAggregation: q.second,
	}
	if q.filter == "" {
		req.Filter = fmt.Sprintf("project = %q", r.project)
	}
	page, err := r.list(req)
	if q.fails != "" {
		require.Error(r.t, err, "line %d", line)
		require.Equal(r.t, fault.Invalid, fault.KindOf(err), "line %d: %v", line, err)
		require.ErrorContains(r.t, err, q.fails, "line %d", line)
		return
	}
	require.NoError(r.t, err, "line %d", line)
	require.Empty(r.t, page.Next, "line %d", line)
	got := map[string]columns{}
	for _, result := range page.Results {
		name := nameOf(result.Series)
		if _, ok := q.want[name]; !ok {
			name = strings.TrimPrefix(name, result.Series.Metric)
		}
		got[name] = columns{result.Points.Times, result.Points.Values, result.Points.Distributions}
		is := strings.TrimSpace(fmt.Sprintf("%s %s %s", result.Series.Kind, result.Series.ValueType, result.Series.Unit))
		if q.is != "" {
			require.Equal(r.t, strings.ToUpper(q.is), strings.ToUpper(is), "line %d: %s", line, name)
		}
	}
	require.Len(r.t, got, len(page.Results), "line %d: series of one name", line)
	require.Equal(r.t, describe(q.want), describe(got), "line %d", line)
}

// list answers a request.
func (r runner) list(req query.Request) (query.Page, error) {
	if r.answer != nil {
		return r.answer(req)
	}
	return query.New(r.store, query.Options{}).List(r.t.Context(), req)
}

// describe writes series and their points in lines that compare well. Values
// are rounded to the digits that every storage keeps.
func describe(series map[string]columns) []string {
	var lines []string
	for name, c := range series {
		for i, at := range c.times {
			offset := time.Duration(at-base) * time.Millisecond
			if c.distributions != nil {
				lines = append(lines, fmt.Sprintf("%s %s@%s", name, textOf(c.distributions[i]), offset))
				continue
			}
			lines = append(lines, fmt.Sprintf("%s %.11g@%s", name, c.values[i], offset))
		}
	}
	slices.Sort(lines)
	return lines
}
