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

// judge passes as soon as one part does for sure.
func (f anyOf) judge(h *event.Head) (Verdict, bool) {
	all := true
	for _, part := range f {
		switch v, sure := Judge(part, h); {
		case !sure:
			all = false
		case v == Pass:
			return Pass, true
		}
	}
	return Fail, all
}
