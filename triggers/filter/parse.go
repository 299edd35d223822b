package filter

import (
	"fmt"
	"strings"

	"selvedge.dev/sdk/fault"
)

// Spec is one element of a trigger's filters list, in the field names of
// Knative's Trigger. Exactly one field is set. The maps are conjunctions: exact
// with two keys asks for both.
type Spec struct {
	Exact  map[string]string `json:"exact,omitempty"`
	Prefix map[string]string `json:"prefix,omitempty"`
	Suffix map[string]string `json:"suffix,omitempty"`
	All    []Spec            `json:"all,omitempty"`
	Any    []Spec            `json:"any,omitempty"`
	Not    *Spec             `json:"not,omitempty"`
	CESQL  string            `json:"cesql,omitempty"`
}

// Parse builds the filter of one element. Errors are fault.Invalid; their Field
// is the path of what is wrong, for instance "not.cesql". The filter keeps
// nothing of spec.
func Parse(spec Spec) (Filter, error) { return parse("", &spec) }

// ParseAll builds the filter of a trigger's filters list: an event must pass
// all of them, and an empty list is NoFilter. Errors are fault.Invalid; their
// Field is the path of what is wrong, for instance "filters[2].not.cesql".
func ParseAll(specs []Spec) (Filter, error) {
	filters, err := parseList("filters", specs)
	switch {
	case err != nil:
		return nil, err
	case len(filters) == 0:
		return none{}, nil
	case len(filters) == 1:
		return filters[0], nil
	}
	return all(filters), nil
}

// dialect is one way to say what passes: its field name, whether the element
// uses it, and its constructor.
type dialect struct {
	name  string
	used  bool
	build func(path string) (Filter, error)
}

// dialects is the table of constructors, over the fields of spec.
func dialects(spec *Spec) []dialect {
	return []dialect{
		{"exact", len(spec.Exact) > 0, func(path string) (Filter, error) { return newExact(path, spec.Exact) }},
		{"prefix", len(spec.Prefix) > 0, func(path string) (Filter, error) { return newPrefix(path, spec.Prefix) }},
		{"suffix", len(spec.Suffix) > 0, func(path string) (Filter, error) { return newSuffix(path, spec.Suffix) }},
		{"all", len(spec.All) > 0, func(path string) (Filter, error) { return newAll(path, spec.All) }},
		{"any", len(spec.Any) > 0, func(path string) (Filter, error) { return newAny(path, spec.Any) }},
		{"not", spec.Not != nil, func(path string) (Filter, error) { return newNot(path, spec.Not) }},
		{"cesql", spec.CESQL != "", func(path string) (Filter, error) { return newCESQL(path, spec.CESQL) }},
	}
}

// parse builds the element at path. An element without a dialect is refused
// too: it is what a misspelt dialect becomes where unknown fields are dropped.
func parse(path string, spec *Spec) (Filter, error) {
	var used []dialect
	for _, d := range dialects(spec) {
		if d.used {
			used = append(used, d)
		}
	}
	switch len(used) {
	case 0:
		return nil, refuse(path, "the element names no dialect")
	case 1:
		f, err := used[0].build(strings.TrimPrefix(path+"."+used[0].name, "."))
		if err != nil {
			return nil, err
		}
		return f, nil
	}
	return nil, refuse(path, "the element names two dialects, %s and %s", used[0].name, used[1].name)
}

// parseList builds the elements of the list at path, in order.
func parseList(path string, specs []Spec) ([]Filter, error) {
	filters := make([]Filter, len(specs))
	for i := range specs {
		var err error
		if filters[i], err = parse(fmt.Sprintf("%s[%d]", path, i), &specs[i]); err != nil {
			return nil, err
		}
	}
	return filters, nil
}

// refuse is the error for what is wrong at path.
func refuse(path, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if path != "" {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return &fault.Error{Op: "triggers/filter.Parse", Kind: fault.Invalid, Reason: "INVALID_FILTER", Field: path, Err: err}
}
