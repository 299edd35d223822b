// Package align brings the points of one time series onto a grid of windows,
// so that series can be compared and reduced.
//
// # Sources
//
// The aligners are those of Google Cloud Monitoring v3 and SUMMARY of SPEKTRA
// Edge; "the API" below is google/monitoring/v3/common.proto and its comments. Where the API leaves
// something open, the choice made here says so.
//
// # Windows
//
// A query reads the half-open interval (start, end], as the API defines it
// for reads. The windows are (end-period, end], (end-2*period, end-period]
// and so on, back until one reaches the start: the grid hangs on the
// interval's end, not on the clock. The API's documentation says only that an
// aligned point is stamped with the end of its period; that the grid starts
// at endTime and goes back, past the start if it has to, is what the service
// was observed to do (prometheus-community/stackdriver_exporter, pull request
// 22). An interval of no length (start equal to end) has one window.
//
// A window belongs to the answer when its end is in (start, end], and it is
// always computed from all of its points. So when the interval is no multiple
// of the period, the first window also uses points from before the start:
// moving the start never changes a value, it only adds or removes points.
//
// # Rules for every aligner
//
// A point exactly on an edge belongs to the window that ends there. An empty
// window gives no point, not a zero; the API interpolates over empty windows
// for DELTA and RATE, and here they stay empty too, since an interpolated
// value cannot be told from a measured one. A late point counts as if it had
// come in time, because alignment happens when a query is answered. The same
// series and time never comes twice (tsdb.Store).
//
// # Points around the window
//
// DELTA and RATE of a CUMULATIVE metric measure from the last point before
// the window, if that is at most [Grid.Lookback] older than the window's
// start. PERCENT_CHANGE compares with that point, and INTERPOLATE draws a line
// to the first point after the window, if that is at most the lookback after
// its end. The bounds are relative to each window and not to the query, so that
// the same window has the same value in every query.
//
// # Validity
//
// Which aligner can be applied to which metrics, and what results, is the table
// of tsdb/validity.
//
// # Distributions
//
// What two distributions make together, and what one has in addition to an
// earlier one, is tsdb/distribution's. Counts stay exact; where the buckets of a
// window's points differ, the result has the bounds that they have in common.
//
// # Precision
//
// Values are float64: INT64 results are exact up to 2^53. What is no number,
// such as the standard deviation of an infinity, is no point.
//
// Everything here is a pure function of its arguments.
package align
