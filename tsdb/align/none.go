package align

import "selvedge.dev/tsdb"

// none is ALIGN_NONE: the points as they are, with their own times.
//
//   - Source: "No alignment. Raw data is returned."
//   - Valid for every kind and value type; the result has the same.
//   - Not valid when series are to be reduced (the API), since their points
//     do not share times.
//   - Gaps, resets, late points, single points: as stored.
//   - Edges: points of (start, end] are returned, so one exactly at the start
//     is not.
const none = "ALIGN_NONE"

// unaligned copies the points of the closed interval iv.
func unaligned(iv tsdb.Interval, points tsdb.Points) tsdb.Points {
	from, to := after(points.Times, iv.Start-1), after(points.Times, iv.End)
	points = points.Slice(from, to)
	return tsdb.Points{
		Times:         append([]tsdb.Millis(nil), points.Times...),
		Values:        append([]float64(nil), points.Values...),
		Distributions: append([]*tsdb.Distribution(nil), points.Distributions...),
	}
}
