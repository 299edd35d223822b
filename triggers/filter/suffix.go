package filter

import "selvedge.dev/sdk/event"

// suffix passes an event whose attributes all end with the given values.
type suffix []pair

// newSuffix is the constructor of the suffix dialect.
func newSuffix(path string, entries map[string]string) (Filter, error) {
	pairs, err := newPairs(path, entries, false)
	return suffix(pairs), err
}

// Filter compares case-sensitively.
func (f suffix) Filter(e *event.Event) Verdict { return match(e, f, ends[string]) }

// judge compares in place.
func (f suffix) judge(h *event.Head) (Verdict, bool) { return matchHead(h, f, ends[[]byte]) }

// ends is strings.HasSuffix.
func ends[T text](have T, want string) bool {
	return len(have) >= len(want) && string(have[len(have)-len(want):]) == want
}
