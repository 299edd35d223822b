package filter

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// op is what a test asks about a value.
type op uint8

// The tests. Those of a path to many values hold if one of them is so; only
// opEqual, opIn, opAll, opSet and opNull are of such paths.
const (
	opEqual op = iota
	opNotEqual
	opLess
	opAtMost
	opMore
	opAtLeast
	opLike
	opIn
	opNotIn
	opAll    // each of the values is one of the path's
	opSet    // there is a value, IS NOT NULL
	opNull   // there is none
	opNaN    // it is NaN
	opNumber // it is not NaN

	// opHas is ":" and opContains is CONTAINS until it is known of what.
	opHas
	opContains
)

// signs are the tests with one literal in canonical text.
var signs = map[op]string{
	opEqual: " = ", opNotEqual: " != ", opLess: " < ", opAtMost: " <= ", opMore: " > ", opAtLeast: " >= ", opLike: " LIKE ",
	opIn: " IN (", opNotIn: " NOT IN (", opAll: " CONTAINS ALL (", opSet: " IS NOT NULL", opNull: " IS NULL", opNaN: " IS NaN", opNumber: " IS NOT NaN",
}

// test asks something about the values of a path.
type test struct {
	path *path
	op   op
	// values are what is compared with, sorted if they are several.
	values []value
	// pattern, if not nil, is there instead of the value of opEqual,
	// opNotEqual and opLike.
	pattern pattern
}

// newTest makes a test of values that were read for the path.
func newTest(x *path, o op, values []value) *test {
	c := x.class
	slices.SortFunc(values, func(a, b value) int { return a.compare(c, &b.scalar) })
	values = slices.CompactFunc(values, func(a, b value) bool { return a.compare(c, &b.scalar) == 0 })
	if len(values) == 1 && (x.many && (o == opIn || o == opAll) || o == opIn) {
		o = opEqual
	}
	if len(values) == 1 && o == opNotIn {
		o = opNotEqual
	}
	return &test{path: x, op: o, values: values}
}

// compare makes a test of a path and one literal, and refuses what makes no
// sense. Its errors are about the literal.
func compare(r *schema.Resource, x *path, o op, l literal, colon bool) (node, error) {
	has := o == opHas || o == opContains
	switch {
	case colon && !l.quoted && l.raw == "*":
		return newTest(x, opSet, nil), nil
	case has && x.holder():
		m, err := x.member(r, l)
		if err != nil {
			return nil, err
		}
		return newTest(m, opSet, nil), nil
	case x.holder():
		return nil, x.notComparable()
	case has:
		o = opEqual
	case x.many:
		return nil, fmt.Errorf("%s has many values: use \":\" or CONTAINS", x)
	}
	equality := o == opEqual || o == opNotEqual
	switch {
	case o == opLike && x.class != classText:
		return nil, fmt.Errorf("LIKE is for text, and %s is %s", x, x.wants())
	case !equality && (x.class == classBool || x.class == classEnum):
		return nil, fmt.Errorf("%s has no order: use = or !=", x)
	}
	var p pattern
	var err error
	switch {
	case x.class != classText || l.function != "":
	case o == opLike:
		p, err = parsePattern(l, '%', '_')
	case equality && (colon || !has):
		p, err = parsePattern(l, '*', 0)
	}
	switch {
	case err != nil:
		return nil, err
	case p != nil:
		return &test{path: x, op: o, pattern: p}, nil
	case o == opLike:
		o = opEqual
	}
	v, err := x.value(l)
	if err != nil {
		return nil, err
	}
	return newTest(x, o, []value{v}), nil
}

// match implements [node].
func (t *test) match(m protoreflect.Message) bool {
	switch t.op {
	case opNull:
		return !t.walk(m, t.path.steps, nil)
	case opAll:
		for i := range t.values {
			if !t.walk(m, t.path.steps, &t.values[i]) {
				return false
			}
		}
		return true
	}
	var want *value
	if len(t.values) == 1 {
		want = &t.values[0]
	}
	return t.walk(m, t.path.steps, want)
}

