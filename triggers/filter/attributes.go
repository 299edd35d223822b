package filter

import "selvedge.dev/sdk/event"

// attributes is Knative's older filter.attributes map, which the filters list
// replaces. It differs from exact in two ways: an empty value asks only that
// the attribute is there, and a value never equals an extension that is not a
// string.
type attributes []pair

// ParseAttributes builds the filter of a trigger's filter.attributes. A nil map
// is no filter. Errors are fault.Invalid and name the path, for instance
// "filter.attributes".
func ParseAttributes(entries map[string]string) (Filter, error) {
	if entries == nil {
		return none{}, nil
	}
	pairs, err := newPairs("filter.attributes", entries, true)
	if err != nil {
		return nil, err
	}
	return attributes(pairs), nil
}

// Filter passes an event that has all the attributes, each with its value. An
// optional attribute that is not set, or set to nothing, is not there; time
// always is.
func (f attributes) Filter(e *event.Event) Verdict {
	for _, p := range f {
		if !p.admits(e) {
			return Fail
		}
	}
	return Pass
}

// admits reports whether e has the attribute with the value, or with any value
// where none is asked for.
func (p pair) admits(e *event.Event) bool {
	text, ok, known := contextAttribute(e, p.name)
	if !known {
		var v any
		v, ok = event.Value(e, p.name)
		var isText bool
		if text, isText = v.(string); !isText {
			return ok && p.value == ""
		}
	}
	return ok && text != "" && (p.value == "" || p.value == text)
}

// judge compares in place.
func (f attributes) judge(h *event.Head) (Verdict, bool) {
	all := true
	for _, p := range f {
		switch ok, sure := p.admitsHead(h); {
		case !sure:
			all = false
		case !ok:
			return Fail, true
		}
	}
	return Pass, all
}

// admitsHead is admits of a head, and whether that is sure.
func (p pair) admitsHead(h *event.Head) (ok, sure bool) {
	have, ok, sure, known := headAttribute(h, p.name)
	if !known {
		var plain bool
		if have, plain, ok = h.Extension(p.name); !plain {
			return ok && p.value == "", true
		}
		sure = true
	}
	return ok && len(have) > 0 && (p.value == "" || string(have) == p.value), sure
}
