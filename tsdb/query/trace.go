package query

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"selvedge.dev/tsdb"
)

// Trace says how a page was made.
type Trace struct {
	// Why says why points were read where a rollup could have been, "" when a
	// rollup was used.
	Why string
	// Spans are the parts of the time that was read, in ascending order.
	Spans []Span
	// Series is how many series were read, Samples how many of their points,
	// and Windows how many windows of rollups.
	Series, Samples, Windows int
	// Stored is how many points of the storage hold those windows.
	Stored int
	// Stages are what was done one after another, with the time that it took.
	Stages []Stage
}

// Span is a part of the time that was read from one source.
type Span struct {
	// Start and End are the half-open interval (Start, End].
	Start, End tsdb.Millis
	// Rollup is the rollup that was read, nil for the points.
	Rollup *tsdb.Rollup
	// Series is how many series had something there, and Samples how many
	// points were read. A rollup's are those of windows that had to be read
	// from the points after all, because something late came into them.
	Series, Samples int
	// Windows is how many windows of the rollup were read.
	Windows int
}

// Stage is a step of the work.
type Stage struct {
	Name string
	Took time.Duration
}

// tracer makes a Trace; a nil one does nothing.
type tracer struct {
	Trace
	began time.Time
	// series and samples are counted by several goroutines.
	series, samples atomic.Int64
}

// newTracer is a tracer if it is wanted.
func newTracer(wanted bool) *tracer {
	if !wanted {
		return nil
	}
	return &tracer{began: time.Now()}
}

// stage ends a stage that began with the end of the last one.
func (t *tracer) stage(name string) {
	if t == nil {
		return
	}
	now := time.Now()
	t.Stages = append(t.Stages, Stage{name, now.Sub(t.began)})
	t.began = now
}

// read counts points of a series that were read.
func (t *tracer) read(points int) {
	if t == nil {
		return
	}
	t.series.Add(1)
	t.samples.Add(int64(points))
}

// counted is what read has counted since it was last asked.
func (t *tracer) counted() (series, samples int) {
	if t == nil {
		return 0, 0
	}
	return int(t.series.Swap(0)), int(t.samples.Swap(0))
}

// raw tells that everything was read from the points.
func (t *tracer) raw(iv tsdb.Interval, why string) {
	if t == nil {
		return
	}
	series, samples := t.counted()
	t.Why = why
	t.Spans = []Span{{Start: iv.Start - 1, End: iv.End, Series: series, Samples: samples}}
	t.Series, t.Samples, t.Windows, t.Stored = series, samples, 0, 0
}

// trace is what was gathered, nil if nothing was asked for.
func (t *tracer) trace() *Trace {
	if t == nil {
		return nil
	}
	slices.SortFunc(t.Spans, func(a, b Span) int { return cmp.Compare(a.Start, b.Start) })
	return &t.Trace
}
