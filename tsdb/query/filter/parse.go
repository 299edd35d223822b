package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
)

// MaxLength is the longest filter that is parsed, in bytes: room for a few
// hundred device ids in a one_of, and a bound on how deep parentheses nest.
const MaxLength = 16 << 10

// maxMessage bounds what an error repeats of a filter, in bytes.
const maxMessage = 300

// Parse reads a filter. Text that is no filter is an Invalid error with the
// position at fault; nothing is ever guessed or ignored.
func Parse(text string) (Filter, error) {
	p := parser{scanner: scanner{text: text}}
	switch {
	case len(text) > MaxLength:
		return Filter{}, invalid(fmt.Errorf("it is longer than %d bytes", MaxLength))
	case !utf8.ValidString(text):
		return Filter{}, invalid(errors.New("it is not valid UTF-8"))
	}
	p.next()
	if p.token.kind == end {
		return Filter{}, nil
	}
	root, err := p.sequence()
	if err == nil && p.token.kind != end {
		err = p.errorf("%s is unexpected here", p.token)
	}
	if err != nil {
		return Filter{}, invalid(err)
	}
	return Filter{root}, nil
}

// invalid is the error of a text that is no filter.
func invalid(err error) error {
	return &fault.Error{
		Op: "tsdb/query/filter.Parse", Kind: fault.Invalid, Field: "filter",
		Err: fmt.Errorf("field filter had an invalid value: %w", err),
	}
}

// parser reads one token ahead. Its methods are named for the grammar's rules
// and leave the token after what they read.
type parser struct {
	scanner
	token token
}

// next reads the next token.
func (p *parser) next() { p.token = p.scan() }

// errorf is an error at the current token, told in characters from 1.
func (p *parser) errorf(format string, args ...any) error {
	at := utf8.RuneCountInString(p.text[:p.token.at]) + 1
	message := fmt.Sprintf(format, args...)
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return fmt.Errorf("at position %d: %s", at, message)
}

