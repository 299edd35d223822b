package schema

import (
	"errors"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// Parent says under what a collection is: the part of a pattern before its last
// two segments, in which an id may be [resource.Wildcard]. The zero value has
// every object under it.
type Parent struct {
	// Name is the parent as it was given, "projects/p", "" for a type at the top.
	Name string
	// Pattern is the pattern of the names under it.
	Pattern resource.Pattern
	// names are the names under it, "projects/p/devices/-".
	names string
}

// ParseParent parses a parent of resources of the type. Any other text is an
// Invalid fault with the field "parent" that says which segment is wrong.
func ParseParent(r *Resource, s string) (Parent, error) {
	var first error
	for _, p := range r.Patterns {
		under := resource.Pattern(resource.Name(p).Parent())
		err := checkParent(under, s)
		if err == nil {
			return Parent{Name: s, Pattern: p, names: strings.TrimPrefix(s+"/"+p.Collection()+"/"+resource.Wildcard, "/")}, nil
		}
		// The pattern with as many segments is the one that was meant.
		if first == nil || strings.Count(string(under), "/") == strings.Count(s, "/") {
			first = err
		}
	}
	e := &fault.Error{Op: "schema.ParseParent", Kind: fault.Invalid, Reason: "INVALID_PARENT", Field: "parent", Err: first}
	var f *fault.Error
	if errors.As(first, &f) {
		e.Name, e.Err = f.Name, f.Err
	}
	return Parent{}, e
}

// errTop is a parent of what is at the top.
var errTop = errors.New("the type is at the top, so its parent is empty")

// checkParent checks a parent against its pattern.
func checkParent(p resource.Pattern, s string) error {
	if p == "" {
		if s != "" {
			return errTop
		}
		return nil
	}
	ids := map[string]*string{}
	for segment := range strings.SplitSeq(string(p), "/") {
		ids[strings.Trim(segment, "{}")] = new(string)
	}
	return resource.Scan(s, ids, p)
}

// String is the parent as it was given.
func (p Parent) String() string { return p.Name }

// Prefix is what all names under the parent begin with: up to the first
// wildcard, "projects/" of "projects/-". Not every name that begins so is under
// it.
func (p Parent) Prefix() string {
	i := strings.Index("/"+p.names, "/"+resource.Wildcard)
	return p.names[:max(i, 0)]
}

// Match reports whether a name of the type is under the parent.
func (p Parent) Match(n resource.Name) bool { return p.names == "" || resource.Match(p.names, n) }

// ID is the id that the parent has for a variable of the pattern, such as
// "region"; false if the pattern has no such variable or the id is a wildcard.
func (p Parent) ID(variable string) (string, bool) {
	pattern, name := string(p.Pattern), p.Name
	for name != "" {
		var want, got string
		want, pattern, _ = strings.Cut(pattern, "/")
		got, name, _ = strings.Cut(name, "/")
		if want == "{"+variable+"}" {
			return got, got != resource.Wildcard
		}
	}
	return "", false
}
