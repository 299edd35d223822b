package filter

import (
	"fmt"
	"net/netip"
	"strings"
)

// functions are the functions, by their names in lower case.
var functions = map[string]string{
	FuncLogID: FuncLogID, FuncSample: FuncSample, FuncIPInNet: FuncIPInNet, "search": FuncSearch, FuncSource: FuncSource,
}

// call reads the arguments of a function.
func (p *parser) call(m member) (Expr, error) {
	start := p.pos
	name, ok := functions[strings.ToLower(strings.Join(m.path, "."))]
	if !ok {
		return nil, p.wrong("there is no function %s; the functions are log_id, sample, ip_in_net, SEARCH, source, cast and regexp_extract", clip(strings.Join(m.path, ".")))
	}
	p.pos++
	call := &Call{Name: name}
	var err error
	if name == FuncSample || name == FuncIPInNet || name == FuncSearch && !p.lastArgument() {
		if call.Path, err = p.pathArgument(name); err != nil {
			return nil, err
		}
		if p.space(); !p.consume(',') {
			return nil, p.expected("a comma")
		}
	}
	p.space()
	at := p.pos
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if p.space(); !p.consume(')') {
		return nil, p.expected("the ) of " + name)
	}
	call.Args = []Value{v}
	if err := call.check(); err != nil {
		return nil, p.wrongAt(at, "%w", err)
	}
	if p.space(); p.pos < len(p.text) {
		here := p.pos
		if _, ok := p.operator(); ok {
			p.pos = here
			return nil, p.wrongAt(start, "%s(…) is true or false and is not compared", name)
		}
	}
	return call, nil
}

// lastArgument reports whether the argument that comes is a text and the last.
func (p *parser) lastArgument() bool {
	start := p.pos
	defer func() { p.pos = start }()
	if _, err := p.value(); err != nil {
		return true // value says what is wrong with it
	}
	p.space()
	return !strings.HasPrefix(p.text[p.pos:], ",") && !strings.HasPrefix(p.text[p.pos:], ".")
}

// pathArgument reads an argument that is a field.
func (p *parser) pathArgument(name string) ([]string, error) {
	p.space()
	start := p.pos
	m, err := p.member()
	if err != nil {
		return nil, err
	}
	if m.star {
		return nil, p.wrongAt(start, "a field's name with * must be in double quotes; there are no wildcards")
	}
	path, typ, err := Field(m.path)
	if err != nil {
		return nil, p.wrongAt(start, "%w", err)
	}
	if typ == Object && name != FuncSearch {
		return nil, p.wrongAt(start, "%s has fields of its own: %s looks at one of them", strings.Join(path, "."), name)
	}
	return path, nil
}

// check is an error if the argument after the field is none of the function.
func (c *Call) check() error {
	v := c.Args[0]
	switch c.Name {
	case FuncSample:
		if f, ok := ParseNumber(v.Text); !ok || f <= 0 || f > 1 {
			return fmt.Errorf("%q is no part of the entries: expected a number over 0, at most 1", clip(v.Text))
		}
	case FuncIPInNet:
		if _, ok := ParseNetwork(v.Text); !ok {
			return fmt.Errorf("%q is no network: expected one such as \"10.0.0.0/8\" or an address", clip(v.Text))
		}
	case FuncSearch:
		if !v.Quoted {
			return fmt.Errorf("expected the words to search for in double quotes, found %q", clip(v.Text))
		}
		if len(SearchTerms(v.Text)) == 0 {
			return fmt.Errorf("%q has no word to search for", clip(v.Text))
		}
	case FuncSource:
		if _, ok := ParseSource(v.Text); !ok {
			return fmt.Errorf("%q is no source: expected projects/PROJECT_ID, folders/FOLDER_ID or organizations/ORGANIZATION_ID", clip(v.Text))
		}
	}
	return nil
}

// ParseNetwork reads a network, "10.0.0.0/8", or an address, which is a
// network of one.
func ParseNetwork(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err == nil
}

// ParseSource is the project's id in "projects/P". In "folders/F" and
// "organizations/O" it is "", which no entry is of: those are of projects.
func ParseSource(text string) (project string, ok bool) {
	kind, id, _ := strings.Cut(text, "/")
	if kind == "projects" {
		project = id
	} else if kind != "folders" && kind != "organizations" {
		return "", false
	}
	return project, id != "" && !strings.Contains(id, "/")
}
