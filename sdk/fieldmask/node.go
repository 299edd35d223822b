package fieldmask

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fieldpath"
)

// node is what a mask selects at one place of a message. It is whole, or it has
// children: fields in a message, keys and every in a map, every in a list. Nodes
// do not change once they are in a mask, so masks share them. A nil node selects
// nothing.
type node struct {
	// whole is everything from here on. The node is the variable whole.
	whole bool
	// fields are those of a message, by their numbers.
	fields []branch
	// keys are those of a map, in order.
	keys []keyed
	// every is what is selected of every value of a map or item of a list. It
	// is never whole: that is the map or list itself.
	every *node
}

// branch is a field of a message and what is selected of it, which is not nil.
type branch struct {
	field protoreflect.FieldDescriptor
	kind  kind
	*node
}

// keyed is a key of a map and what paths with the key select of its value, which
// is not nil. What every says is selected too.
type keyed struct {
	key protoreflect.MapKey
	*node
}

// kind is how a field holds values, asked of its descriptor once.
type kind uint8

// The kinds of fields.
const (
	single kind = iota
	list
	dict
)

// place is where in a type a node is: in messages of md, or in the list or map
// that is the field. A scalar is neither.
type place struct {
	md    protoreflect.MessageDescriptor
	field protoreflect.FieldDescriptor
}

// whole is the node of everything. There is no other whole node.
var whole = &node{whole: true}

// newBranch is the branch of a field.
func newBranch(f protoreflect.FieldDescriptor, n *node) branch {
	b := branch{field: f, node: n}
	switch {
	case f.IsMap():
		b.kind = dict
	case f.IsList():
		b.kind = list
	}
	return b
}

// at is the place of the field's value.
func (b branch) at() place {
	if b.kind == single {
		return place{md: b.field.Message()}
	}
	return place{field: b.field}
}

// items is the place of the values of a map or items of a list.
func (at place) items() place {
	if at.field.IsMap() {
		return place{md: at.field.MapValue().Message()}
	}
	return place{md: at.field.Message()}
}

// of is the node of one path.
func of(steps []fieldpath.Step) *node {
	if len(steps) == 0 {
		return whole
	}
	s, rest := steps[0], of(steps[1:])
	switch {
	case s.Field != nil:
		return &node{fields: []branch{newBranch(s.Field, rest)}}
	case s.All && rest.whole:
		return whole
	case s.All:
		return &node{every: rest}
	}
	return &node{keys: []keyed{{s.Key, rest}}}
}

// items is the node of a map or list with those children; nil if there are
// none.
func items(every *node, keys []keyed) *node {
	switch {
	case every.empty() && len(keys) == 0:
		return nil
	case every == whole:
		return whole
	}
	return &node{every: every, keys: keys}
}

// fieldsNode is the node of a message with those fields; nil if there are none.
func fieldsNode(fields []branch) *node {
	if len(fields) == 0 {
		return nil
	}
	return &node{fields: fields}
}

// orEmpty is n, or for nil the root of the empty mask.
func orEmpty(n *node) *node {
	if n == nil {
		return &node{}
	}
	return n
}

// empty reports whether the node selects nothing.
func (n *node) empty() bool {
	return n == nil || !n.whole && n.every == nil && len(n.fields) == 0 && len(n.keys) == 0
}

// child is what is selected of a field.
func (n *node) child(f protoreflect.FieldDescriptor) *node {
	if n == nil || n.whole {
		return n
	}
	i, ok := slices.BinarySearchFunc(n.fields, f.Number(), func(b branch, x protoreflect.FieldNumber) int {
		return cmp.Compare(b.field.Number(), x)
	})
	if !ok {
		return nil
	}
	return n.fields[i].node
}

// all is what is selected of every value or item.
func (n *node) all() *node {
	if n == nil || n.whole {
		return n
	}
	return n.every
}

// value is what is selected of the value at a key. It is put together here, not
// kept: to do that for all keys of a path beforehand doubles with each.
func (n *node) value(key protoreflect.MapKey) *node {
	if n == nil || n.whole {
		return n
	}
	return union(n.named(key), n.every)
}

// named is what paths with the key select of its value.
func (n *node) named(key protoreflect.MapKey) *node {
	if n == nil || n.whole {
		return nil
	}
	i, ok := slices.BinarySearchFunc(n.keys, key, func(k keyed, x protoreflect.MapKey) int {
		return fieldpath.CompareKeys(k.key, x)
	})
	if !ok {
		return nil
	}
	return n.keys[i].node
}

// any is what is selected of some values or items.
func (n *node) any() *node {
	if n == nil || n.whole {
		return n
	}
	some := n.every
	for _, k := range n.keys {
		some = union(some, k.node)
	}
	return some
}

