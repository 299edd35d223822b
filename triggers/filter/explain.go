package filter

import (
	"fmt"
	"strings"

	"selvedge.dev/sdk/event"
)

// Explanation is why a filter says what it says of an event: a tree of clauses
// in the order in which the trigger has them, each with its own verdict.
type Explanation struct {
	// Clause is what is asked, in the words of the trigger: `exact`, `any`,
	// `prefix type "com.example."`, an expression.
	Clause string `json:"clause"`
	// Passed is the verdict of this clause by itself.
	Passed bool `json:"passed"`
	// Attribute is the attribute that a leaf looks at, "" when it looks at
	// several or none, and Have its value, nil when the event does not have it.
	Attribute string  `json:"attribute,omitempty"`
	Have      *string `json:"have,omitempty"`
	// Why says the verdict in a sentence.
	Why string `json:"why,omitempty"`
	// Parts are the clauses that this one is made of.
	Parts []Explanation `json:"parts,omitempty"`

	// negates says that the clause is the opposite of its one part.
	negates bool
}

// explainer is a filter that can say why.
type explainer interface {
	// explain is [Explain] of this filter.
	explain(e *event.Event) Explanation
}

// Explain says why f passes e, or why not. It is for people and costs more than
// the verdict, which is always that of f.
func Explain(f Filter, e *event.Event) Explanation {
	if x, ok := f.(explainer); ok {
		return x.explain(e)
	}
	passed := f.Filter(e) != Fail
	return Explanation{Clause: "filter", Passed: passed, Why: "a filter that does not say why"}
}

// Decisive are the leaves that settle the verdict: those that failed when the
// event did not pass, those that passed when it did.
func (x Explanation) Decisive() []Explanation {
	if len(x.Parts) == 0 {
		return []Explanation{x}
	}
	var out []Explanation
	for _, p := range x.Parts {
		if p.Passed == x.Passed || x.negates {
			out = append(out, p.Decisive()...)
		}
	}
	if len(out) == 0 { // an XOR, or an error between the parts
		return []Explanation{x}
	}
	return out
}

// explain says that nothing is asked for.
func (none) explain(*event.Event) Explanation {
	return Explanation{Clause: "no filter", Passed: true, Why: "the trigger has no filter"}
}

// explain compares each attribute.
func (f exact) explain(e *event.Event) Explanation { return explainPairs(e, "exact", f, equal) }

// explain compares each attribute.
func (f prefix) explain(e *event.Event) Explanation {
	return explainPairs(e, "prefix", f, strings.HasPrefix)
}

// explain compares each attribute.
func (f suffix) explain(e *event.Event) Explanation {
	return explainPairs(e, "suffix", f, strings.HasSuffix)
}

// explainPairs is the explanation of match.
func explainPairs(e *event.Event, dialect string, pairs []pair, test func(have, want string) bool) Explanation {
	parts := make([]Explanation, len(pairs))
	for i, p := range pairs {
		x := Explanation{Clause: fmt.Sprintf("%s %s %q", dialect, p.name, p.value), Attribute: p.name}
		have, ok := attribute(e, p.name)
		if ok {
			x.Have, x.Passed, x.Why = &have, test(have, p.value), fmt.Sprintf("%s is %q", p.name, have)
		} else {
			x.Why = fmt.Sprintf("the event has no attribute %s", p.name)
		}
		parts[i] = x
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return both(dialect, parts)
}

// both is a clause that passes when all of its parts do.
func both(clause string, parts []Explanation) Explanation {
	x := Explanation{Clause: clause, Passed: true, Parts: parts}
	for _, p := range parts {
		x.Passed = x.Passed && p.Passed
	}
	return x
}

// explain explains every part, also those after the first that fails.
func (f all) explain(e *event.Event) Explanation { return both("all", explainAll(f, e)) }

// explain explains every part, also those after the first that passes.
func (f anyOf) explain(e *event.Event) Explanation {
	x := Explanation{Clause: "any", Parts: explainAll(f, e)}
	for _, p := range x.Parts {
		x.Passed = x.Passed || p.Passed
	}
	return x
}

// explain turns the verdict round.
func (f not) explain(e *event.Event) Explanation {
	part := Explain(f.of, e)
	return Explanation{Clause: "not", Passed: !part.Passed, Parts: []Explanation{part}, negates: true}
}

// explainAll explains the parts of a list.
func explainAll(filters []Filter, e *event.Event) []Explanation {
	parts := make([]Explanation, len(filters))
	for i, f := range filters {
		parts[i] = Explain(f, e)
	}
	return parts
}

// explain asks for each attribute as the older map does.
func (f attributes) explain(e *event.Event) Explanation {
	parts := make([]Explanation, len(f))
	for i, p := range f {
		x := Explanation{Clause: fmt.Sprintf("attribute %s %q", p.name, p.value), Attribute: p.name, Passed: p.admits(e)}
		if p.value == "" {
			x.Clause = fmt.Sprintf("attribute %s, any value", p.name)
		}
		have, ok := attribute(e, p.name)
		if ok {
			x.Have = &have
		}
		switch {
		case x.Passed:
			x.Why = fmt.Sprintf("%s is %q", p.name, have)
		case !ok || have == "":
			x.Why = fmt.Sprintf("the event has no attribute %s", p.name)
		case have == p.value:
			x.Why = fmt.Sprintf("%s is not a string, and the older filter.attributes match strings only", p.name)
		default:
			x.Why = fmt.Sprintf("%s is %q", p.name, have)
		}
		parts[i] = x
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return both("attributes", parts)
}
