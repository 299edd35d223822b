package align

import "selvedge.dev/tsdb"

// nextOlderAligner is ALIGN_NEXT_OLDER: the window's last value.
//
//   - Source: "Align by moving the most recent data point before the end of
//     the alignment period to the boundary at the end of the alignment period."
//   - Valid for GAUGE metrics of every value type; value type and unit stay
//     (the API).
//   - Gaps: windows without points give none; no value is carried over from an
//     earlier window, so a device that fell silent is not shown at its last
//     value.
//   - Resets: do not exist for this kind.
//   - Edges: a point exactly on the window's end is the value; one exactly on
//     its start belongs to the window before.
//   - Late data: a late point counts if it is the window's last one.
type nextOlderAligner struct{}

func (nextOlderAligner) name() string { return "ALIGN_NEXT_OLDER" }

func (nextOlderAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (nextOlderAligner) distribution(w *window) *tsdb.Distribution {
	return w.distributions[len(w.distributions)-1]
}

func (a nextOlderAligner) value(w *window) (float64, bool) { return a.of(w.values), true }

func (nextOlderAligner) of(values []float64) float64 { return values[len(values)-1] }
