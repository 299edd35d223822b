package align

import (
	"slices"
	"time"

	"selvedge.dev/tsdb"
)

// minLookback is how far before a window the last point may be at least. An
// hour covers counters that are reported hourly or more often and costs 720
// points of a series that is sampled every five seconds; slower counters need
// a period of at least their own.
const minLookback = tsdb.Millis(time.Hour / time.Millisecond)

// Grid is the windows of a query: as wide as Period, the last one ending at
// End, and each ending after Start (or at End, when Start equals End).
type Grid struct {
	// Start and End bound the ends of the windows: (Start, End].
	Start, End tsdb.Millis
	// Period is the width of a window; it is positive.
	Period tsdb.Millis
}

// Windows is how many windows the grid has; at least one.
func (g Grid) Windows() int {
	return int(max(1, (g.End-g.Start+g.Period-1)/g.Period))
}

// Lookback is how much older than its window's start the last point before it
// may be, to be measured from: one period, but at least an hour. It is also
// how much later than its window's end the next point may be, to interpolate
// to.
func (g Grid) Lookback() tsdb.Millis { return max(g.Period, minLookback) }

// first is the start of the first window.
func (g Grid) first() tsdb.Millis { return g.End - tsdb.Millis(g.Windows())*g.Period }

// own is the closed interval of the points that are in the windows.
func (g Grid) own() tsdb.Interval { return tsdb.Interval{Start: g.first() + 1, End: g.End} }

// endOf is the end of the window that holds t, which is at most g.End.
func (g Grid) endOf(t tsdb.Millis) tsdb.Millis { return g.End - (g.End-t)/g.Period*g.Period }

// after is the index of the first time later than t.
func after(times []tsdb.Millis, t tsdb.Millis) int {
	i, _ := slices.BinarySearch(times, t+1)
	return i
}
