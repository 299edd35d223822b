package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/population"
)

// stddevAligner is ALIGN_STDDEV: the standard deviation of the window's
// values, around their own mean and divided by their number, not by one less.
// The API does not say which; the window's points are all there are.
//
//   - Source: "Align the time series by returning the standard deviation of
//     the values in each alignment period."
//   - Valid for GAUGE and DELTA metrics with numeric values; the value is
//     DOUBLE (the API). The result is GAUGE and has the metric's unit.
//   - Gaps: windows without points give none, missing points inside a window
//     do not count.
//   - Resets: do not exist for these kinds.
//   - Edges: the package's; late data counts as if it had come in time.
//   - A single point deviates by zero.
type stddevAligner struct{}

func (stddevAligner) name() string { return "ALIGN_STDDEV" }

func (stddevAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (a stddevAligner) value(w *window) (float64, bool) { return a.of(w.values), true }

func (stddevAligner) of(values []float64) float64 { return population.StdDev(values) }
