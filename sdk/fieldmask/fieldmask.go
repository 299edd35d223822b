// Package fieldmask selects fields of messages: a [Mask] is a set of paths,
// those of sdk/fieldpath. [Project] reads what it selects, [Merge] writes it,
// [Diff] finds it, as google.aip.dev/134, 157 and 161 have it.
//
// No mask, the zero Mask, is not the empty one:
//
//	               read            update
//	no mask        everything      what the source has populated
//	empty mask     nothing         nothing
//	"*"            everything      everything, replaced as a whole
//
// A field that a mask names is meant as a whole, with all that is in it. What an
// update names and the source has not is cleared. Lists are replaced, never
// appended to; values of maps are updated each by its key, or, if the map itself
// is named, the map is replaced. A "*" in a path, which may be left out for a
// list, is every item or value: for reading alone, since an update could not say
// which item it means.
//
// Masks are compiled when they are made; they are values that do not change,
// safe for concurrent use. A mask that is used often is kept, not parsed again.
package fieldmask

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
)

// Mask is a set of paths of one type of messages, without those that another
// one covers. The zero Mask is that there is none.
type Mask struct {
	md protoreflect.MessageDescriptor
	// root may have paths that another one covers, by "*" where they have a key.
	root *node
}

// The bounds of the masks of callers. There are more paths than a large message
// has fields, and a map has keys that are updated one by one; what is done with
// a mask may take the product of the number of its paths and of its text.
const (
	maxPaths = 1000
	maxText  = 64 << 10
)

// everything is the text of the mask of everything.
const everything = "*"

// Parse compiles a mask for messages of type md. Nil is no mask. Names are those
// of the proto file or of JSON. A path that is none of md's is an Invalid fault
// with its text as the Name.
func Parse(md protoreflect.MessageDescriptor, fm *fieldmaskpb.FieldMask) (Mask, error) {
	if fm == nil {
		return Mask{}, nil
	}
	return parse(md, fm.GetPaths())
}

// ParseText is [Parse] for what [Mask.String] and [Mask.JSON] give: paths with
// commas between them, of which there may be some in backticks. It is for where
// the JSON form of FieldMask, which has no "*" and changes the letters of map
// keys, will not do.
func ParseText(md protoreflect.MessageDescriptor, s string) (Mask, error) {
	if s == "" {
		return None(md), nil
	}
	var paths []string
	quoted, from := false, 0
	for i := range len(s) {
		switch {
		case s[i] == '`':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			paths, from = append(paths, s[from:i]), i+1
		}
	}
	return parse(md, append(paths, s[from:]))
}

// parse is Parse for the texts of paths.
func parse(md protoreflect.MessageDescriptor, texts []string) (Mask, error) {
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	if len(texts) > maxPaths || size > maxText {
		return Mask{}, &fault.Error{
			Op: "fieldmask.Parse", Kind: fault.Invalid, Reason: "INVALID_MASK", Field: "mask",
			Err: fmt.Errorf("a mask has at most %d paths and %d bytes of them, not %d and %d", maxPaths, maxText, len(texts), size),
		}
	}
	paths := make([]fieldpath.Path, 0, len(texts))
	for _, text := range texts {
		if text == everything {
			paths = append(paths, fieldpath.Path{})
			continue
		}
		p, err := fieldpath.Parse(md, text)
		if err != nil {
			var wrong *fault.Error
			errors.As(err, &wrong)
			return Mask{}, &fault.Error{
				Op: "fieldmask.Parse", Name: wrong.Name, Kind: fault.Invalid, Reason: "INVALID_MASK", Field: "mask",
				Err: fmt.Errorf("%q: %w", wrong.Name, wrong.Err),
			}
		}
		paths = append(paths, p)
	}
	return New(md, paths...), nil
}

// New is the mask of the paths, which are those of md. The zero path is
// everything.
func New(md protoreflect.MessageDescriptor, paths ...fieldpath.Path) Mask {
	return Mask{md, orEmpty(build(paths))}
}

