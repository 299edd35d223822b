package filter

import (
	"maps"
	"slices"

	"selvedge.dev/sdk/event"
)

// pair is an attribute's name and the value that a filter asks of it.
type pair struct{ name, value string }

// newPairs checks the entries of a map and sorts them by name, so that a
// filter with several does the same work for every event. A value may be empty
// only where empty has a meaning.
func newPairs(path string, entries map[string]string, emptyAllowed bool) ([]pair, error) {
	pairs := make([]pair, 0, len(entries))
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if !validName(name) {
			return nil, refuse(path, "attribute name %q is not lower-case letters and digits, beginning with a letter", name)
		}
		if entries[name] == "" && !emptyAllowed {
			return nil, refuse(path+"."+name, "the value is empty")
		}
		pairs = append(pairs, pair{name, entries[name]})
	}
	return pairs, nil
}

// validName reports whether name can be the name of an attribute.
func validName(name string) bool {
	for i := range len(name) {
		letter := name[i] >= 'a' && name[i] <= 'z'
		digit := name[i] >= '0' && name[i] <= '9'
		if !letter && (!digit || i == 0) {
			return false
		}
	}
	return name != ""
}

// match passes an event that has all the attributes, each with a value of
// which test holds.
func match(e *event.Event, pairs []pair, test func(have, want string) bool) Verdict {
	for _, p := range pairs {
		if have, ok := attribute(e, p.name); !ok || !test(have, p.value) {
			return Fail
		}
	}
	return Pass
}
