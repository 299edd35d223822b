package distribution

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"

	"selvedge.dev/tsdb"
)

// maxExemplars bounds the exemplars of one distribution that is kept, as Encode
// writes them: ten of a trace each, for which a storage keeps some 130 numbers
// more.
const maxExemplars = 512

// InvalidExemplars is exemplars that KeepExemplars does not make.
const InvalidExemplars = "INVALID_EXEMPLARS"

// KeepExemplars gives d those of some exemplars that can be kept, and returns how
// many cannot: in each bucket the newest (of equally new ones the greater, and of
// equal ones that whose form is greater), and of these the newest that have room
// together. A distribution without buckets has one exemplar at most, and one with
// dynamic buckets or without values has none.
func KeepExemplars(d *tsdb.Distribution, all []tsdb.Exemplar) (lost int) {
	d.Exemplars = nil
	if d.Count == 0 {
		return len(all)
	}
	sound := slices.DeleteFunc(slices.Clone(all), func(e tsdb.Exemplar) bool { return !finite(e.Value) })
	d.Exemplars = newest(&d.Buckets, sound)
	for len(encode(d.Exemplars)) > maxExemplars {
		oldest := slices.MinFunc(d.Exemplars, compareExemplars)
		d.Exemplars = slices.DeleteFunc(d.Exemplars, func(e tsdb.Exemplar) bool { return compareExemplars(e, oldest) == 0 })
	}
	if len(d.Exemplars) == 0 {
		d.Exemplars = nil
	}
	return len(all) - len(d.Exemplars)
}

// newest are the newest exemplar of each bucket, ascending by value.
func newest(b *tsdb.Buckets, all ...[]tsdb.Exemplar) []tsdb.Exemplar {
	n := 0
	for _, list := range all {
		n += len(list)
	}
	if n == 0 || b.Kind == tsdb.DynamicBuckets {
		return nil
	}
	bounds := Bounds(b)
	best := make(map[int]tsdb.Exemplar, n)
	for _, list := range all {
		for _, e := range list {
			at := bucketOf(bounds, e.Value)
			if have, some := best[at]; !some || compareExemplars(e, have) > 0 {
				best[at] = e
			}
		}
	}
	out := make([]tsdb.Exemplar, 0, len(best))
	for _, e := range best {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b tsdb.Exemplar) int { return cmp.Compare(a.Value, b.Value) })
	return out
}

// compareExemplars says which of two goes before the other: the greater.
func compareExemplars(a, b tsdb.Exemplar) int {
	if c := cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Value, b.Value)); c != 0 {
		return c
	}
	return bytes.Compare(encode([]tsdb.Exemplar{a}), encode([]tsdb.Exemplar{b}))
}

// without are the exemplars of a that are not in b.
func without(a, b []tsdb.Exemplar) []tsdb.Exemplar {
	if len(a) == 0 || len(b) == 0 {
		return a
	}
	return slices.DeleteFunc(slices.Clone(a), func(e tsdb.Exemplar) bool {
		return slices.ContainsFunc(b, func(o tsdb.Exemplar) bool { return compareExemplars(e, o) == 0 })
	})
}

// exemplarsFault is why the exemplars of d can be none.
func exemplarsFault(d *tsdb.Distribution) (reason, text string) {
	if len(d.Exemplars) == 0 {
		return "", ""
	}
	if d.Count == 0 || d.Buckets.Kind == tsdb.DynamicBuckets {
		return InvalidExemplars, "there are exemplars of no values or of dynamic buckets"
	}
	bounds, last := Bounds(&d.Buckets), -1
	for i, e := range d.Exemplars {
		at := bucketOf(bounds, e.Value)
		if !finite(e.Value) || at <= last {
			return InvalidExemplars, fmt.Sprintf("exemplar %d is no number, is not greater than the one before, or in its bucket", i)
		}
		last = at
	}
	if n := len(encode(d.Exemplars)); n > maxExemplars {
		return InvalidExemplars, fmt.Sprintf("the exemplars have %d bytes, and at most %d can be", n, maxExemplars)
	}
	return "", ""
}

// bucketOf is the bucket of a value.
func bucketOf(bounds []float64, v float64) int {
	at, found := slices.BinarySearch(bounds, v)
	if found {
		at++ // a bucket has its lower bound
	}
	return at
}

// Exemplars are kept as numbers below 2^53, which every storage has exactly. The
// bytes of encode are cut into words of four; each number is one of them, below a
// fingerprint of the whole:
//
//	 52           32 31             16 15             0
//	+---------------+-----------------+----------------+
//	| fingerprint   | length in bytes | 16 bits more   |  number 0
//	| fingerprint   | word                             |  number 1, …
//	+---------------+----------------------------------+
//
// So of two lists for one time the numbers of that with the greater fingerprint
// are the greater ones, all of them: if a storage keeps the greatest of each
// number, it keeps one of the lists whole, the same whatever the order was.
const (
	fingerprintBits = 21
	wordBytes       = 4
)

// ExemplarNumbers are the exemplars as numbers; none for no exemplars.
func ExemplarNumbers(list []tsdb.Exemplar) []float64 {
	if len(list) == 0 {
		return nil
	}
	text := encode(list)
	high, low := fingerprint(text)
	numbers := make([]float64, 0, 1+(len(text)+wordBytes-1)/wordBytes)
	numbers = append(numbers, float64(high|uint64(len(text))<<16|low))
	for len(text) > 0 {
		var word [wordBytes]byte
		text = text[copy(word[:], text):]
		numbers = append(numbers, float64(high|uint64(binary.BigEndian.Uint32(word[:]))))
	}
	return numbers
}

