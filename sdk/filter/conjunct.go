package filter

import (
	"bytes"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

// maxConditions bounds the conditions of one filter: each costs a look into an
// index, and more of them narrow nothing.
const maxConditions = 16

// Conjuncts are conditions on entries that hold for every object that passes.
// Not every filter has some, and they may hold for objects that do not pass:
// [Filter.Residual] is what there is left to ask.
func (f *Filter) Conjuncts() []Condition {
	var all []Condition
	for _, n := range f.conjuncts() {
		if c, _, ok := condition(f.resource, n); ok && len(all) < maxConditions {
			all = append(all, c)
		}
	}
	return all
}

// Residual is the filter without the parts that say no more than one of these
// conditions, which are of [Filter.Conjuncts].
func (f *Filter) Residual(used []Condition) *Filter {
	if f.Empty() {
		return nil
	}
	var rest []node
	for _, n := range f.conjuncts() {
		c, exact, ok := condition(f.resource, n)
		if !ok || !exact || !slices.ContainsFunc(used, c.equal) {
			rest = append(rest, n)
		}
	}
	return &Filter{resource: f.resource, root: and(rest)}
}

// Names bounds the names of the objects that pass: from <= name < to, bytewise;
// "" is no bound. The residual still asks for them.
func (f *Filter) Names() (from, to resource.Name) {
	for _, n := range f.conjuncts() {
		t, ok := n.(*test)
		if !ok || len(t.path.steps) != 1 || t.path.steps[0].field != f.resource.Name {
			continue
		}
		low, high := "", ""
		switch {
		case t.pattern != nil && t.op != opNotEqual:
			if low, _ = t.pattern.prefix(); low != "" {
				high = low + "\xff" // above all of UTF-8
			}
		case t.op == opEqual || t.op == opIn:
			low, high = t.values[0].text, t.values[len(t.values)-1].text+"\x00"
		case t.op == opMore || t.op == opAtLeast:
			low = t.values[0].text
		case t.op == opLess || t.op == opAtMost:
			high = t.values[0].text + "\x00"
		}
		from = max(from, resource.Name(low))
		if high != "" && (to == "" || resource.Name(high) < to) {
			to = resource.Name(high)
		}
	}
	return from, to
}

// condition is what an index can tell about a node, and whether that is all
// that the node says.
func condition(r *schema.Resource, n node) (c Condition, exact, ok bool) {
	switch n := n.(type) {
	case *test:
		return n.condition(r)
	case anyOf:
		return n.condition(r)
	}
	return Condition{}, false, false
}

// condition is that of several nodes which all ask the same index for values.
func (a anyOf) condition(r *schema.Resource) (all Condition, exact, ok bool) {
	exact = true
	for i, n := range a {
		c, e, ok := condition(r, n)
		if !ok || c.Op != In || i > 0 && (c.Index != all.Index || c.Key != all.Key) {
			return Condition{}, false, false
		}
		all.Index, all.Key = c.Index, c.Key
		all.Values = append(all.Values, c.Values...)
		exact = exact && e
	}
	all.Values = sorted(all.Values)
	return all, exact, true
}

// condition is what an index can tell about a test.
func (t *test) condition(r *schema.Resource) (c Condition, exact, ok bool) {
	x, ok := t.path.index(r)
	if !ok {
		return Condition{}, false, false
	}
	c.Index = x.Path.String()
	if x.Keyed {
		c.Key = t.path.last().key.String()
	}
	switch t.op {
	case opEqual, opIn, opAll, opLike:
		if t.pattern != nil {
			exact, ok = t.prefix(&c)
			break
		}
		if t.op == opAll {
			c.Op = All
		}
		for i := range t.values {
			c.Values = append(c.Values, Key(t.values[i].from))
		}
		c.Values, exact = sorted(c.Values), true
	case opLess, opAtMost, opMore, opAtLeast:
		exact, ok = true, t.bounds(&c)
	case opSet:
		exact, ok = true, t.set(&c)
	case opNull:
		exact, ok = true, !x.Many
		c.Values = [][]byte{Key(fieldpath.Value{})}
		if t.path.zero && t.path.class < classDuration {
			c.Values = append(c.Values, t.path.zeroKey())
		}
	default: // what is not so is everywhere else
		ok = false
	}
	if !ok {
		return Condition{}, false, false
	}
	return c, exact, true
}

// index is the index of a path, or of the map that it leads to a key of.
func (x *path) index(r *schema.Resource) (schema.Index, bool) {
	text, enter := x.String(), x.last().enter
	for _, i := range r.Indexes {
		is := i.Path.String()
		switch {
		case i.Keyed:
			if enter == enterKey && i.Path.Field() == x.last().field && strings.HasPrefix(text, is+".") {
				return i, true
			}
		case strings.TrimSuffix(is, ".*") == strings.TrimSuffix(text, ".*"):
			return i, true
		}
	}
	return schema.Index{}, false
}

// prefix makes a range of what begins like the pattern.
func (t *test) prefix(c *Condition) (exact, ok bool) {
	text, exact := t.pattern.prefix()
	c.Op = Range
	if text == "" {
		c.From = []byte{lowest}
		return exact, exact
	}
	c.From = fieldpath.AppendPrefix(nil, text)
	c.To = append(slices.Clone(c.From), 0xff)
	return exact, len(c.From) < maxKey-sum
}

// bounds makes a range of a comparison.
func (t *test) bounds(c *Condition) bool {
	bound := fieldpath.AppendKey(nil, t.values[0].from)
	if len(bound) > maxKey-sum {
		return false // what is as long is cut, and has lost its order
	}
	c.Op = Range
	// Neither what is not set, which comes before all values, nor NaN, which
	// comes after, is more or less than anything.
	switch t.op {
	case opMore, opAtLeast:
		c.From, c.FromOpen = bound, t.op == opMore
		if t.path.class == classFloat {
			c.To, c.ToClosed = t.path.floatKey(math.Inf(1)), true
		}
	default:
		c.From = []byte{lowest}
		c.To, c.ToClosed = bound, t.op == opAtMost
	}
	return true
}

// set makes a range of all values that are set.
func (t *test) set(c *Condition) bool {
	c.Op, c.From = Range, []byte{lowest}
	x := t.path
	switch {
	case !x.zero || x.class == classDuration || x.class == classTimestamp:
		return true
	case x.class == classText || x.class == classBytes || x.class == classUint || x.class == classBool:
		c.From, c.FromOpen = x.zeroKey(), true // the least value
		return true
	}
	return false
}

// zeroKey is the key of the zero value of the path.
func (x *path) zeroKey() []byte { return Key(fieldpath.Value{Value: x.desc.Default(), Desc: x.desc}) }

// floatKey is the key of a floating-point number.
func (x *path) floatKey(f float64) []byte {
	v := protoreflect.ValueOfFloat64(f)
	if x.desc.Kind() == protoreflect.FloatKind {
		v = protoreflect.ValueOfFloat32(float32(f))
	}
	return Key(fieldpath.Value{Value: v, Desc: x.desc})
}

// Holds reports whether the condition holds for an object with these entries.
func (c Condition) Holds(entries []Entry) bool {
	if c.Op == All {
		for _, v := range c.Values {
			if !slices.ContainsFunc(entries, func(e Entry) bool { return c.about(e) && bytes.Equal(e.Value, v) }) {
				return false
			}
		}
		return true
	}
	return slices.ContainsFunc(entries, func(e Entry) bool { return c.about(e) && c.admits(e.Value) })
}

// about reports whether the condition is about an entry.
func (c Condition) about(e Entry) bool { return e.Index == c.Index && e.Key == c.Key }

// admits reports whether the value of an entry is as In or Range say.
func (c Condition) admits(v []byte) bool {
	if c.Op == In {
		_, ok := slices.BinarySearchFunc(c.Values, v, bytes.Compare)
		return ok
	}
	from, to := bytes.Compare(v, c.From), bytes.Compare(v, c.To)
	return (c.From == nil || from > 0 || from == 0 && !c.FromOpen) && (c.To == nil || to < 0 || to == 0 && c.ToClosed)
}

// equal reports whether two conditions are the same.
func (c Condition) equal(d Condition) bool {
	return c.Index == d.Index && c.Key == d.Key && c.Op == d.Op && c.FromOpen == d.FromOpen && c.ToClosed == d.ToClosed &&
		bytes.Equal(c.From, d.From) && bytes.Equal(c.To, d.To) && slices.EqualFunc(c.Values, d.Values, bytes.Equal)
}

// sorted sorts keys and removes what is there twice.
func sorted(keys [][]byte) [][]byte {
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal)
}
