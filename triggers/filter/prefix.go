package filter

import "selvedge.dev/sdk/event"

// prefix passes an event whose attributes all begin with the given values.
type prefix []pair

// newPrefix is the constructor of the prefix dialect.
func newPrefix(path string, entries map[string]string) (Filter, error) {
	pairs, err := newPairs(path, entries, false)
	return prefix(pairs), err
}

// Filter compares case-sensitively.
func (f prefix) Filter(e *event.Event) Verdict { return match(e, f, begins[string]) }

// judge compares in place.
func (f prefix) judge(h *event.Head) (Verdict, bool) { return matchHead(h, f, begins[[]byte]) }

// begins is strings.HasPrefix.
func begins[T text](have T, want string) bool {
	return len(have) >= len(want) && string(have[:len(want)]) == want
}
