package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/schema"
)

// parser is a recursive descent over a text. A method that fails has moved at
// to where the error is.
type parser struct {
	resource *schema.Resource
	text     string
	at       int
	depth    int
	terms    int
}

// parse parses the whole text.
func (p *parser) parse() (node, error) {
	if len(p.text) > maxText {
		return nil, fmt.Errorf("a filter has at most %d bytes, not %d", maxText, len(p.text))
	}
	if !utf8.ValidString(p.text) {
		return nil, errors.New("a filter is text in UTF-8")
	}
	if p.space(); p.done() {
		return nil, nil
	}
	n, err := p.expression()
	if err == nil && !p.done() {
		err = p.want("AND, OR or the end")
	}
	if err != nil {
		return nil, errAt(p.text, p.at, err)
	}
	return n, nil
}

// expression parses factors up to the end or a parenthesis.
func (p *parser) expression() (node, error) {
	var all []node
	for {
		n, err := p.factor()
		if err != nil {
			return nil, err
		}
		all = append(all, n)
		spaced := p.space()
		switch {
		case p.done(), p.next(')'):
			return and(all), nil
		case p.word("AND"):
		case !spaced && !p.next('(') && p.text[p.at-1] != ')':
			return nil, p.want("a space, AND or OR")
		}
	}
}

// factor parses terms with OR between them.
func (p *parser) factor() (node, error) {
	var one []node
	for {
		n, err := p.term()
		if err != nil {
			return nil, err
		}
		one = append(one, n)
		if !p.word("OR") {
			return or(one), nil
		}
	}
}

// term parses a test or an expression in parentheses.
func (p *parser) term() (node, error) {
	p.space()
	negated := p.word("NOT")
	if !negated && p.next('-') {
		p.at++
		negated = true
	}
	n, err := p.simple()
	if err != nil {
		return nil, err
	}
	if negated {
		return not(n), nil
	}
	return n, nil
}

// simple parses a term without its NOT.
func (p *parser) simple() (node, error) {
	p.space()
	if !p.next('(') {
		if err := p.count(); err != nil {
			return nil, err
		}
		return p.test()
	}
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("parentheses are at most %d deep", maxDepth)
	}
	p.at++
	n, err := p.expression()
	if err != nil {
		return nil, err
	}
	if !p.next(')') {
		return nil, p.want("AND, OR or a closing parenthesis")
	}
	p.at++
	p.depth--
	return n, nil
}

// count counts a test.
func (p *parser) count() error {
	if p.terms++; p.terms > maxTerms {
		return fmt.Errorf("a filter has at most %d comparisons", maxTerms)
	}
	return nil
}

// test parses a path and what it is compared with.
func (p *parser) test() (node, error) {
	segments, err := p.path()
	if err != nil {
		return nil, err
	}
	if p.next('(') {
		p.at = segments[0].at
		return nil, fmt.Errorf("there is no function %q", shorten(joinSegments(segments)))
	}
	x, bad, err := resolve(p.resource, segments)
	if err != nil {
		p.at = bad
		return nil, err
	}
	after := p.at
	p.space()
	for _, c := range comparators {
		if strings.HasPrefix(p.text[p.at:], c.sign) {
			p.at += len(c.sign)
			return p.one(x, c.op, c.sign == ":")
		}
	}
	switch {
	case p.word("LIKE"):
		return p.one(x, opLike, false)
	case p.word("IN"):
		return p.in(x, opIn)
	case p.words("NOT", "IN"):
		return p.in(x, opNotIn)
	case p.word("IS"):
		return p.is(x)
	case p.word("CONTAINS"), p.word("HAS"):
		return p.contains(x)
	}
	if x.class == classBool && !x.many {
		p.at = after
		return newTest(x, opEqual, []value{{scalar{int: 1}, fieldpath.Value{Value: protoreflect.ValueOfBool(true), Desc: x.desc}}}), nil
	}
	return nil, p.want("a comparison after " + x.String() + ", such as = or IN")
}

// comparators are the signs, the longer ones first.
var comparators = []struct {
	sign string
	op   op
}{{"<=", opAtMost}, {">=", opAtLeast}, {"!=", opNotEqual}, {"<", opLess}, {">", opMore}, {"=", opEqual}, {":", opHas}}