// walk reports whether a value behind the steps is as the test says.
func (t *test) walk(m protoreflect.Message, steps []step, want *value) bool {
	for i := range steps {
		s := &steps[i]
		if s.presence && !m.Has(s.field) {
			return false
		}
		if s.labels {
			if md, ok := m.Interface().(*resourcev1.Metadata); ok {
				text, has := md.GetLabels()[s.key.String()]
				return has && t.holds(protoreflect.ValueOfString(text), want)
			}
		}
		v := m.Get(s.field)
		rest := steps[i+1:]
		switch s.enter {
		case enterMap:
			return v.Map().Len() > 0
		case enterItems:
			list := v.List()
			for j := range list.Len() {
				if t.item(list.Get(j), rest, want) {
					return true
				}
			}
			return false
		case enterAll:
			found := false
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				found = t.item(v, rest, want)
				return !found
			})
			return found
		case enterKey:
			v = v.Map().Get(s.key)
			if !v.IsValid() {
				return false
			}
		case enterField:
			if s.field.Message() != nil && !v.Message().IsValid() {
				return false
			}
		}
		if len(rest) == 0 {
			return t.holds(v, want)
		}
		m = v.Message()
	}
	panic("BUG: filter: a test of no kind")
}

// item is walk from one item of a list or value of a map.
func (t *test) item(v protoreflect.Value, rest []step, want *value) bool {
	if len(rest) == 0 {
		return t.holds(v, want)
	}
	return t.walk(v.Message(), rest, want)
}

// holds reports whether one value is as the test says.
func (t *test) holds(v protoreflect.Value, want *value) bool {
	x := t.path
	if t.op == opSet || t.op == opNull {
		return !x.zero || !x.isZero(v)
	}
	if t.pattern != nil {
		return t.pattern.match(v.String()) == (t.op != opNotEqual)
	}
	got := x.read(v)
	nan := got.float != got.float // only NaN is not itself
	switch t.op {
	case opNaN:
		return nan
	case opNumber:
		return !nan
	case opIn:
		return !nan && t.in(&got)
	case opNotIn:
		return nan || !t.in(&got)
	}
	if nan {
		return t.op == opNotEqual
	}
	c := got.compare(x.class, &want.scalar)
	switch t.op {
	case opEqual, opAll:
		return c == 0
	case opNotEqual:
		return c != 0
	case opLess:
		return c < 0
	case opAtMost:
		return c <= 0
	case opMore:
		return c > 0
	case opAtLeast:
		return c >= 0
	}
	panic("BUG: filter: a test of no kind")
}

// in reports whether v is one of the values.
func (t *test) in(v *scalar) bool {
	low, high := 0, len(t.values)
	for low < high {
		middle := int(uint(low+high) >> 1)
		switch c := t.values[middle].compare(t.path.class, v); {
		case c == 0:
			return true
		case c < 0:
			low = middle + 1
		default:
			high = middle
		}
	}
	return false
}

// isZero reports whether a value is the zero one of its class, -0 too.
func (x *path) isZero(v protoreflect.Value) bool {
	return x.class > classMessage && x.class < classDuration && x.read(v) == scalar{}
}

// append implements [node].
func (t *test) append(b []byte) []byte {
	b = append(b, t.path.String()...)
	if t.op == opEqual && t.path.many {
		if t.pattern != nil {
			return t.pattern.append(append(b, ':'), '*', 0)
		}
		return t.path.appendValue(append(b, " CONTAINS "...), &t.values[0], "")
	}
	if t.op == opIn && t.path.many {
		b = append(b, " CONTAINS ANY ("...)
	} else {
		b = append(b, signs[t.op]...)
	}
	switch {
	case t.op == opLike:
		return t.pattern.append(b, '%', '_')
	case t.pattern != nil:
		return t.pattern.append(b, '*', 0)
	}
	escaped := ""
	if t.op == opEqual || t.op == opNotEqual {
		escaped = "*"
	}
	for i := range t.values {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = t.path.appendValue(b, &t.values[i], escaped)
	}
	if t.op == opIn || t.op == opNotIn || t.op == opAll {
		b = append(b, ')')
	}
	return b
}
