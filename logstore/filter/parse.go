package filter

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
)

// MaxLength is the most characters that a filter may have, as Google has it;
// comments count.
const MaxLength = 20_000

// maxDepth is how deep parentheses may be nested: more than people write, and
// little for a stack.
const maxDepth = 100

// Parse reads a filter. One that is empty, or only comments, is nil, which
// selects all. The error names the place and what was expected there.
func Parse(text string) (Expr, error) {
	e, err := parse(text)
	if err != nil {
		return nil, &fault.Error{Op: "filter.Parse", Kind: fault.Invalid, Reason: "INVALID_FILTER", Field: "filter", Err: err}
	}
	return e, nil
}

// parse is Parse with plain errors.
func parse(text string) (Expr, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("the filter is not UTF-8")
	}
	if n := utf8.RuneCountInString(text); n > MaxLength {
		return nil, fmt.Errorf("the filter has %d characters, the most are %d", n, MaxLength)
	}
	p := &parser{text: text}
	if p.space(); p.pos == len(text) {
		return nil, nil
	}
	e, err := p.and(nil)
	if err != nil {
		return nil, err
	}
	if p.pos < len(text) {
		return nil, p.expected("AND, OR or the end of the filter")
	}
	return e, nil
}

// parser reads a filter from front to back.
type parser struct {
	text string
	pos  int
	// depth is how many parentheses are open.
	depth int
	// steps is how many all regular expressions have so far.
	steps int
}

// side is what stands left of the parentheses that are being read.
type side struct {
	path  []string
	steps []Step
	typ   Type
	op    Op
}

// and reads terms up to the end or a closing parenthesis. of is not nil in
// the parentheses after an operator.
func (p *parser) and(of *side) (Expr, error) {
	var terms []Expr
	for {
		e, err := p.or(of)
		if err != nil {
			return nil, err
		}
		if and, ok := e.(*And); ok {
			terms = append(terms, and.Terms...)
		} else {
			terms = append(terms, e)
		}
		if p.take("AND") {
			continue
		}
		if p.pos == len(p.text) || p.text[p.pos] == ')' {
			break
		}
	}
	if len(terms) == 1 {
		return terms[0], nil
	}
	return &And{Terms: terms}, nil
}

// or reads a term, and those after it with OR between them.
func (p *parser) or(of *side) (Expr, error) {
	var terms []Expr
	for {
		e, err := p.not(of)
		if err != nil {
			return nil, err
		}
		if or, ok := e.(*Or); ok {
			terms = append(terms, or.Terms...)
		} else {
			terms = append(terms, e)
		}
		if !p.take("OR") {
			break
		}
	}
	if len(terms) == 1 {
		return terms[0], nil
	}
	return &Or{Terms: terms}, nil
}

// not reads a term with any number of NOT and - before it.
func (p *parser) not(of *side) (Expr, error) {
	negated := false
	for {
		p.space()
		if of != nil && isNumber(p.peekWord()) {
			break // as in jsonPayload.x = (-1 OR -2)
		}
		if p.take("NOT") {
			negated = !negated
			continue
		}
		if !strings.HasPrefix(p.text[p.pos:], "-") {
			break
		}
		p.pos++
		negated = !negated
	}
	e, err := p.primary(of)
	if err != nil || !negated {
		return e, err
	}
	if not, ok := e.(*Not); ok {
		return not.Term, nil
	}
	return &Not{Term: e}, nil
}

// primary reads parentheses, a comparison, a function, or a value alone.
func (p *parser) primary(of *side) (Expr, error) {
	p.space()
	switch {
	case strings.HasPrefix(p.text[p.pos:], "("):
		return p.parentheses(of)
	case of != nil:
		return p.comparison(*of)
	}
	return p.restriction()
}

// parentheses reads an expression in parentheses.
func (p *parser) parentheses(of *side) (Expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.wrong("parentheses are nested deeper than %d", maxDepth)
	}
	p.pos++
	e, err := p.and(of)
	if err != nil {
		return nil, err
	}
	if !p.consume(')') {
		return nil, p.expected("AND, OR or )")
	}
	p.depth--
	return e, nil
}

// restriction reads a comparison, a function, or a value alone.
func (p *parser) restriction() (Expr, error) {
	start := p.pos
	m, err := p.member()
	if err != nil {
		return nil, err
	}
	var s side
	if !m.quoted && strings.HasPrefix(p.text[p.pos:], "(") {
		name := step(m)
		if name == "" {
			return p.call(m)
		}
		if s, err = p.applied(name, 0); err != nil {
			return nil, err
		}
	}
	end := p.pos
	p.space()
	op, ok := p.operator()
	switch {
	case !ok && s.steps != nil:
		return nil, p.expected("an operator, since what is made of a field is compared: one of : = != < <= > >= =~ !~")
	case !ok:
		return p.global(m, start, end)
	case s.steps == nil:
		if m.star {
			return nil, p.wrongAt(start, "a field's name with * must be in double quotes; there are no wildcards")
		}
		if s.path, s.typ, err = Field(m.path); err != nil {
			return nil, p.wrongAt(start, "%w", err)
		}
	}
	s.op = op
	p.space()
	if strings.HasPrefix(p.text[p.pos:], "(") {
		return p.parentheses(&s)
	}
	return p.comparison(s)
}

