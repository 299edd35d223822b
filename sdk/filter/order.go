package filter

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/schema"
)

// The bounds of an order, which comes from callers.
const (
	maxOrder = 1 << 10 // bytes
	maxKeys  = 8
)

// Order is an order of objects of one type. The name is always its last key, so
// no two objects are equal in it. The zero value is by name.
type Order struct {
	// Keys come first, each an index with a single value.
	Keys []OrderKey
	// NameDesc is whether names descend where the keys are equal.
	NameDesc bool
	paths    []fieldpath.Path
}

// OrderKey is one key of an order.
type OrderKey struct {
	// Index is the canonical path of the index.
	Index string
	// Desc is whether it descends.
	Desc bool
}

// ParseOrder parses "spec.power desc, name" (google.aip.dev/132). Objects can
// be ordered by their name and by indexes with a single value; anything else is
// an Invalid fault with the field "order_by" that says which those are. What is
// not set comes before everything that is, and NaN after all numbers.
func ParseOrder(r *schema.Resource, text string) (Order, error) {
	o, err := parseOrder(r, text)
	if err != nil {
		return Order{}, &fault.Error{Op: "filter.ParseOrder", Kind: fault.Invalid, Reason: "INVALID_ORDER_BY", Field: "order_by", Err: err}
	}
	return o, nil
}

// parseOrder is ParseOrder without its fault.
func parseOrder(r *schema.Resource, text string) (o Order, err error) {
	if strings.TrimSpace(text) == "" {
		return o, nil
	}
	if len(text) > maxOrder {
		return o, fmt.Errorf("an order has at most %d bytes, not %d", maxOrder, len(text))
	}
	named := false
	for part := range strings.SplitSeq(text, ",") {
		path, desc, err := orderPart(part)
		if err != nil {
			return o, err
		}
		index, ok := orderable(r, path)
		switch {
		case !ok && path != string(r.Name.Name()):
			return o, fmt.Errorf("there is no order by %q: there is by %s", shorten(path), strings.Join(Orderable(r), ", "))
		case named || slices.ContainsFunc(o.Keys, func(k OrderKey) bool { return ok && k.Index == index.Path.String() }):
			return o, fmt.Errorf("%q adds nothing to the order before it", shorten(path))
		case !ok:
			o.NameDesc, named = desc, true
			continue
		}
		o.Keys = append(o.Keys, OrderKey{Index: index.Path.String(), Desc: desc})
		if o.paths = append(o.paths, index.Path); len(o.Keys) > maxKeys {
			return o, fmt.Errorf("an order has at most %d keys", maxKeys)
		}
	}
	return o, nil
}

// orderPart parses a path with what may come after it.
func orderPart(s string) (path string, desc bool, err error) {
	words := strings.Fields(s)
	switch {
	case len(words) == 0:
		return "", false, errors.New("a field is missing between the commas")
	case len(words) > 2:
		return "", false, fmt.Errorf("want a comma after %q", shorten(words[0]+" "+words[1]))
	case len(words) == 2 && !strings.EqualFold(words[1], "desc") && !strings.EqualFold(words[1], "asc"):
		return "", false, fmt.Errorf("after %q comes desc or a comma, not %q", shorten(words[0]), shorten(words[1]))
	}
	return words[0], len(words) == 2 && strings.EqualFold(words[1], "desc"), nil
}

// Orderable are the paths that objects of a type can be ordered by.
func Orderable(r *schema.Resource) []string {
	paths := []string{string(r.Name.Name())}
	for _, x := range r.Indexes {
		if !x.Many {
			paths = append(paths, x.Path.String())
		}
	}
	return paths
}

// orderable finds the single-valued index of a path, with the names of the
// proto file or of JSON.
func orderable(r *schema.Resource, path string) (schema.Index, bool) {
	p, err := fieldpath.Parse(r.Message.Descriptor(), path)
	if err != nil {
		return schema.Index{}, false
	}
	x, ok := r.Index(p.String())
	return x, ok && !x.Many
}

// String is the order in its canonical text, with the name.
func (o Order) String() string {
	var b strings.Builder
	for _, k := range append(slices.Clone(o.Keys), OrderKey{"name", o.NameDesc}) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(k.Index)
		if k.Desc {
			b.WriteString(" desc")
		}
	}
	return b.String()
}

// Key is where an object is in the order: the value of its entry in the index of
// each key, and after them comes its name.
func (o Order) Key(m protoreflect.Message) [][]byte {
	keys := make([][]byte, len(o.paths))
	for i, p := range o.paths {
		keys[i] = orderKey(nil, p, m)
	}
	return keys
}

// orderKey appends the key of the one value of a path.
func orderKey(dst []byte, p fieldpath.Path, m protoreflect.Message) []byte {
	var value fieldpath.Value
	p.Values(m, func(v fieldpath.Value) bool { value = v; return false })
	return cut(fieldpath.AppendKey(dst, value))
}

// Compare is negative when a comes before b, the order of their keys and names.
func (o Order) Compare(a, b protoreflect.Message) int {
	var left, right [64]byte
	for i, p := range o.paths {
		c := bytes.Compare(orderKey(left[:0], p, a), orderKey(right[:0], p, b))
		if o.Keys[i].Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	name := a.Descriptor().Fields().ByName("name")
	c := cmp.Compare(a.Get(name).String(), b.Get(name).String())
	if o.NameDesc {
		return -c
	}
	return c
}