// one parses the literal of a comparison with one.
func (p *parser) one(x *path, o op, colon bool) (node, error) {
	l, err := p.literal()
	if err != nil {
		return nil, err
	}
	n, err := compare(p.resource, x, o, l, colon)
	if err != nil {
		p.at = l.at
	}
	return n, err
}

// list parses the list of a comparison with several. Of what has fields or keys
// the list is of those.
func (p *parser) list(x *path, o op) (node, error) {
	if p.space(); !p.next('(') {
		return nil, p.want("a list in parentheses")
	}
	p.at++
	var values []value
	var members []node
	for n := 1; ; n++ {
		if n > maxList {
			return nil, fmt.Errorf("a list has at most %d values", maxList)
		}
		l, err := p.literal()
		if err != nil {
			return nil, err
		}
		if x.holder() {
			var m *path
			if m, err = x.member(p.resource, l); err == nil {
				members, err = append(members, newTest(m, opSet, nil)), p.count()
			}
		} else {
			var v value
			if v, err = x.value(l); err == nil {
				values = append(values, v)
			}
		}
		if err != nil {
			p.at = l.at
			return nil, err
		}
		p.space()
		if p.next(')') {
			break
		}
		if !p.next(',') {
			return nil, p.want("a comma or a closing parenthesis")
		}
		p.at++
	}
	p.at++
	switch {
	case !x.holder():
		return newTest(x, o, values), nil
	case o == opAll:
		return and(members), nil
	}
	return or(members), nil
}

// in parses what comes after IN.
func (p *parser) in(x *path, o op) (node, error) {
	switch {
	case x.many:
		return nil, fmt.Errorf("%s has many values: use CONTAINS ANY", x.String())
	case x.holder():
		return nil, x.notComparable()
	}
	return p.list(x, o)
}

// contains parses what comes after CONTAINS.
func (p *parser) contains(x *path) (node, error) {
	back := p.at
	o := opContains
	switch {
	case p.word("ANY"):
		o = opIn
	case p.word("ALL"):
		o = opAll
	}
	if !x.many && !x.holder() {
		return nil, fmt.Errorf("%s has no values to contain: use = or LIKE", x.String())
	}
	if p.space(); o != opContains && p.next('(') {
		return p.list(x, o)
	}
	p.at = back
	return p.one(x, opContains, false)
}

// is parses what comes after IS.
func (p *parser) is(x *path) (node, error) {
	start := p.at
	negated := p.word("NOT")
	null := p.word("NULL")
	switch {
	case null && negated:
		return newTest(x, opSet, nil), nil
	case null:
		return newTest(x, opNull, nil), nil
	case !p.word("NaN"):
		return nil, p.want("NULL or NaN")
	case x.class != classFloat || x.many:
		p.at = start
		return nil, fmt.Errorf("%s is not one floating-point number, so it is never NaN", x.String())
	case negated:
		return newTest(x, opNumber, nil), nil
	}
	return newTest(x, opNaN, nil), nil
}

// segment is a part of a path as it was written.
type segment struct {
	text   string
	quoted bool
	at     int
}

// path parses the segments of a path.
func (p *parser) path() ([]segment, error) {
	var segments []segment
	for {
		s := segment{at: p.at}
		switch {
		case p.next('`'):
			text, err := p.backticks()
			if err != nil {
				return nil, err
			}
			s.text, s.quoted = text, true
		case len(segments) > 0 && (p.next('"') || p.next('\'')):
			l, err := p.quoted()
			if err != nil {
				return nil, err
			}
			s.text, s.quoted = l.text(), true
		case len(segments) > 0 && p.next('*'):
			s.text = "*"
			p.at++
		default:
			s.text = p.take(isName)
		}
		if len(segments) == 0 && !s.quoted && !validFirst(s.text) {
			p.at = s.at
			return nil, p.want("a field")
		}
		if s.text == "" && !s.quoted {
			return nil, p.want("a field or a key")
		}
		segments = append(segments, s)
		if !p.next('.') {
			return segments, nil
		}
		p.at++
	}
}

// validFirst reports whether a path may begin so without backticks: with a
// letter, and not with a word of the grammar.
func validFirst(s string) bool {
	return s != "" && (s[0] >= utf8.RuneSelf || s[0] == '_' || unicode.IsLetter(rune(s[0]))) && !reserved(s)
}

// reserved reports whether s is a word that joins tests.
func reserved(s string) bool {
	return strings.EqualFold(s, "AND") || strings.EqualFold(s, "OR") || strings.EqualFold(s, "NOT")
}

