package logstore

import (
	"hash/fnv"
	"io"
	"math"
	"net/netip"
	"net/url"
	"strings"

	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/fault"
)

// Match reports whether f selects e: it is what a filter means, for every
// store. A nil filter selects all, one that Parse did not make and that cannot
// be compiled selects none. Who looks at more than one entry uses Compile.
func Match(e *Entry, f filter.Expr) bool {
	m, err := Compile(f)
	return err == nil && m.Match(e)
}

// Matcher is a filter made ready for many entries. It may be used
// concurrently.
type Matcher struct{ root node }

// Compile makes a filter ready. What filter.Parse has made is never an error.
func Compile(f filter.Expr) (*Matcher, error) {
	if f == nil {
		return &Matcher{}, nil
	}
	root, err := compile(f)
	if err != nil {
		return nil, &fault.Error{Op: "logstore.Compile", Kind: fault.Invalid, Reason: "INVALID_FILTER", Field: "filter", Err: err}
	}
	return &Matcher{root: root}, nil
}

// Match reports whether the filter selects e.
func (m *Matcher) Match(e *Entry) bool { return m.root == nil || m.root.match(e) }

// node is a part of a filter.
type node interface{ match(e *Entry) bool }

// all holds where all of its parts do.
type all []node

// match implements node.
func (a all) match(e *Entry) bool {
	for _, n := range a {
		if !n.match(e) {
			return false
		}
	}
	return true
}

// anyOf holds where one of its parts does.
type anyOf []node

// match implements node.
func (a anyOf) match(e *Entry) bool {
	for _, n := range a {
		if n.match(e) {
			return true
		}
	}
	return false
}

// none holds where its part does not.
type none struct{ node }

// match implements node.
func (n none) match(e *Entry) bool { return !n.node.match(e) }

// of holds where a probe of a field does.
type of struct {
	field field
	probe probe
}

// match implements node.
func (o *of) match(e *Entry) bool { return o.field.visit(e, o.probe) }

// test is a node that is a function.
type test func(e *Entry) bool

// match implements node.
func (t test) match(e *Entry) bool { return t(e) }

// compile makes the node of a filter.
func compile(f filter.Expr) (node, error) {
	switch f := f.(type) {
	case *filter.And:
		terms, err := compileAll(f.Terms)
		return all(terms), err
	case *filter.Or:
		terms, err := compileAll(f.Terms)
		return anyOf(terms), err
	case *filter.Not:
		n, err := compile(f.Term)
		return none{n}, err
	case *filter.Text:
		if f.Value.IsAny() {
			return test(func(*Entry) bool { return true }), nil
		}
		return &anywhere{newContains(f.Value.Text, false)}, nil
	case *filter.Comparison:
		return compileComparison(f)
	case *filter.Call:
		return compileCall(f)
	}
	panic("BUG: no such filter")
}

