package monitoring

import (
	"runtime"

	"selvedge.dev/tsdb/query"
)

// partPoints is how many points are worth a goroutine: half a millisecond of
// work.
const partPoints = 4096

// partBytes is about what a part has in JSON.
const partBytes = (partPoints + partPoints/2) * 128

// results appends TimeSeries, separated by commas. Many points are encoded on
// all processors, in parts that are written in their order; at most two for each
// processor are in memory.
func (e *encoder) results(all []query.Result) {
	parts := partsOf(all)
	if len(parts) <= 1 {
		e.part(all)
		return
	}
	if e.flush() != nil {
		return
	}
	encoded := make([]chan []byte, len(parts))
	begun := 0
	begin := func(buffer []byte) {
		if begun == len(parts) || e.err != nil {
			return
		}
		i, done := begun, make(chan []byte, 1)
		encoded[i], begun = done, begun+1
		go func() { done <- encode(buffer, parts[i], i > 0) }()
	}
	for range 2 * runtime.GOMAXPROCS(0) {
		begin(make([]byte, 0, partBytes))
	}
	for i := 0; i < begun; i++ {
		out := <-encoded[i]
		if e.err == nil {
			_, e.err = e.w.Write(out)
		}
		begin(out[:0])
	}
}

// encode appends TimeSeries in JSON, behind a comma if they are not the first.
func encode(b []byte, part []query.Result, comma bool) []byte {
	e := encoder{buf: b}
	if comma {
		e.raw(",")
	}
	e.part(part)
	return e.buf
}

// partsOf cuts results into parts of partPoints points or more; none of none.
func partsOf(all []query.Result) [][]query.Result {
	var parts [][]query.Result
	from, points := 0, 0
	for i, r := range all {
		if points += r.Points.Len(); points >= partPoints {
			parts = append(parts, all[from:i+1])
			from, points = i+1, 0
		}
	}
	if from < len(all) {
		parts = append(parts, all[from:])
	}
	return parts
}

// part appends TimeSeries, separated by commas.
func (e *encoder) part(all []query.Result) {
	for i, r := range all {
		if i > 0 {
			e.raw(",")
		}
		e.result(r)
	}
}
