package filter

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// operators are the operators as they are written.
var operators = [...]string{
	Has: ":", Equal: "=", NotEqual: "!=", Less: "<", LessOrEqual: "<=", Greater: ">", GreaterOrEqual: ">=", Matches: "=~", NotMatches: "!~",
}

// String is the operator as it is written.
func (o Op) String() string { return operators[o] }

// String implements Expr.
func (e *And) String() string { return text(e) }

// String implements Expr.
func (e *Or) String() string { return text(e) }

// String implements Expr.
func (e *Not) String() string { return text(e) }

// String implements Expr.
func (c *Comparison) String() string { return text(c) }

// String implements Expr.
func (e *Text) String() string { return text(e) }

// String implements Expr.
func (c *Call) String() string { return text(c) }

// text is e as it is written.
func text(e Expr) string {
	var p printer
	p.expr(e, nil)
	return p.String()
}

// printer writes expressions. in is everywhere the comparison whose field and
// operator stand before the parentheses that are being written, nil outside
// of such.
type printer struct {
	strings.Builder
}

// expr writes e.
func (p *printer) expr(e Expr, in *Comparison) {
	switch e := e.(type) {
	case *And:
		p.terms(e.Terms, " AND ", in)
	case *Or:
		p.terms(e.Terms, " OR ", in)
	case *Not:
		p.WriteString("NOT ")
		p.term(e.Term, in)
	case *Comparison:
		if in == nil {
			p.left(e)
			p.WriteString(e.Op.String())
		}
		p.value(e.Value)
	case *Text:
		p.value(Value{Text: e.Value.Text, Quoted: e.Value.Quoted || !isTerm(e.Value.Text)})
	case *Call:
		p.call(e)
	}
}

// term writes a part of an expression, in parentheses where it needs them.
func (p *printer) term(e Expr, in *Comparison) {
	switch e.(type) {
	case *And, *Or:
		if in == nil && common(e) != nil {
			p.expr(e, nil) // terms writes it as a group, with parentheses
			return
		}
		p.WriteByte('(')
		p.expr(e, in)
		p.WriteByte(')')
	default:
		p.expr(e, in)
	}
}

// terms writes terms with a word between them. Neighbours that compare one
// field by one operator are written with the field once, so that a filter that
// was short because of that stays so.
func (p *printer) terms(terms []Expr, word string, in *Comparison) {
	for i := 0; i < len(terms); {
		if i > 0 {
			p.WriteString(word)
		}
		n := 1
		if in == nil {
			n = run(terms[i:])
		}
		if n == 1 {
			p.term(terms[i], in)
		} else {
			c := common(terms[i])
			p.group(c, func() { p.terms(terms[i:i+n], word, c) })
		}
		i += n
	}
}

// group writes the field and the operator of c, and in parentheses what
// values writes.
func (p *printer) group(c *Comparison, values func()) {
	p.left(c)
	p.WriteString(c.Op.String())
	p.WriteByte('(')
	values()
	p.WriteByte(')')
}

// call writes a function.
func (p *printer) call(e *Call) {
	p.WriteString(e.Name)
	p.WriteByte('(')
	if len(e.Path) > 0 {
		p.path(e.Path)
	}
	for i, arg := range e.Args {
		if i > 0 || len(e.Path) > 0 {
			p.WriteString(", ")
		}
		p.value(arg)
	}
	p.WriteByte(')')
}

// path writes a field's name.
func (p *printer) path(path []string) {
	for i, name := range path {
		if i > 0 {
			p.WriteByte('.')
		}
		if isName(name) {
			p.WriteString(name)
		} else {
			p.quoted(name)
		}
	}
}

// value writes a value, in quotes if it was or has to be.
func (p *printer) value(v Value) {
	if !v.Quoted && isWord(v.Text) {
		p.WriteString(v.Text)
	} else {
		p.quoted(v.Text)
	}
}

// quoted writes text in double quotes.
func (p *printer) quoted(text string) {
	p.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			p.WriteByte('\\')
			p.WriteRune(r)
		case r == '\n':
			p.WriteString(`\n`)
		case r == '\r':
			p.WriteString(`\r`)
		case r == '\t':
			p.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			p.WriteString(`\u00`)
			p.WriteString(strconv.FormatInt(int64(r)>>4, 16))
			p.WriteString(strconv.FormatInt(int64(r)&15, 16))
		default:
			p.WriteRune(r)
		}
	}
	p.WriteByte('"')
}

// common is a comparison of the field and the operator that all of e
// compares, nil if there is more than one or something else.
func common(e Expr) *Comparison {
	switch e := e.(type) {
	case *Comparison:
		return e
	case *Not:
		return common(e.Term)
	case *And:
		return commonOf(e.Terms)
	case *Or:
		return commonOf(e.Terms)
	}
	return nil
}

// commonOf is common of many.
func commonOf(terms []Expr) *Comparison {
	c := common(terms[0])
	for _, t := range terms[1:] {
		if c == nil || !alike(c, common(t)) {
			return nil
		}
	}
	return c
}

// run is how many of the first terms, at least one, compare one field by one
// operator.
func run(terms []Expr) int {
	first := common(terms[0])
	n := 1
	for first != nil && n < len(terms) && alike(first, common(terms[n])) {
		n++
	}
	return n
}

// alike reports whether a comparison is of the field and the operator of
// another, which may be nil.
func alike(c, other *Comparison) bool {
	return other != nil && c.Op == other.Op && slices.Equal(c.Path, other.Path) && slices.Equal(c.Steps, other.Steps)
}

// isName reports whether a name can be written in a path without quotes.
func isName(name string) bool {
	for _, r := range name {
		if r != '_' && (r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r)) {
			return false
		}
	}
	return name != ""
}

// isWord reports whether text can be written as a value without quotes.
func isWord(text string) bool {
	if text == "*" {
		return true
	}
	if text == "" || keyword(text) || text[0] == '.' || text[0] == '-' && !isNumber(text) {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool { return special(r) || r == '*' })
}

// isTerm reports whether text that is a word can also stand alone, where it is
// read as if it were a field's name.
func isTerm(text string) bool {
	names := strings.Split(text, ".")
	return text[:min(1, len(text))] != "-" && !keyword(names[0]) && !slices.Contains(names, "")
}

// isNumber reports whether text is a number.
func isNumber(text string) bool {
	_, ok := ParseNumber(text)
	return ok
}

// keyword reports whether a word is one of the language's own.
func keyword(word string) bool { return word == "AND" || word == "OR" || word == "NOT" }

// special reports whether r ends a word.
func special(r rune) bool {
	return strings.ContainsRune(`()"'<>=!~:,\`, r) || unicode.IsSpace(r) || unicode.IsControl(r)
}
