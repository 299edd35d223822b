package monitoring

import (
	"runtime"
	"sync"

	"selvedge.dev/tsdb/query"
)

// partPoints is how many points are worth a goroutine: a tenth of a millisecond
// of work, and with their 118 bytes about as much as the processor's cache has
// room for.
const partPoints = 4096

// keptBuffer bounds the buffers that are kept for other answers, in bytes.
const keptBuffer = 2 << 20

// encoders are those that nobody uses. The zero value is ready.
type encoders struct{ pool sync.Pool }

// get is an encoder that nobody uses.
func (e *encoders) get() *encoder {
	if one, ok := e.pool.Get().(*encoder); ok {
		return one
	}
	return &encoder{buf: make([]byte, 0, chunk+chunk/4)}
}

// put gives an encoder back.
func (e *encoders) put(one *encoder) {
	one.w, one.heads = nil, nil
	if cap(one.buf) <= keptBuffer {
		e.pool.Put(one)
	}
}

// results has TimeSeries appended to out, separated by commas. Many points are
// encoded on all processors, in parts that are written in their order; at most
// one for each processor and one more are in memory.
func (e *encoders) results(out *encoder, all []query.Result) {
	parts := partsOf(all)
	if len(parts) <= 1 {
		out.part(all)
		return
	}
	if out.flush() != nil {
		return
	}
	encoded := make([]chan *encoder, len(parts))
	begun := 0
	begin := func() {
		if begun == len(parts) || out.err != nil {
			return
		}
		i, done := begun, make(chan *encoder, 1)
		encoded[i], begun = done, begun+1
		go func() {
			one := e.get()
			one.heads, one.buf = out.heads, one.buf[:0]
			if i > 0 {
				one.raw(",")
			}
			one.part(parts[i])
			done <- one
		}()
	}
	for range runtime.GOMAXPROCS(0) + 1 {
		begin()
	}
	for i := 0; i < begun; i++ {
		one := <-encoded[i]
		begin()
		if out.err == nil {
			_, out.err = out.w.Write(one.buf)
		}
		e.put(one)
	}
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
