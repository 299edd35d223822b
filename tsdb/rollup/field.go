package rollup

import (
	"math"
	"strconv"

	"selvedge.dev/tsdb"
)

// Fields is a set of the fields of a Partial, and of its Distributions.
type Fields uint16

// The fields. Their numbers are not stored.
const (
	Count Fields = 1 << iota
	Sum
	M2
	Min
	Max
	True
	First
	Last
	FirstAt
	LastAt
	Increase
	Merged
	Head
	Tail
)

// stored is one field as it is stored: in a series of its own, and if it has
// to come back exactly what of its value does not fit in a second one.
type stored struct {
	field Fields
	// name is a part of the names of the hidden series and can never change.
	name string
	// exact fields have a second series, of the same name and restSuffix.
	exact bool
	// bare fields have a second series for what has too many exemplars.
	bare bool
	of   func(p *Partial) *float64
	// at is, instead of of, a time, which is stored as milliseconds since the
	// window's start.
	at func(p *Partial) *tsdb.Millis
	// distribution is, instead of both, a distribution.
	distribution func(d *Distributions) **tsdb.Distribution
}

// restSuffix is added to the name of a field for its second series.
const restSuffix = "+"

// layout are all fields as they are stored.
var layout = []stored{
	{field: Count, name: "count", of: func(p *Partial) *float64 { return &p.Count }},
	{field: Sum, name: "sum", of: func(p *Partial) *float64 { return &p.Sum }},
	{field: M2, name: "m2", of: func(p *Partial) *float64 { return &p.M2 }},
	{field: Min, name: "min", exact: true, of: func(p *Partial) *float64 { return &p.Min }},
	{field: Max, name: "max", exact: true, of: func(p *Partial) *float64 { return &p.Max }},
	{field: True, name: "true", of: func(p *Partial) *float64 { return &p.True }},
	{field: First, name: "first", exact: true, of: func(p *Partial) *float64 { return &p.First }},
	{field: Last, name: "last", exact: true, of: func(p *Partial) *float64 { return &p.Last }},
	{field: FirstAt, name: "firstat", at: func(p *Partial) *tsdb.Millis { return &p.FirstAt }},
	{field: LastAt, name: "lastat", at: func(p *Partial) *tsdb.Millis { return &p.LastAt }},
	{field: Increase, name: "increase", of: func(p *Partial) *float64 { return &p.Increase }},
	{field: Merged, name: mergedName, bare: true, distribution: func(d *Distributions) **tsdb.Distribution { return &d.Merged }},
	{field: Head, name: "head", distribution: func(d *Distributions) **tsdb.Distribution { return &d.Head }},
	{field: Tail, name: "tail", distribution: func(d *Distributions) **tsdb.Distribution { return &d.Tail }},
}

// value is the field of a Partial of a window that starts at start, as it is
// stored.
func (f *stored) value(p *Partial, start tsdb.Millis) float64 {
	if f.at != nil {
		return float64(*f.at(p) - start)
	}
	return *f.of(p)
}

// set is the inverse of value.
func (f *stored) set(p *Partial, start tsdb.Millis, v float64) {
	if f.at != nil {
		*f.at(p) = start + tsdb.Millis(v)
		return
	}
	*f.of(p) = v
}

// keptDigits is how many significant digits the storage keeps of every value
// (tsdb/vm, Precision).
const keptDigits = 11

// split is v as the sum of two values that the storage keeps: v to eleven
// digits, and what is left of it, which has fewer bits than eleven digits tell
// apart. So their sum is v again.
func split(v float64) (kept, rest float64) {
	if v == math.Trunc(v) && math.Abs(v) <= 1<<53 {
		return v, 0
	}
	var text [32]byte
	kept, err := strconv.ParseFloat(string(strconv.AppendFloat(text[:0], v, 'e', keptDigits-1, 64)), 64)
	if err != nil || math.IsInf(kept, 0) { // rounded up over the greatest number
		return v, 0
	}
	return kept, v - kept
}

// finite reports whether the storage takes all of the fields.
func (p *Partial) finite(fields Fields) bool {
	for i := range layout {
		f := &layout[i]
		if fields&f.field != 0 && f.of != nil {
			if v := *f.of(p); v-v != 0 { // no number, or an infinity
				return false
			}
		}
	}
	return true
}
