package filter

import "selvedge.dev/sdk/event"

// anyOf passes an event that at least one of its filters passes.
type anyOf []Filter

// newAny is the constructor of the any dialect.
func newAny(path string, specs []Spec) (Filter, error) {
	filters, err := parseList(path, specs)
	return anyOf(filters), err
}

// Filter asks in the order of the list and stops at the first Pass.
func (f anyOf) Filter(e *event.Event) Verdict {
	for _, part := range f {
		if part.Filter(e) == Pass {
			return Pass
		}
	}
	return Fail
}