// compileAll makes the nodes of filters.
func compileAll(fs []filter.Expr) ([]node, error) {
	nodes := make([]node, 0, len(fs))
	for _, f := range fs {
		n, err := compile(f)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// compileComparison makes the node of a comparison.
func compileComparison(c *filter.Comparison) (node, error) {
	f, err := newField(c.Path)
	if err != nil {
		return nil, err
	}
	o := &of{field: f}
	switch {
	case c.Op == filter.Has && c.Value.IsAny():
		o.probe = exists{}
	case c.Op == filter.Has:
		p := newContains(c.Value.Text, false)
		o.probe = &p
	case c.Op == filter.Matches, c.Op == filter.NotMatches:
		o.probe, err = newMatch(c.Value.Text, c.Op == filter.NotMatches)
	case c.Op == filter.Equal && f.path[0] == "logName" && len(c.Steps) == 0:
		return logNameIs(c.Value.Text), nil
	default:
		o.probe = newCompare(c.Op, c.Value)
	}
	if err == nil {
		o.probe, err = newSteps(c.Steps, o.probe)
	}
	return o, err
}

// logNameIs holds of the entries of the log with the name, without making the
// name of every entry's log.
func logNameIs(name string) node {
	project, log, ok := strings.Cut(strings.TrimPrefix(Fold(name), "projects/"), "/logs/")
	ok = ok && strings.HasPrefix(Fold(name), "projects/")
	return test(func(e *Entry) bool {
		return ok && compareFold(e.Project, project) == 0 && compareFold(url.PathEscape(e.Log), log) == 0
	})
}

// compileCall makes the node of a function.
func compileCall(c *filter.Call) (node, error) {
	if len(c.Args) != 1 {
		panic("BUG: a function without its argument")
	}
	arg := c.Args[0].Text
	var f field
	if len(c.Path) > 0 {
		var err error
		if f, err = newField(c.Path); err != nil {
			return nil, err
		}
	}
	switch c.Name {
	case filter.FuncLogID:
		folded := Fold(arg)
		return test(func(e *Entry) bool { return compareFold(e.Log, folded) == 0 }), nil
	case filter.FuncSource:
		id, _ := filter.ParseSource(arg)
		folded := Fold(id)
		return test(func(e *Entry) bool { return id != "" && compareFold(e.Project, folded) == 0 }), nil
	case filter.FuncSample:
		part, _ := filter.ParseNumber(arg)
		return &of{f, &sample{part}}, nil
	case filter.FuncIPInNet:
		network, _ := filter.ParseNetwork(arg)
		return &of{f, &inNetwork{network}}, nil
	case filter.FuncSearch:
		var terms all
		for _, t := range filter.SearchTerms(arg) {
			p := newContains(t.Text, true)
			if len(c.Path) > 0 {
				terms = append(terms, &of{f, &p})
			} else {
				terms = append(terms, &anywhere{p})
			}
		}
		return terms, nil
	}
	panic("BUG: no function " + c.Name)
}

// anywhere looks in all of an entry's text: the payload, the values of labels
// and of Extra, the resource, the ids of the log, the entry and the trace. It
// does not look in times, in the severity, or in names of fields.
type anywhere struct{ contains }

// match implements node.
func (a *anywhere) match(e *Entry) bool {
	switch e.Payload.Kind {
	case Text:
		if a.in(view(e.Payload.Data)) {
			return true
		}
	case JSON:
		if !a.absent(e.Payload.Data) && visitJSON(e.Payload.Data, nil, &a.contains) {
			return true
		}
	case Proto:
		if visitProto(&e.Payload, nil, &a.contains) {
			return true
		}
	}
	return visitMap(e.Labels, nil, &a.contains) || visitMap(e.ResourceLabels, nil, &a.contains) || a.in(e.ResourceType) ||
		a.in(e.Log) || a.in(e.InsertID) || a.in(e.Trace) || a.in(e.SpanID) || visitJSON(e.Extra, nil, &a.contains)
}

// sample is the probe of the function sample.
type sample struct{ part float64 }

// object implements probe.
func (*sample) object() (enough, deep bool) { return false, false }

// scalar implements probe. The hash is FNV-1a of 64 bits, and must never
// change: a sample that is taken again is the same.
func (s *sample) scalar(v scalar) bool {
	h := fnv.New64a()
	_, _ = io.WriteString(h, v.String()) // a hash takes everything
	x := h.Sum64()
	x ^= x >> 33 // spreads what differs in the last bytes alone to the first bits
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x)/math.MaxUint64 <= s.part
}

// inNetwork is the probe of the function ip_in_net.
type inNetwork struct{ network netip.Prefix }

// object implements probe.
func (*inNetwork) object() (enough, deep bool) { return false, false }

// scalar implements probe: an address or a whole range that is in the network.
func (n *inNetwork) scalar(v scalar) bool {
	p, ok := filter.ParseNetwork(v.text)
	return ok && v.kind == aText && p.Bits() >= n.network.Bits() && n.network.Contains(p.Addr())
}
