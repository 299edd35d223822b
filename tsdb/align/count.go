package align

import "selvedge.dev/tsdb"

// countAligner is ALIGN_COUNT: how many points the window has.
//
//   - Source: "Align the time series by returning the number of values in each
//     alignment period."
//   - Valid for GAUGE and DELTA metrics with numeric or Boolean values; the
//     value is INT64 (the API). The result is GAUGE and has the unit "1".
//   - Gaps: windows without points give none, not a zero: that nothing came
//     is told by the missing point.
//   - Resets: do not exist for these kinds.
//   - Edges: the package's; late data counts as if it had come in time, and a
//     point that came twice counts once.
//   - A single point counts one.
type countAligner struct{}

func (countAligner) name() string { return "ALIGN_COUNT" }

func (countAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (a countAligner) value(w *window) (float64, bool) { return a.of(w.values), true }

func (countAligner) of(values []float64) float64 { return float64(len(values)) }
