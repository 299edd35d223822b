package filter

import "selvedge.dev/sdk/event"

// not passes an event that its filter fails, and the other way round.
type not struct{ of Filter }

// newNot is the constructor of the not dialect.
func newNot(path string, spec *Spec) (Filter, error) {
	of, err := parse(path, spec)
	return not{of}, err
}

// Filter turns the verdict round. An expression that cannot be evaluated fails,
// so its negation passes: that is Knative's verdict too.
func (f not) Filter(e *event.Event) Verdict {
	if f.of.Filter(e) == Fail {
		return Pass
	}
	return Fail
}

// judge turns the verdict round.
func (f not) judge(h *event.Head) (Verdict, bool) {
	v, sure := Judge(f.of, h)
	if v == Fail {
		return Pass, sure
	}
	return Fail, sure
}