// sequence reads factors joined by AND or by nothing.
func (p *parser) sequence() (expr, error) {
	var list all
	for {
		e, err := p.factor()
		if err != nil {
			return nil, err
		}
		if inner, ok := e.(all); ok {
			list = append(list, inner...)
		} else {
			list = append(list, e)
		}
		if p.token.is("AND") {
			p.next()
			continue
		}
		if p.token.kind == end || p.token.is(")") {
			break
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

// factor reads terms joined by OR.
func (p *parser) factor() (expr, error) {
	var list either
	for {
		e, err := p.term()
		if err != nil {
			return nil, err
		}
		if inner, ok := e.(either); ok {
			list = append(list, inner...)
		} else {
			list = append(list, e)
		}
		if !p.token.is("OR") {
			break
		}
		p.next()
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

// term reads a comparison or a parenthesis, with what negates it.
func (p *parser) term() (expr, error) {
	negated := false
	for p.token.is("NOT") || p.token.is("-") {
		negated = !negated
		p.next()
	}
	if p.token.kind == word && len(p.token.text) > 1 && p.token.text[0] == '-' {
		negated = !negated
		p.token.text, p.token.at = p.token.text[1:], p.token.at+1
	}
	var e expr
	var err error
	if p.token.is("(") {
		e, err = p.parenthesis()
	} else {
		e, err = p.comparison()
	}
	switch inner, isNot := e.(not); {
	case err != nil:
		return nil, err
	case !negated:
		return e, nil
	case isNot:
		return inner.expr, nil
	}
	return not{e}, nil
}

// parenthesis reads a sequence in parentheses.
func (p *parser) parenthesis() (expr, error) {
	p.next()
	e, err := p.sequence()
	if err != nil {
		return nil, err
	}
	if !p.token.is(")") {
		return nil, p.errorf("%s is unexpected, ) is missing", p.token)
	}
	p.next()
	return e, nil
}

// comparison reads a field, an operator and a value.
func (p *parser) comparison() (expr, error) {
	if p.token.kind != word {
		return nil, p.errorf("%s is unexpected, a field is missing", p.token)
	}
	name := p.token.text
	if labels, ok := p.labels(name); ok {
		return p.labelPresent(labels)
	}
	f, err := p.field(name)
	if err != nil {
		return nil, err
	}
	op := operator(p.token.text)
	compared := operators
	if f.label == "" { // types and projects have no order
		compared = operators[:3]
	}
	if p.token.kind != symbol || !slices.Contains(compared, op) {
		return nil, p.errorf("%s is unexpected after %s, which is compared with %s", p.token, f, list(compared))
	}
	p.next()
	return p.value(comparison{field: f, op: op})
}

// list names operators for a message.
func list(ops []operator) string {
	var b strings.Builder
	for i, op := range ops {
		switch {
		case i > 0 && i == len(ops)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(op))
	}
	return b.String()
}

// labels is the kind of labels that name stands for when it is the whole set:
// metric.labels:state.
func (p *parser) labels(name string) (fieldKind, bool) {
	for _, prefix := range prefixes {
		if prefix.text == name {
			return prefix.kind, true
		}
	}
	return 0, false
}

// labelPresent reads the rest of metric.labels:state, which is
// metric.labels.state:*.
func (p *parser) labelPresent(kind fieldKind) (expr, error) {
	p.next()
	if !p.token.is(string(has)) {
		return nil, p.errorf("%s is unexpected, a . and a label's name or a : is missing", p.token)
	}
	p.next()
	if p.token.kind != word && p.token.kind != quoted || p.token.text == "" {
		return nil, p.errorf("%s is unexpected, a label's name is missing", p.token)
	}
	c := comparison{field: Field{kind, p.token.text}, op: has, function: present}
	p.next()
	return c, nil
}

// field reads the field whose name begins with the current word; a quoted
// label's name is the next token.
func (p *parser) field(name string) (Field, error) {
	if kind, ok := fixed[name]; ok {
		p.next()
		return Field{kind: kind}, nil
	}
	for _, prefix := range prefixes {
		label, ok := strings.CutPrefix(name, prefix.text+".")
		if !ok {
			continue
		}
		upto := p.token.upto
		p.next()
		if label == "" && p.token.kind == quoted && p.token.at == upto {
			label = p.token.text
			p.next()
		}
		if label == "" {
			return Field{}, p.errorf("a label's name is missing after %s.", prefix.text)
		}
		return Field{prefix.kind, label}, nil
	}
	if reason, ok := refusedFields[name]; ok {
		return Field{}, p.errorf("%s cannot be filtered by: %s", p.token, reason)
	}
	switch strings.ToUpper(name) {
	case "AND", "OR", "NOT":
		return Field{}, p.errorf("%s is unexpected here; a field is missing, and operators are upper case", p.token)
	}
	return Field{}, p.errorf(
		"%s is no field; project, metric.type, resource.type, metric.labels.NAME, resource.labels.NAME, metadata.system_labels.NAME and metadata.user_labels.NAME are", p.token)
}

// value reads the right-hand side of c.
func (p *parser) value(c comparison) (expr, error) {
	t := p.token
	if t.kind != word && t.kind != quoted || t.is("AND") || t.is("OR") || t.is("NOT") {
		return nil, p.errorf("%s is unexpected, a value is missing", t)
	}
	p.next()
	if _, ordered := orders[c.op]; ordered {
		test, err := orderTest(c.op, t.text)
		if err != nil {
			p.token = t
			return nil, p.errorf("%v", err)
		}
		c.args, c.test = []string{t.text}, test
		return c, nil
	}
	if t.kind == word && p.token.is("(") && p.token.at == t.upto {
		return p.function(c, t)
	}
	if t.kind == word && c.op == has && t.text == present {
		c.function = present
		return c, nil
	}
	c.args, c.test = []string{t.text}, plainTest(c.op, t.text)
	return c, nil
}

// function reads the arguments of the function that name names.
func (p *parser) function(c comparison, name token) (expr, error) {
	here := p.token
	build := functions[name.text]
	switch {
	case build == nil:
		p.token = name
		return nil, p.errorf("there is no function %s; there are starts_with, ends_with, has_substring, one_of and monitoring.regex.full_match", name)
	case c.op == has:
		p.token = name
		return nil, p.errorf("a function is compared with = or !=, not with :")
	}
	for p.token = here; !p.token.is(")"); {
		p.next()
		if p.token.kind != quoted {
			return nil, p.errorf("%s is unexpected, %s takes quoted strings", p.token, name.text)
		}
		c.args = append(c.args, p.token.text)
		p.next()
		if !p.token.is(",") && !p.token.is(")") {
			return nil, p.errorf("%s is unexpected, , or ) is missing", p.token)
		}
	}
	if len(c.args) != 1 && !variadic[name.text] {
		return nil, p.errorf("%s takes one string, not %d", name.text, len(c.args))
	}
	test, err := build(c.args)
	if err != nil {
		p.token = name
		return nil, p.errorf("%s: %v", name.text, err)
	}
	p.next()
	c.function, c.test = name.text, test
	return c, nil
}