// build is the node of the paths at the root. It halves them, since a union
// costs as much as what is in it.
func build(paths []fieldpath.Path) *node {
	switch n := len(paths); n {
	case 0:
		return nil
	case 1:
		return of(paths[0].Steps())
	default:
		return union(build(paths[:n/2]), build(paths[n/2:]))
	}
}

// None is the empty mask.
func None(md protoreflect.MessageDescriptor) Mask { return Mask{md, &node{}} }

// All is "*": everything, extensions and unknown fields too.
func All(md protoreflect.MessageDescriptor) Mask { return Mask{md, whole} }

// Full is the mask of all top-level fields by their names.
func Full(md protoreflect.MessageDescriptor) Mask {
	return Mask{md, &node{fields: fieldsOf(whole, md)}}
}

// IsZero reports whether there is no mask.
func (k Mask) IsZero() bool { return k.root == nil }

// IsEmpty reports whether there is a mask and it selects nothing.
func (k Mask) IsEmpty() bool { return k.root != nil && k.root.empty() }

// IsFull reports whether the mask selects every field. No mask does.
func (k Mask) IsFull() bool { return k.root == nil || covers(k.root, whole, place{md: k.md}) }

// Covers reports whether k selects whatever other does. No mask is everything.
func (k Mask) Covers(other Mask) bool {
	return k.root == nil || covers(k.root, other.tree(), place{md: k.md})
}

// tree is the root, for no mask that of everything.
func (k Mask) tree() *node {
	if k.root == nil {
		return whole
	}
	return k.root
}

// Union selects what one of the masks selects; no mask, if one of them is that.
func Union(a, b Mask) Mask {
	if a.root == nil || b.root == nil {
		return Mask{}
	}
	return Mask{a.md, union(a.root, b.root)}
}

// Intersect selects what both masks select; the other one, if one is no mask.
func Intersect(a, b Mask) Mask {
	switch {
	case a.root == nil:
		return b
	case b.root == nil:
		return a
	}
	return Mask{a.md, orEmpty(intersect(a.root, b.root))}
}

// Subtract selects what a selects and b does not; a may be no mask, which is
// everything, and without anything is empty. Nothing of b is ever left: where
// the rest has no paths, such as a map without one of its keys, it goes too.
func Subtract(a, b Mask) Mask {
	md := a.md
	if a.root == nil {
		md = b.md
	}
	return Mask{md, orEmpty(subtract(a.tree(), b.tree(), place{md: md}))}
}

// Paths are the paths of the mask, sorted by their text. Everything is the zero
// path.
func (k Mask) Paths() []fieldpath.Path {
	if k.root == nil {
		return nil
	}
	paths := k.root.paths(nil, fieldpath.Path{})
	if k.root.starred() { // else none can cover another
		paths = slices.DeleteFunc(paths, func(p fieldpath.Path) bool { return k.root.reached(p.Steps()) > 1 })
	}
	slices.SortFunc(paths, func(a, b fieldpath.Path) int { return strings.Compare(a.String(), b.String()) })
	return paths
}

// Proto is the mask as a message; nil if there is no mask.
func (k Mask) Proto() *fieldmaskpb.FieldMask {
	if k.root == nil {
		return nil
	}
	return &fieldmaskpb.FieldMask{Paths: k.texts(fieldpath.Path.String)}
}

// String is the paths with commas between them, sorted; "" for the empty mask
// and for none.
func (k Mask) String() string { return strings.Join(k.texts(fieldpath.Path.String), ",") }

// JSON is String with the names of JSON.
func (k Mask) JSON() string { return strings.Join(k.texts(fieldpath.Path.JSON), ",") }

// texts are the texts of the paths.
func (k Mask) texts(text func(fieldpath.Path) string) []string {
	if k.root == whole {
		return []string{everything}
	}
	var texts []string
	for _, p := range k.Paths() {
		texts = append(texts, text(p))
	}
	return texts
}