// fieldsOf are the branches of a node at a message; of a whole one all fields.
func fieldsOf(n *node, md protoreflect.MessageDescriptor) []branch {
	if n == nil {
		return nil
	}
	if !n.whole || md == nil {
		return n.fields
	}
	all := make([]branch, 0, md.Fields().Len())
	for i := range md.Fields().Len() {
		all = append(all, newBranch(md.Fields().Get(i), whole))
	}
	slices.SortFunc(all, byNumber)
	return all
}

// byNumber is the order of branches.
func byNumber(a, b branch) int { return cmp.Compare(a.field.Number(), b.field.Number()) }

// byKey is the order of keys.
func byKey(a, b keyed) int { return fieldpath.CompareKeys(a.key, b.key) }

// keysOf are the keys that a or b has, each once, in order.
func keysOf(a, b *node) []protoreflect.MapKey {
	var keys []protoreflect.MapKey
	for _, k := range slices.Concat(a.keys, b.keys) {
		keys = append(keys, k.key)
	}
	slices.SortFunc(keys, fieldpath.CompareKeys)
	return slices.CompactFunc(keys, func(x, y protoreflect.MapKey) bool { return fieldpath.CompareKeys(x, y) == 0 })
}

// union selects what a or b does.
func union(a, b *node) *node {
	switch {
	case a.empty():
		return b
	case b.empty():
		return a
	case a.whole || b.whole:
		return whole
	}
	n := &node{fields: slices.Clone(a.fields), keys: slices.Clone(a.keys), every: union(a.every, b.every)}
	for _, x := range b.fields {
		if i, ok := slices.BinarySearchFunc(n.fields, x, byNumber); ok {
			n.fields[i].node = union(n.fields[i].node, x.node)
		} else {
			n.fields = slices.Insert(n.fields, i, x)
		}
	}
	for _, x := range b.keys {
		if i, ok := slices.BinarySearchFunc(n.keys, x, byKey); ok {
			n.keys[i].node = union(n.keys[i].node, x.node)
		} else {
			n.keys = slices.Insert(n.keys, i, x)
		}
	}
	return n
}

// intersect selects what a and b do.
func intersect(a, b *node) *node {
	switch {
	case a.empty() || b.empty():
		return nil
	case a.whole:
		return b
	case b.whole:
		return a
	}
	var fields []branch
	for _, x := range a.fields {
		if x.node = intersect(x.node, b.child(x.field)); x.node != nil {
			fields = append(fields, x)
		}
	}
	if len(fields) > 0 {
		return fieldsNode(fields)
	}
	var keys []keyed
	for _, k := range keysOf(a, b) {
		if n := union(intersect(a.named(k), b.value(k)), intersect(a.every, b.named(k))); n != nil {
			keys = append(keys, keyed{k, n})
		}
	}
	return items(intersect(a.every, b.every), keys)
}

// subtract selects what a does and b does not, and maybe less: see [Subtract].
func subtract(a, b *node, at place) *node {
	switch {
	case a.empty() || b.empty():
		return a
	case b.whole:
		return nil
	case at.field != nil:
		var keys []keyed
		for _, k := range a.keys {
			if k.node = subtract(k.node, b.value(k.key), at.items()); k.node != nil {
				keys = append(keys, k)
			}
		}
		return items(subtract(a.all(), b.any(), at.items()), keys)
	}
	var fields []branch
	for _, x := range fieldsOf(a, at.md) {
		if x.node = subtract(x.node, b.child(x.field), x.at()); x.node != nil {
			fields = append(fields, x)
		}
	}
	return fieldsNode(fields)
}

// covers reports whether a selects all that b does.
func covers(a, b *node, at place) bool {
	switch {
	case b.empty() || a == whole:
		return true
	case a.empty():
		return false
	case at.field != nil:
		for _, k := range b.keys {
			if !covers(a.value(k.key), k.node, at.items()) {
				return false
			}
		}
		return covers(a.every, b.all(), at.items())
	}
	for _, x := range fieldsOf(b, at.md) {
		if !covers(a.child(x.field), x.node, x.at()) {
			return false
		}
	}
	return true
}

// reached counts the paths below that are the one of the steps or cover it.
func (n *node) reached(steps []fieldpath.Step) int {
	switch {
	case n == nil || !n.whole && len(steps) == 0:
		return 0
	case n.whole:
		return 1
	case steps[0].Field != nil:
		return n.child(steps[0].Field).reached(steps[1:])
	case steps[0].All:
		return n.every.reached(steps[1:])
	}
	return n.named(steps[0].Key).reached(steps[1:]) + n.every.reached(steps[1:])
}

// paths adds the paths of the node at p.
func (n *node) paths(paths []fieldpath.Path, p fieldpath.Path) []fieldpath.Path {
	if n.whole {
		return append(paths, p)
	}
	for _, b := range n.fields {
		paths = b.paths(paths, p.Append(fieldpath.Step{Field: b.field}))
	}
	for _, k := range n.keys {
		paths = k.paths(paths, p.Append(fieldpath.Step{Key: k.key}))
	}
	if n.every != nil {
		paths = n.every.paths(paths, p.Append(fieldpath.Step{All: true}))
	}
	return paths
}
