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
func (f exact) Filter(e *event.Event) Verdict { return match(e, f, equal[string]) }

// judge compares in place.
func (f exact) judge(h *event.Head) (Verdict, bool) { return matchHead(h, f, equal[[]byte]) }

// equal is == as a function.
func equal[T text](have T, want string) bool { return string(have) == want }
