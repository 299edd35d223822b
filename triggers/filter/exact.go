package filter

import "selvedge.dev/sdk/event"

// exact passes an event whose attributes all equal the given values.
type exact []pair

// newExact is the constructor of the exact dialect.
func newExact(path string, entries map[string]string) (Filter, error) {
	pairs, err := newPairs(path, entries, false)
	return exact(pairs), err
}

// Filter compares case-sensitively.
func (f exact) Filter(e *event.Event) Verdict { return match(e, f, equal) }

// equal is == as a function.
func equal(have, want string) bool { return have == want }
