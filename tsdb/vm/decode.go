package vm

import (
	"fmt"
	"math"
	"slices"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/decimal"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"
)

// stored is a block as the engine has it on the disk: whole numbers, times a
// power of ten, by their differences or by those of their differences.
type stored struct {
	// first and last are the times of the first and the last point, value is the
	// first number.
	first, last, value int64
	rows               int
	scale              int16
	times, values      encoding.MarshalType
	// precision is 64 if nothing was rounded.
	precision             byte
	timesData, valuesData []byte
}

// readStored reads the engine's portable form of a block, the only one that it
// shows. The data are those of src.
func readStored(src []byte) (b stored, ok bool) {
	varint := func() int64 {
		v, n := encoding.UnmarshalVarInt64(src)
		ok = ok && n > 0
		src = src[max(0, n):]
		return v
	}
	bytes := func() []byte {
		v, n := encoding.UnmarshalBytes(src)
		ok = ok && n > 0
		src = src[max(0, n):]
		return v
	}
	ok = true
	b.first, b.last, b.value = varint(), varint(), varint()
	rows, n := encoding.UnmarshalVarUint64(src)
	ok = ok && n > 0 && rows <= math.MaxUint32
	b.rows, src = int(rows), src[max(0, n):]
	b.scale = int16(varint())
	if !ok || len(src) < 3 {
		return b, false
	}
	b.times, b.values, b.precision = encoding.MarshalType(src[0]), encoding.MarshalType(src[1]), src[2]
	src = src[3:]
	b.timesData, b.valuesData = bytes(), bytes()
	return b, ok && len(src) == 0
}

// step is the time from each point to the next if it is always the same and
// positive, else 0.
func (b *stored) step() int64 {
	if b.times != encoding.MarshalTypeDeltaConst || b.precision != 64 {
		return 0
	}
	step, n := encoding.UnmarshalVarInt64(b.timesData)
	if n != len(b.timesData) || step <= 0 || b.first+int64(b.rows-1)*step != b.last {
		return 0
	}
	return step
}

// addRegular adds the points of a block within tr if they are a fixed time
// apart, as those of most devices are, and reports whether it did. Then no time
// has to be decoded, compared or looked at twice.
func (c *columns) addRegular(b *stored, tr storage.TimeRange) (bool, error) {
	step := b.step()
	if step == 0 {
		return false, nil
	}
	from, to := 0, b.rows
	if tr.MinTimestamp > b.first {
		from = int(min(int64(b.rows), (tr.MinTimestamp-b.first+step-1)/step))
	}
	if tr.MaxTimestamp < b.last {
		to = int(max(0, floor(tr.MaxTimestamp-b.first, step)+1))
	}
	if from >= to {
		return true, nil
	}
	if err := c.addValues(b, from, to); err != nil {
		return false, err
	}
	n := len(c.times)
	c.times = slices.Grow(c.times, to-from)[:n+to-from]
	t := b.first + int64(from)*step
	for i := range c.times[n:] {
		c.times[n+i] = t
		t += step
	}
	if n > 0 && c.times[n] <= c.times[n-1] {
		c.compact(c.mergeTail(n))
	}
	return true, nil
}

// floor is a/b rounded down; b is positive.
func floor(a, b int64) int64 {
	if a < 0 {
		return -((b - 1 - a) / b)
	}
	return a / b
}

// addValues adds the values of a block from one index to before another.
func (c *columns) addValues(b *stored, from, to int) error {
	data, kind := b.valuesData, b.values
	var err error
	switch kind {
	case encoding.MarshalTypeZSTDNearestDelta, encoding.MarshalTypeZSTDNearestDelta2:
		if data, err = c.unpack(data); err != nil {
			return fmt.Errorf("decode block: %w", err)
		}
		if kind == encoding.MarshalTypeZSTDNearestDelta {
			kind = encoding.MarshalTypeNearestDelta
		} else {
			kind = encoding.MarshalTypeNearestDelta2
		}
	}
	if kind == encoding.MarshalTypeNearestDelta || kind == encoding.MarshalTypeNearestDelta2 {
		small := differences{first: b.value, of: data, rows: b.rows, second: kind == encoding.MarshalTypeNearestDelta2}
		if n := len(c.values); c.addSmall(small, from, to) {
			rescale(c.values[n:], b.scale)
			return nil
		}
	}
	if c.numbers, err = encoding.UnmarshalValues(c.numbers[:0], data, kind, b.value, b.rows); err != nil {
		return fmt.Errorf("decode block: %w", err)
	}
	c.values = decimal.AppendDecimalToFloat(c.values, c.numbers[from:to], b.scale)
	return nil
}

// unpack is what was packed. It is not to be changed, and valid until the next
// block.
func (c *columns) unpack(packed []byte) ([]byte, error) {
	if c.remembers != nil {
		return c.remembers.of(packed)
	}
	var err error
	c.unpacked, err = encoding.DecompressZSTD(c.unpacked[:0], packed)
	return c.unpacked, err
}

// differences are the numbers of a block by their differences, unpacked, or by
// those of the differences (second).
type differences struct {
	first  int64
	of     []byte
	rows   int
	second bool
}

// addSmall adds whole numbers from one index to before another if their
// differences have a byte each, and reports whether they do: as many bytes as
// there are differences. Such numbers are summed up and made floats in one go, as
// decimal.AppendDecimalToFloat makes them; none can be one of those that stand
// for infinities.
func (c *columns) addSmall(b differences, from, to int) bool {
	const far = 1 << 62
	if len(b.of) != b.rows-1 || b.first > far || b.first < -far {
		return false
	}
	n := len(c.values)
	c.values = slices.Grow(c.values, to-from)[:n+to-from]
	out := c.values[n:]
	v, d, continued := b.first, int64(0), byte(0)
	if from == 0 {
		out[0] = float64(v)
		out = out[1:]
	}
	// before are the differences up to the first number that is wanted.
	before, within := b.of[:max(0, from-1)], b.of[max(0, from-1):to-1]
	for _, x := range before {
		continued |= x
		if d = small(x) + d; b.second {
			v += d
			continue
		}
		v, d = v+d, 0
	}
	if b.second {
		for i, x := range within {
			continued |= x
			d += small(x)
			v += d
			out[i] = float64(v)
		}
	} else {
		for i, x := range within {
			continued |= x
			v += small(x)
			out[i] = float64(v)
		}
	}
	if continued >= 0x80 { // no varint of a byte: the engine says what is wrong
		c.values = c.values[:n]
		return false
	}
	return true
}

// small is the signed number that a varint of one byte is.
func small(x byte) int64 { return int64(int8(x>>1) ^ (int8(x<<7) >> 7)) }

// rescale multiplies by a power of ten, as decimal.AppendDecimalToFloat does.
func rescale(values []float64, scale int16) {
	switch {
	case scale < 0:
		by := math.Pow10(int(-scale))
		for i := range values {
			values[i] /= by
		}
	case scale > 0:
		by := math.Pow10(int(scale))
		for i := range values {
			values[i] *= by
		}
	}
}
