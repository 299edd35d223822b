package filter

import "selvedge.dev/sdk/event"

// all passes an event that every one of its filters passes.
type all []Filter

// newAll is the constructor of the all dialect.
func newAll(path string, specs []Spec) (Filter, error) {
	filters, err := parseList(path, specs)
	return all(filters), err
}

// Filter asks in the order of the list and stops at the first Fail. The parts
// were parsed, so each of them says Pass or Fail.
func (f all) Filter(e *event.Event) Verdict {
	for _, part := range f {
		if part.Filter(e) == Fail {
			return Fail
		}
	}
	return Pass
}

// judge fails as soon as one part does for sure.
func (f all) judge(h *event.Head) (Verdict, bool) {
	all := true
	for _, part := range f {
		switch v, sure := Judge(part, h); {
		case !sure:
			all = false
		case v == Fail:
			return Fail, true
		}
	}
	return Pass, all
}