// global makes the term that is a value alone.
func (p *parser) global(m member, start, end int) (Expr, error) {
	if m.quoted && len(m.path) > 1 {
		return nil, p.expected("an operator: one of : = != < <= > >= =~ !~")
	}
	if m.quoted {
		return &Text{Value: Value{Text: m.path[0], Quoted: true}}, nil
	}
	v := Value{Text: p.text[start:end]}
	if m.star && !v.IsAny() {
		return nil, p.wrongAt(start, "%s: there are no wildcards; put a text with * in double quotes", v.Text)
	}
	return &Text{Value: v}, nil
}

// comparison reads the value of a comparison.
func (p *parser) comparison(s side) (Expr, error) {
	start := p.pos
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if v.IsAny() && s.op != Has {
		return nil, p.wrongAt(start, "* asks only with : whether a field is there; put it in double quotes")
	}
	c := &Comparison{Path: s.path, Steps: s.steps, Op: s.op, Value: v}
	if err := c.check(s.typ); err != nil {
		return nil, p.wrongAt(start, "%w", err)
	}
	if s.op == Matches || s.op == NotMatches {
		if err := p.expression(v.Text, start); err != nil {
			return nil, err
		}
	}
	p.space()
	here := p.pos
	if _, ok := p.operator(); ok {
		p.pos = here
		return nil, p.expected("AND, OR or ) after the value; a value with operators in it must be in double quotes")
	}
	return c, nil
}

// value reads what stands right of an operator.
func (p *parser) value() (Value, error) {
	p.space()
	if p.pos < len(p.text) && (p.text[p.pos] == '"' || p.text[p.pos] == '\'') {
		text, err := p.quotes()
		return Value{Text: text, Quoted: true}, err
	}
	word := p.peekWord()
	switch {
	case keyword(word) || word == "":
		return Value{}, p.expected("a value")
	case strings.HasPrefix(word, ".") || strings.HasPrefix(word, "-") && !isNumber(word):
		return Value{}, p.wrong("%s: a text that begins so must be in double quotes", word)
	case strings.Contains(word, "*") && word != "*":
		return Value{}, p.wrong("%s: there are no wildcards; put a text with * in double quotes", word)
	}
	p.pos += len(word)
	return Value{Text: word}, nil
}

// member is names with dots between them, which are a field, the name of a
// function, or a text that is searched for.
type member struct {
	path []string
	// quoted says that one of them was in quotes, star that one had a star
	// and was not.
	quoted, star bool
}

// member reads one.
func (p *parser) member() (member, error) {
	var m member
	for {
		if p.pos < len(p.text) && (p.text[p.pos] == '"' || p.text[p.pos] == '\'') {
			name, err := p.quotes()
			if err != nil {
				return m, err
			}
			m.quoted, m.path = true, append(m.path, name)
		} else {
			name, _, _ := strings.Cut(p.peekWord(), ".")
			if name == "" || len(m.path) == 0 && keyword(name) {
				return m, p.expected([]string{"a field, a function, or a text", "a name after the dot"}[min(len(m.path), 1)])
			}
			p.pos += len(name)
			m.star = m.star || strings.Contains(name, "*")
			m.path = append(m.path, name)
		}
		if !p.consume('.') {
			return m, nil
		}
	}
}

// operator reads an operator if there is one.
func (p *parser) operator() (Op, bool) {
	for _, op := range []Op{Matches, NotMatches, NotEqual, LessOrEqual, GreaterOrEqual, Has, Equal, Less, Greater} {
		if strings.HasPrefix(p.text[p.pos:], op.String()) {
			p.pos += len(op.String())
			return op, true
		}
	}
	return 0, false
}

// take takes the word if it comes next.
func (p *parser) take(word string) bool {
	p.space()
	if p.peekWord() != word {
		return false
	}
	p.pos += len(word)
	p.space()
	return true
}

// consume takes the byte c if it comes next.
func (p *parser) consume(c byte) bool {
	if p.pos == len(p.text) || p.text[p.pos] != c {
		return false
	}
	p.pos++
	return true
}

// peekWord is the text up to what cannot be in a word.
func (p *parser) peekWord() string {
	rest := p.text[p.pos:]
	if i := strings.IndexFunc(rest, special); i >= 0 {
		return rest[:i]
	}
	return rest
}

// space skips white space and comments, which reach from two dashes to the
// line's end.
func (p *parser) space() {
	for {
		rest := strings.TrimLeftFunc(p.text[p.pos:], unicode.IsSpace)
		if strings.HasPrefix(rest, "--") {
			_, rest, _ = strings.Cut(rest, "\n")
			p.pos = len(p.text) - len(rest)
			continue
		}
		p.pos = len(p.text) - len(rest)
		return
	}
}

// expected is the error at the position.
func (p *parser) expected(what string) error {
	found := "the end"
	if p.pos < len(p.text) {
		found = p.peekWord()
		if r, _ := utf8.DecodeRuneInString(p.text[p.pos:]); found == "" {
			found = string(r)
		}
		found = fmt.Sprintf("%q", clip(found))
	}
	return p.wrong("expected %s, found %s", what, found)
}

// clip shortens what a message repeats.
func clip(text string) string {
	const most = 40
	for i := range text {
		if i >= most {
			return text[:i] + "…"
		}
	}
	return text
}

// wrong is an error at the position.
func (p *parser) wrong(format string, args ...any) error {
	return p.wrongAt(p.pos, format, args...)
}

// wrongAt is an error at a place, which it names by line and character.
func (p *parser) wrongAt(pos int, format string, args ...any) error {
	before := p.text[:pos]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Errorf("line %d, character %d: "+format, slices.Concat([]any{line, column}, args)...)
}