// isName reports whether a path has r without quotes.
func isName(r rune) bool {
	return r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// isText reports whether a literal has r without quotes.
func isText(r rune) bool {
	return !unicode.IsSpace(r) && unicode.IsPrint(r) && !strings.ContainsRune("()<>=!,\"'`\\", r)
}

// backticks parses a segment between backticks, one in it twice.
func (p *parser) backticks() (string, error) {
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		if p.text[i] == '`' {
			if i+1 == len(p.text) || p.text[i+1] != '`' {
				p.at = i + 1
				return b.String(), nil
			}
			i++
		}
		b.WriteByte(p.text[i])
	}
	return "", errors.New("this backtick is not closed")
}

// literal parses a literal.
func (p *parser) literal() (literal, error) {
	p.space()
	if p.next('"') || p.next('\'') {
		return p.quoted()
	}
	l := literal{at: p.at}
	digit := !p.done() && p.text[p.at] >= '0' && p.text[p.at] <= '9'
	// A colon is in times alone: elsewhere it is a test of what was meant to be
	// the next field.
	l.raw = p.take(func(r rune) bool { return isText(r) && (r != ':' || digit) })
	switch {
	case l.raw == "":
		return l, p.want("a value")
	case reserved(l.raw):
		p.at = l.at
		return l, fmt.Errorf("want a value, not %q: as text it has quotes", l.raw)
	case p.next('(') && (l.raw == "duration" || l.raw == "timestamp"):
		p.at++
		p.space()
		inner, err := p.quoted()
		if err != nil {
			return l, err
		}
		if p.space(); !p.next(')') {
			return l, p.want("a closing parenthesis")
		}
		p.at++
		inner.function = l.raw
		return inner, nil
	case p.next('('):
		p.at = l.at
		return l, fmt.Errorf("there is no function %q", shorten(l.raw))
	}
	return l, nil
}

// quoted parses a literal in quotes.
func (p *parser) quoted() (literal, error) {
	if !p.next('"') && !p.next('\'') {
		return literal{}, p.want("text in quotes")
	}
	for i := p.at + 1; i < len(p.text); i++ {
		switch p.text[i] {
		case '\\':
			i++
		case p.text[p.at]:
			l := literal{raw: p.text[p.at+1 : i], quoted: true, at: p.at}
			if bad, err := l.check(); err != nil {
				p.at += 1 + bad
				return l, err
			}
			p.at = i + 1
			return l, nil
		}
	}
	return literal{}, errors.New("this quote is not closed")
}

// space skips spaces, and reports whether there were any.
func (p *parser) space() bool { return p.take(unicode.IsSpace) != "" }

// take takes the runes that are so.
func (p *parser) take(is func(rune) bool) string {
	start := p.at
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if !is(r) {
			break
		}
		p.at += n
	}
	return p.text[start:p.at]
}

// done reports whether the text is at its end.
func (p *parser) done() bool { return p.at == len(p.text) }

// next reports whether c comes next.
func (p *parser) next(c byte) bool { return !p.done() && p.text[p.at] == c }

// word takes a word of the grammar, in either case, and the space before it, if
// it comes next.
func (p *parser) word(w string) bool {
	back := p.at
	p.space()
	end := p.at + len(w)
	if end <= len(p.text) && strings.EqualFold(p.text[p.at:end], w) {
		if r, _ := utf8.DecodeRuneInString(p.text[end:]); end == len(p.text) || !isName(r) && r != '.' {
			p.at = end
			return true
		}
	}
	p.at = back
	return false
}

// words takes two words, or none.
func (p *parser) words(first, second string) bool {
	back := p.at
	if p.word(first) && p.word(second) {
		return true
	}
	p.at = back
	return false
}

// want is the error that something else was expected here.
func (p *parser) want(what string) error {
	p.space()
	if p.done() {
		return fmt.Errorf("want %s, not the end", what)
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.at:])
	got := string(r)
	if isText(r) {
		at := p.at
		got = p.take(isText)
		p.at = at
	}
	return fmt.Errorf("want %s, not %q", what, shorten(got))
}

// joinSegments is a path as it was written, nearly.
func joinSegments(segments []segment) string {
	parts := make([]string, len(segments))
	for i, s := range segments {
		parts[i] = s.text
	}
	return strings.Join(parts, ".")
}
