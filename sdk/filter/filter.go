package filter

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/schema"
)

// The bounds of a filter, which comes from callers. They are far beyond what
// anybody writes by hand, and keep the work for one object bounded.
const (
	maxText  = 8 << 10
	maxDepth = 64   // parentheses
	maxTerms = 256  // tests
	maxList  = 1000 // literals of one list
)

// Filter says of objects of one type which are wanted. Nil is all of them.
type Filter struct {
	resource *schema.Resource
	// root is nil for a filter that every object passes.
	root node
}

// Parse parses a filter of objects of a type. What is wrong with the text is an
// Invalid fault with the field "filter", the reason INVALID_FILTER, and in its
// message the column and what was expected there.
func Parse(r *schema.Resource, text string) (*Filter, error) {
	p := parser{resource: r, text: text}
	root, err := p.parse()
	if err != nil {
		return nil, &fault.Error{Op: "filter.Parse", Kind: fault.Invalid, Reason: "INVALID_FILTER", Field: "filter", Err: err}
	}
	return &Filter{resource: r, root: root}, nil
}

// Match reports whether an object passes. It does not allocate, but for the
// reflection on lists and on maps other than labels.
func (f *Filter) Match(m protoreflect.Message) bool {
	return f.Empty() || f.root.match(m)
}

// Empty reports whether every object passes, because nothing was asked.
func (f *Filter) Empty() bool { return f == nil || f.root == nil }

// String is the filter in its one canonical text, which parses to the same
// filter.
func (f *Filter) String() string {
	if f.Empty() {
		return ""
	}
	return string(f.root.append(nil))
}

// conjuncts are the nodes that all must match.
func (f *Filter) conjuncts() []node {
	if f.Empty() {
		return nil
	}
	if all, ok := f.root.(allOf); ok {
		return all
	}
	return []node{f.root}
}

// Region is the one region whose objects the filter is about, so that a query
// can be sent there: that of "metadata.syncing.owning_region = x" (owning), or
// otherwise of "metadata.syncing.regions CONTAINS x". The first takes
// precedence, wherever it is; neither counts below an OR or a NOT.
func (f *Filter) Region() (region string, owning, ok bool) {
	for _, n := range f.conjuncts() {
		t, is := n.(*test)
		if !is || t.pattern != nil || len(t.values) == 0 {
			continue
		}
		switch path := t.path.String(); {
		case path == "metadata.syncing.owning_region" && len(t.values) == 1 && (t.op == opEqual || t.op == opIn):
			return t.values[0].text, true, true
		case !ok && path == "metadata.syncing.regions" && (t.op == opEqual || t.op == opAll || t.op == opIn && len(t.values) == 1):
			region, ok = t.values[0].text, true
		}
	}
	return region, false, ok
}

// node is a part of a filter.
type node interface {
	match(m protoreflect.Message) bool
	// append appends the canonical text.
	append(b []byte) []byte
}

// allOf is two or more nodes that all must match, none of them an allOf.
type allOf []node

// match implements [node].
func (a allOf) match(m protoreflect.Message) bool {
	for _, n := range a {
		if !n.match(m) {
			return false
		}
	}
	return true
}

// append implements [node]. Every OR gets parentheses that it does not need,
// for readers who do not know that it binds tighter.
func (a allOf) append(b []byte) []byte {
	for i, n := range a {
		if i > 0 {
			b = append(b, " AND "...)
		}
		b = group(b, n)
	}
	return b
}

// anyOf is two or more nodes of which one must match, none of them an anyOf.
type anyOf []node

// match implements [node].
func (a anyOf) match(m protoreflect.Message) bool {
	for _, n := range a {
		if n.match(m) {
			return true
		}
	}
	return false
}

// append implements [node].
func (a anyOf) append(b []byte) []byte {
	for i, n := range a {
		if i > 0 {
			b = append(b, " OR "...)
		}
		b = group(b, n)
	}
	return b
}

// none is a node that must not match, itself not a none.
type none struct{ node }

// match implements [node].
func (n none) match(m protoreflect.Message) bool { return !n.node.match(m) }

// append implements [node].
func (n none) append(b []byte) []byte { return group(append(b, "NOT "...), n.node) }

// group appends a node, in parentheses if it has several.
func group(b []byte, n node) []byte {
	switch n.(type) {
	case allOf, anyOf:
		return append(n.append(append(b, '(')), ')')
	}
	return n.append(b)
}

// and joins nodes by AND.
func and(nodes []node) node {
	var flat allOf
	for _, n := range nodes {
		if a, ok := n.(allOf); ok {
			flat = append(flat, a...)
		} else {
			flat = append(flat, n)
		}
	}
	switch len(flat) {
	case 0:
		return nil
	case 1:
		return flat[0]
	}
	return flat
}

// or joins nodes by OR.
func or(nodes []node) node {
	var flat anyOf
	for _, n := range nodes {
		if a, ok := n.(anyOf); ok {
			flat = append(flat, a...)
		} else {
			flat = append(flat, n)
		}
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return flat
}

// not is the opposite of a node.
func not(n node) node {
	if inner, ok := n.(none); ok {
		return inner.node
	}
	return none{n}
}

// shorten bounds how much of a filter an error repeats.
func shorten(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// errAt is an error at a byte of a text, by its column.
func errAt(text string, at int, err error) error {
	return fmt.Errorf("column %d: %w", len([]rune(text[:min(at, len(text))]))+1, err)
}
