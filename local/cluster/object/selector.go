package object

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
)

// Selector selects objects. The zero value selects all.
type Selector struct {
	labels, fields []requirement
}

// requirement is one term of a selector.
type requirement struct {
	key string
	// op is "=", "!=", "in", "notin", "exists" or "!".
	op     string
	values []string
}

// term is a set-based term: "key in (a, b)", "key notin (a)".
var term = regexp.MustCompile(`^([^\s!=,()]+)\s+(in|notin)\s+\(([^()]*)\)$`)

// maxSelector bounds the text of a selector.
const maxSelector = 16 << 10

// ParseSelector reads a label selector, "app=a,tier in (x,y),!canary", and a
// field selector, "metadata.name=a,status.phase!=Pending". Fields are paths of
// names; what an object has not is "".
func ParseSelector(labels, fields string) (Selector, error) {
	var s Selector
	var err error
	if s.labels, err = parseTerms("labelSelector", labels, true); err != nil {
		return Selector{}, err
	}
	s.fields, err = parseTerms("fieldSelector", fields, false)
	return s, err
}

// parseTerms reads the terms of one selector.
func parseTerms(param, text string, sets bool) ([]requirement, error) {
	invalid := func(format string, args ...any) error {
		return &fault.Error{Op: "object.ParseSelector", Kind: fault.Invalid, Field: param, Err: fmt.Errorf(format, args...)}
	}
	if len(text) > maxSelector {
		return nil, invalid("the selector is longer than %d characters", maxSelector)
	}
	var out []requirement
	for _, t := range splitTerms(text) {
		if t = strings.TrimSpace(t); t == "" {
			if strings.TrimSpace(text) == "" {
				continue
			}
			return nil, invalid("%q has an empty term", text)
		}
		r, ok := parseTerm(t, sets)
		if !ok {
			return nil, invalid("%q is no term of a selector", t)
		}
		out = append(out, r)
	}
	return out, nil
}

// splitTerms cuts a selector at the commas that are in no parentheses.
func splitTerms(text string) []string {
	var out []string
	depth, from := 0, 0
	for i, c := range text {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				out, from = append(out, text[from:i]), i+1
			}
		}
	}
	return append(out, text[from:])
}

// parseTerm reads one term.
func parseTerm(t string, sets bool) (requirement, bool) {
	if m := term.FindStringSubmatch(t); sets && m != nil {
		r := requirement{key: m[1], op: m[2]}
		for v := range strings.SplitSeq(m[3], ",") {
			r.values = append(r.values, strings.TrimSpace(v))
		}
		return r, true
	}
	for _, op := range []string{"!=", "==", "="} {
		if key, value, ok := strings.Cut(t, op); ok {
			r := requirement{strings.TrimSpace(key), strings.TrimPrefix(op, "="), []string{strings.TrimSpace(value)}}
			if r.op == "" {
				r.op = "="
			}
			return r, word(r.key) && !strings.ContainsAny(r.values[0], "=!() ")
		}
	}
	if key, ok := strings.CutPrefix(t, "!"); ok && sets {
		return requirement{key: strings.TrimSpace(key), op: "!"}, word(strings.TrimSpace(key))
	}
	return requirement{key: t, op: "exists"}, sets && word(t)
}

// word reports whether s can be a key.
func word(s string) bool { return s != "" && !strings.ContainsAny(s, "=!(), \t") }

// Matches reports whether the selector selects o.
func (s Selector) Matches(o Object) bool {
	for _, r := range s.labels {
		v, has := o.Get("metadata", "labels", r.key).(string)
		if !r.matches(v, has) {
			return false
		}
	}
	for _, r := range s.fields {
		v := o.Get(strings.Split(r.key, ".")...)
		text, _ := v.(string)
		if v != nil && text == "" {
			text = fmt.Sprint(v)
		}
		if !r.matches(text, true) {
			return false
		}
	}
	return true
}

// matches reports whether a value, if there is one, fulfils the requirement.
func (r requirement) matches(v string, has bool) bool {
	switch r.op {
	case "=", "in":
		return has && slices.Contains(r.values, v)
	case "!=", "notin":
		return !has || !slices.Contains(r.values, v)
	case "!":
		return !has
	}
	return has
}
