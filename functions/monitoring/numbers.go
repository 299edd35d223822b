package monitoring

import (
	"math"
	"strconv"
)

// numbers remembers how doubles were written: what devices measure has few
// different values, and a mean of them some times more, but finding the shortest
// text of one takes longer than all the rest of its point. Each value has one
// place, where it may drive out another.
type numbers struct {
	places [1 << placeBits]place
}

// placeBits makes numbers 32 KB, so that they stay in the processor's cache.
const placeBits = 10

// place is one number as text; n is 0 when there is none.
type place struct {
	bits uint64
	n    uint8
	text [23]byte
}

// append appends a double as JSON.
func (k *numbers) append(b []byte, v float64) []byte {
	if whole := int64(v); float64(whole) == v && whole != 0 && -maxWhole < whole && whole < maxWhole {
		return strconv.AppendInt(b, whole, 10)
	}
	bits := math.Float64bits(v)
	// The bits of numbers that are alike differ in few places, which the
	// product brings to the top.
	p := &k.places[bits*0x9E3779B97F4A7C15>>(64-placeBits)]
	if p.bits == bits && p.n > 0 {
		return append(b, p.text[:p.n]...)
	}
	from := len(b)
	b = appendDouble(b, v)
	if n := len(b) - from; n <= len(p.text) {
		p.bits, p.n = bits, uint8(n)
		copy(p.text[:], b[from:])
	}
	return b
}

// maxWhole bounds the doubles that are written as integers: all of these are
// exact.
const maxWhole = 1 << 53
