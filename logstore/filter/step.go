package filter

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // for machines without a database of zones
)

// Step is a function that makes another value of a field's value before it is
// compared: cast(jsonPayload.code, INT64), regexp_extract(textPayload, "(\d+) ms").
// Where it cannot, the comparison fails as it does where there is no such field.
type Step struct {
	// Name is FuncCast or FuncExtract.
	Name string
	// To is what FuncCast makes.
	To Cast
	// Zone is the time zone of FuncCast: of the text that is made of a time, or of
	// texts that do not say theirs; "" is UTC.
	Zone string
	// Pattern is the regular expression of FuncExtract, whose one group is the
	// value.
	Pattern string
}

// The functions of steps.
const (
	// FuncCast converts a value to another type.
	FuncCast = "cast"
	// FuncExtract makes a text of the part of a text that a group of a regular
	// expression matches.
	FuncExtract = "regexp_extract"
)

// Cast is a type that values are converted to, as it is written.
type Cast string

// The types of casts.
const (
	ToString    Cast = "STRING"
	ToInteger   Cast = "INT64"
	ToFloat     Cast = "FLOAT64"
	ToBool      Cast = "BOOL"
	ToTimestamp Cast = "TIMESTAMP"
	ToDuration  Cast = "DURATION"
)

// casts are the types of the values that casts make. A value that cannot be made
// is missing, as a label may be.
var casts = map[Cast]Type{
	ToString: Label, ToInteger: Number, ToFloat: Number, ToBool: Bool, ToTimestamp: Timestamp, ToDuration: Duration,
}

// zoneOption is the option of a cast that names a time zone.
const zoneOption = "TIMEZONE"

// maxStepsOfField is how many functions may be applied to a field: more than
// people write.
const maxStepsOfField = 10

// step is the name of the function of steps that is called by name, "" if it is
// none.
func step(m member) string {
	switch name := strings.ToLower(strings.Join(m.path, ".")); name {
	case FuncCast, FuncExtract:
		return name
	}
	return ""
}

// applied reads a field with functions applied to it, from the parenthesis behind
// the outermost function on.
func (p *parser) applied(name string, depth int) (side, error) {
	start := p.pos
	if depth == maxStepsOfField {
		return side{}, p.wrong("more than %d functions are applied to one field", maxStepsOfField)
	}
	p.pos++
	p.space()
	at := p.pos
	m, err := p.member()
	if err != nil {
		return side{}, err
	}
	var s side
	if inner := step(m); inner != "" && !m.quoted && strings.HasPrefix(p.text[p.pos:], "(") {
		s, err = p.applied(inner, depth+1)
	} else {
		s, err = p.field(m, at, name)
	}
	if err != nil {
		return side{}, err
	}
	if p.space(); !p.consume(',') {
		return side{}, p.expected("a comma")
	}
	p.space()
	if name == FuncCast {
		err = p.cast(&s)
	} else {
		err = p.extract(&s, start)
	}
	if err != nil {
		return side{}, err
	}
	if p.space(); !p.consume(')') {
		return side{}, p.expected("the ) of " + name)
	}
	return s, nil
}

// field is a field that functions are applied to.
func (p *parser) field(m member, at int, name string) (side, error) {
	if m.star {
		return side{}, p.wrongAt(at, "a field's name with * must be in double quotes; there are no wildcards")
	}
	path, typ, err := Field(m.path)
	if err != nil {
		return side{}, p.wrongAt(at, "%w", err)
	}
	if typ == Object {
		return side{}, p.wrongAt(at, "%s has fields of its own: %s looks at one of them", strings.Join(path, "."), name)
	}
	return side{path: path, typ: typ}, nil
}

// cast reads the type and the option of a cast.
func (p *parser) cast(s *side) error {
	at := p.pos
	v, err := p.value()
	if err != nil {
		return err
	}
	f := Step{Name: FuncCast, To: Cast(strings.ToUpper(v.Text))}
	typ, ok := casts[f.To]
	if !ok || v.Quoted {
		return p.wrongAt(at, "%q is no type: expected STRING, INT64, FLOAT64, BOOL, TIMESTAMP or DURATION", clip(v.Text))
	}
	if p.space(); p.consume(',') {
		if f.Zone, err = p.zone(f.To); err != nil {
			return err
		}
	}
	s.steps, s.typ = append(s.steps, f), typ
	return nil
}

// zone reads the option TIMEZONE("NAME").
func (p *parser) zone(to Cast) (string, error) {
	p.space()
	if !strings.EqualFold(p.peekWord(), zoneOption) {
		return "", p.expected(zoneOption + `("…")`)
	}
	if to != ToString && to != ToTimestamp {
		return "", p.wrong("%s is for STRING and TIMESTAMP", zoneOption)
	}
	p.pos += len(zoneOption)
	if p.space(); !p.consume('(') {
		return "", p.expected("the ( of " + zoneOption)
	}
	p.space()
	at := p.pos
	v, err := p.value()
	if err != nil {
		return "", err
	}
	if _, err := ParseZone(v.Text); err != nil || v.Text == "" {
		return "", p.wrongAt(at, `%q is no time zone: expected a name such as "America/New_York"`, clip(v.Text))
	}
	if p.space(); !p.consume(')') {
		return "", p.expected("the ) of " + zoneOption)
	}
	return v.Text, nil
}

// ParseZone is the time zone of a name of IANA's database; "" is UTC. That of the
// machine has no name here: a filter means the same everywhere.
func ParseZone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, fmt.Errorf("%q is no time zone", name)
	}
	return time.LoadLocation(name)
}

// extract reads the regular expression of regexp_extract.
func (p *parser) extract(s *side, start int) error {
	if s.typ != String && s.typ != Label && s.typ != Any {
		return p.wrongAt(start, "%s looks at text: cast to STRING first", FuncExtract)
	}
	at := p.pos
	v, err := p.value()
	if err != nil {
		return err
	}
	if !v.Quoted {
		return p.wrongAt(at, "expected a regular expression in double quotes, found %q", clip(v.Text))
	}
	if err := p.expression(v.Text, at); err != nil {
		return err
	}
	re, err := syntax.Parse(v.Text, syntax.Perl)
	if err != nil {
		panic("BUG: filter: an expression that was read: " + err.Error())
	}
	if n := re.MaxCap(); n != 1 {
		return p.wrongAt(at, "the regular expression of %s has %d groups, and must have one: (…) is one, (?:…) is none", FuncExtract, n)
	}
	s.steps, s.typ = append(s.steps, Step{Name: FuncExtract, Pattern: v.Text}), Label
	return nil
}

// left is what stands left of the operator, as it is written.
func (c *Comparison) left() string {
	var p printer
	p.left(c)
	return p.String()
}

// left writes the field of a comparison with the functions that are applied to it.
func (p *printer) left(c *Comparison) {
	for _, s := range slices.Backward(c.Steps) {
		p.WriteString(s.Name)
		p.WriteByte('(')
	}
	p.path(c.Path)
	for _, s := range c.Steps {
		p.WriteString(", ")
		if s.Name == FuncExtract {
			p.quoted(s.Pattern)
		} else {
			p.WriteString(string(s.To))
			if s.Zone != "" {
				p.WriteString(", " + zoneOption + "(")
				p.quoted(s.Zone)
				p.WriteByte(')')
			}
		}
		p.WriteByte(')')
	}
}