// exemplarSize is how many numbers ExemplarNumbers makes.
func exemplarSize(list []tsdb.Exemplar) int {
	if len(list) == 0 {
		return 0
	}
	return 1 + (len(encode(list))+wordBytes-1)/wordBytes
}

// ExemplarCount is how many numbers ExemplarNumbers makes of a list whose first
// one is given.
func ExemplarCount(first float64) int {
	length := int(uint64(first) >> 16 & math.MaxUint16)
	return 1 + (length+wordBytes-1)/wordBytes
}

// ExemplarsOf is the inverse of ExemplarNumbers. It is false for numbers that are
// not all of one list.
func ExemplarsOf(numbers []float64) ([]tsdb.Exemplar, bool) {
	if len(numbers) == 0 || len(numbers) != ExemplarCount(numbers[0]) {
		return nil, false
	}
	first := uint64(numbers[0])
	length := int(first >> 16 & math.MaxUint16)
	text := make([]byte, 0, len(numbers)*wordBytes)
	for _, v := range numbers[1:] {
		if uint64(v)>>32 != first>>32 {
			return nil, false
		}
		text = binary.BigEndian.AppendUint32(text, uint32(uint64(v)))
	}
	if len(bytes.TrimRight(text[length:], "\x00")) > 0 {
		return nil, false
	}
	text = text[:length]
	if high, low := fingerprint(text); high != first&^math.MaxUint32 || low != first&math.MaxUint16 {
		return nil, false
	}
	return decode(text)
}

// fingerprint is that of a text, and 16 bits more.
func fingerprint(text []byte) (high, low uint64) {
	sum := sha256.Sum256(text)
	v := binary.BigEndian.Uint64(sum[:])
	return v >> (64 - fingerprintBits) << 32, v & math.MaxUint16
}

// joinExemplars are those that stay of two lists for one time: the list with the
// greater fingerprint. Of different ones with the same, none stays.
func joinExemplars(a, b []tsdb.Exemplar) []tsdb.Exemplar {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	m, n := ExemplarNumbers(a), ExemplarNumbers(b)
	switch cmp.Compare(uint64(m[0])>>32, uint64(n[0])>>32) {
	case 1:
		return a
	case -1:
		return b
	}
	if slices.Equal(m, n) {
		return a
	}
	return nil
}

// encode writes exemplars one behind the other: the value in eight bytes, the
// time, the span, the text and the labels that were dropped. Integers are varints
// and stand before what they are the length of.
func encode(list []tsdb.Exemplar) []byte {
	var b []byte
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for _, e := range list {
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(e.Value))
		b = binary.AppendVarint(b, int64(e.Time))
		if project, ids := splitSpan(e.Span); ids != nil {
			b = append(b, 1)
			text(project)
			b = append(b, ids...)
		} else {
			b = append(b, 0)
			text(e.Span)
		}
		text(e.Text)
		b = binary.AppendUvarint(b, uint64(len(e.Dropped)))
		for _, l := range e.Dropped {
			text(l.Name)
			text(l.Value)
		}
	}
	return b
}

// The words of a span's name, and how long the ids are in it.
const (
	spanProject = "projects/"
	spanTrace   = "/traces/"
	spanSpan    = "/spans/"
	traceBytes  = 16
	spanBytes   = 8
)

// SpanName is the name of a span, as an exemplar has it.
func SpanName(project string, trace, span []byte) string {
	return spanProject + project + spanTrace + hex.EncodeToString(trace) + spanSpan + hex.EncodeToString(span)
}

// splitSpan takes the name of a span apart. The ids are nil when it is not one
// that SpanName makes.
func splitSpan(name string) (project string, ids []byte) {
	rest, ok := strings.CutPrefix(name, spanProject)
	tail := len(spanTrace) + 2*traceBytes + len(spanSpan) + 2*spanBytes
	if !ok || len(rest) < tail {
		return "", nil
	}
	project, rest = rest[:len(rest)-tail], rest[len(rest)-tail:]
	ids, err := hex.DecodeString(strings.Replace(strings.TrimPrefix(rest, spanTrace), spanSpan, "", 1))
	if err != nil || len(ids) != traceBytes+spanBytes || SpanName(project, ids[:traceBytes], ids[traceBytes:]) != name {
		return "", nil
	}
	return project, ids
}

// decode is the inverse of encode.
func decode(b []byte) (list []tsdb.Exemplar, ok bool) {
	ok = true
	bytesOf := func(n uint64) (out []byte) {
		if n > uint64(len(b)) {
			ok = false
			return nil
		}
		out, b = b[:n], b[n:]
		return out
	}
	length := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	text := func() string { return string(bytesOf(length())) }
	for len(b) > 0 && ok {
		var e tsdb.Exemplar
		value := bytesOf(8)
		if !ok {
			break
		}
		e.Value = math.Float64frombits(binary.BigEndian.Uint64(value))
		at, n := binary.Varint(b)
		if n <= 0 {
			return nil, false
		}
		e.Time, b = tsdb.Millis(at), b[n:]
		switch kind := bytesOf(1); {
		case ok && kind[0] == 1:
			project := text()
			if ids := bytesOf(traceBytes + spanBytes); ok {
				e.Span = SpanName(project, ids[:traceBytes], ids[traceBytes:])
			}
		default:
			e.Span = text()
		}
		e.Text = text()
		for left := length(); left > 0 && ok; left-- {
			e.Dropped = append(e.Dropped, tsdb.Label{Name: text(), Value: text()})
		}
		list = append(list, e)
	}
	if !ok {
		return nil, false
	}
	return list, true
}
