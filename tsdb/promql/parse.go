package promql

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The bounds of a query: its length, how deep it may be nested, which the
// parser and the evaluation recurse into, and how many parts it may have.
const (
	maxQuery = 256 << 10
	maxDepth = 500
	maxNodes = 10_000
)

// precedences are those of the operators; those of one precedence are evaluated
// from left to right, but "^".
var precedences = map[string]int{
	"or": 1, "and": 2, "unless": 2,
	"==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "</": 3, ">/": 3,
	"+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "atan2": 5, "^": 6,
}

// power is the precedence of "^", the only operator before a sign.
const power = 6

// keywords are the words that mean something beside names.
var keywords = wordSet(`and or unless atan2 sum avg count min max group stddev stdvar topk bottomk count_values quantile
	limitk limit_ratio offset smoothed anchored by without on ignoring group_left group_right fill fill_left fill_right bool
	start end step range max_of min_of`)

// noMetrics are the keywords that cannot be the name of a metric.
var noMetrics = wordSet("atan2 bool on ignoring group_left group_right")

// disabled are the functions and aggregations of Prometheus that it calls
// experimental, and has only when it is told so.
var disabled = wordSet(`limitk limit_ratio start end step range max_of min_of info double_exponential_smoothing mad_over_time
	ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time sort_by_label sort_by_label_desc
	histogram_quantiles start_timestamp integral`)

// wordSet is a set of words.
func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		set[w] = true
	}
	return set
}

// parser makes checked expressions of a query. It keeps the first mistake, after
// which it sees nothing but the end.
type parser struct {
	lexer
	tok token
	// last is the end of the token before tok.
	last         int
	depth, nodes int
	err          error
}

// compile parses and checks a query.
func compile(query string) (node, error) {
	p, err := begin(query)
	if err != nil {
		return nil, err
	}
	if p.tok.kind == endToken && p.err == nil {
		return nil, bad("unknown position: parse error: no expression found in input")
	}
	n := unwrap(p.expression(0))
	p.end()
	return n, p.err
}

// compileSelector parses a selector of series that has neither window nor
// shift.
func compileSelector(text string) (*selector, error) {
	p, err := begin(text)
	if err != nil {
		return nil, err
	}
	s, _ := p.primary().(*selector)
	p.end()
	if p.err == nil && s == nil {
		return nil, bad("parse error: it must be a selector of series: %s", text)
	}
	return s, p.err
}

// begin is a parser at the first token.
func begin(query string) (*parser, error) {
	switch {
	case len(query) > maxQuery:
		return nil, bad("the query is longer than %d bytes", maxQuery)
	case !utf8.ValidString(query):
		return nil, bad("parse error: the query is not UTF-8")
	}
	p := &parser{lexer: lexer{text: query}}
	p.advance()
	return p, nil
}

// end fails if there is more.
func (p *parser) end() {
	if p.tok.kind != endToken {
		p.unexpected("")
	}
}

// advance goes to the next token and returns the one before.
func (p *parser) advance() token {
	was := p.tok
	p.last = was.end
	p.tok = p.next()
	if p.problem != "" {
		p.fail(p.tok.at, "%s", p.problem)
	}
	return was
}

// fail keeps the first mistake, with its line and column, and ends the tokens.
func (p *parser) fail(at int, format string, args ...any) {
	if p.err == nil {
		p.err = bad("%s: parse error: %w", position(p.text, at), fmt.Errorf(format, args...))
	}
	p.pos = len(p.text)
	p.braces = false
	p.tok = token{kind: endToken, at: p.pos, end: p.pos}
}

// unexpected fails at the next token.
func (p *parser) unexpected(expected string) {
	if expected != "" {
		expected = ", expected " + expected
	}
	p.fail(p.tok.at, "unexpected %s%s", p.tok, expected)
}

// is reports whether the next token is that sign or word.
func (p *parser) is(text string) bool {
	return p.tok.kind == signToken && p.tok.text == text || p.tok.kind == wordToken && strings.EqualFold(p.tok.text, text)
}

// accept passes over the sign or word if it is next.
func (p *parser) accept(text string) bool {
	if !p.is(text) {
		return false
	}
	p.advance()
	return true
}

// expect passes over the sign, which has to be next.
func (p *parser) expect(sign string) {
	if !p.accept(sign) {
		p.unexpected(strconv.Quote(sign))
	}
}

// count bounds the parts of a query.
func (p *parser) count() {
	if p.nodes++; p.nodes > maxNodes {
		p.fail(p.tok.at, "the query has more than %d parts", maxNodes)
	}
}

// expression is what binds at least as strongly as the precedence.
func (p *parser) expression(precedence int) node {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.tok.at, "the query is nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	left := p.operand()
	for {
		op := ""
		if p.tok.kind == signToken || p.tok.kind == wordToken {
			op = strings.ToLower(p.tok.text)
		}
		binds, ok := precedences[op]
		if !ok || binds < precedence {
			return left
		}
		left = p.binary(left, op, binds)
	}
}

// operand is an expression without operators around it.
func (p *parser) operand() node {
	at := p.tok.at
	minus := p.is("-")
	if !minus && !p.is("+") {
		n := p.primary()
		for p.modifier(&n) {
			p.count()
		}
		return n
	}
	p.advance()
	n := p.expression(power)
	if literal, ok := n.(number); ok {
		if minus {
			literal.value = -literal.value
		}
		literal.start = at
		return literal
	}
	n = unwrap(n)
	if k := n.kind(); k != scalarKind && k != vectorKind {
		p.fail(at, "unary expression only allowed on expressions of type scalar or instant vector, got %q", k)
	}
	return &sign{of: n, minus: minus, start: at}
}

// primary is an operand without modifiers.
func (p *parser) primary() node {
	p.count()
	t := p.tok
	switch {
	case t.kind == numberToken || t.kind == durationToken:
		return number{p.number(), t.at}
	case t.kind == stringToken:
		return text{p.string(), t.at}
	case p.accept("("):
		n := p.expression(0)
		p.expect(")")
		return &parens{of: n, start: t.at}
	case p.is("{"):
		return p.selector("", t.at)
	case t.kind != wordToken:
		p.unexpected("")
		return number{}
	}
	p.advance()
	word := strings.ToLower(t.text)
	_, aggregates := aggregations[word]
	switch {
	case (aggregates || word == "limitk" || word == "limit_ratio") && (p.is("(") || p.is("by") || p.is("without")):
		return p.aggregation(t)
	case p.is("(") && !strings.Contains(t.text, ":") && (!keywords[word] || disabled[word]):
		return p.call(t)
	case noMetrics[word]:
		p.fail(t.at, "unexpected %s", t)
		return number{}
	}
	return p.selector(t.text, t.at)
}

// number reads a number, or a duration in seconds.
func (p *parser) number() float64 {
	t := p.advance()
	if t.kind == durationToken {
		ms, err := milliseconds(t.text)
		if err != nil {
			p.fail(t.at, "%w", err)
		}
		return float64(ms) / 1000
	}
	if n, err := strconv.ParseInt(t.text, 0, 64); err == nil {
		return float64(n)
	}
	f, err := strconv.ParseFloat(t.text, 64)
	if err != nil {
		p.fail(t.at, "error parsing number: %w", err)
	}
	return f
}

// string reads a string literal.
func (p *parser) string() string {
	t := p.advance()
	s, ok := unquote(t.text)
	if !ok {
		p.fail(t.at, "error unquoting string %s", t.text)
	}
	return s
}

// selector reads what follows the name of a metric, or the braces if there is
// none.
func (p *parser) selector(name string, at int) node {
	s := &selector{name: name, start: at}
	if name != "" {
		s.matchers = append(s.matchers, matcher{label: nameLabel, value: name})
	}
	if p.accept("{") {
		for !p.is("}") && p.err == nil {
			s.matchers = append(s.matchers, p.matcher(s))
			if !p.is("}") && !p.accept(",") {
				p.unexpected(`"," or "}"`)
			}
		}
		p.expect("}")
	}
	if p.err != nil {
		return s
	}
	named := func(m matcher) bool { return m.label == nameLabel }
	if name != "" && slices.ContainsFunc(s.matchers[1:], named) {
		p.fail(at, "metric name must not be set twice: %q", name)
	}
	if !slices.ContainsFunc(s.matchers, func(m matcher) bool { return !m.matches("") }) {
		p.fail(at, "vector selector must contain at least one non-empty matcher")
	}
	s.key = p.text[at:p.last]
	return s
}

// matcher reads one condition of a selector.
func (p *parser) matcher(s *selector) matcher {
	p.count()
	t := p.tok
	var m matcher
	switch t.kind {
	case wordToken:
		m.label = p.advance().text
	case stringToken:
		m.label = p.string()
		if p.is(",") || p.is("}") { // the quoted name of the metric
			s.name = m.label
			return matcher{label: nameLabel, value: m.label}
		}
	default:
		p.unexpected(`identifier or "}"`)
		return m
	}
	op := p.tok.text
	if p.tok.kind != signToken || !strings.ContainsAny(op, "=~") {
		p.unexpected("label matching operator")
		return m
	}
	p.advance()
	if p.tok.kind != stringToken {
		p.unexpected("string")
		return m
	}
	m.negative, m.value = op[0] == '!', p.string()
	if strings.HasSuffix(op, "~") && p.err == nil {
		var err error
		if m.re, err = anchored(m.value); err != nil {
			p.fail(t.at, "%w", err)
		}
	} else if m.label == nameLabel && !m.negative {
		s.name = m.value
	}
	return m
}

// modifier reads a window, an offset or an @ of n, and reports whether there was
// one.
func (p *parser) modifier(n *node) bool {
	at := p.tok.at
	switch {
	case p.accept("["):
		*n = p.window(*n, at)
	case p.accept("offset"):
		p.offset(*n, at)
	case p.accept("@"):
		p.at(*n, at)
	case p.is("anchored"), p.is("smoothed"):
		p.fail(at, "%s modifier is experimental and not enabled", strings.ToLower(p.tok.text))
	default:
		return false
	}
	return p.err == nil
}

// window reads what follows "[".
func (p *parser) window(of node, at int) node {
	window := p.span()
	if p.accept(":") {
		step := int64(0)
		if !p.is("]") {
			step = p.span()
		}
		p.expect("]")
		inner := unwrap(of)
		if k := inner.kind(); k != vectorKind {
			p.fail(at, "subquery is only allowed on instant vector, got %s instead", k)
		}
		return &subquery{of: inner, window: window, step: step, start: startOf(of)}
	}
	p.expect("]")
	s, ok := of.(*selector)
	switch {
	case !ok || s.matrix:
		p.fail(at, "ranges only allowed for vector selectors")
		return of
	case s.shift.offset != 0:
		p.fail(at, "no offset modifiers allowed before range")
	case s.shift.fixed():
		p.fail(at, "no @ modifiers allowed before range")
	}
	s.matrix, s.window = true, window
	return s
}

// span reads a duration in milliseconds that is greater than 0.
func (p *parser) span() int64 {
	at := p.tok.at
	ms := p.duration()
	if ms <= 0 && p.err == nil {
		p.fail(at, "duration must be greater than 0")
	}
	return max(int64(ms), 1)
}

// duration reads a duration in milliseconds, which may have signs.
func (p *parser) duration() float64 {
	at, factor := p.tok.at, 1.0
	for p.is("-") || p.is("+") {
		if p.advance().text == "-" {
			factor = -factor
		}
	}
	if p.tok.kind != numberToken && p.tok.kind != durationToken {
		p.unexpected("number or duration; duration expressions are not enabled")
		return 0
	}
	ms := factor * p.number() * 1000
	if !(math.Abs(ms) <= maxDuration) {
		p.fail(at, "duration out of range")
		return 0
	}
	// As Prometheus: to nanoseconds, of which whole milliseconds count.
	return math.Trunc(math.Round(ms*1e6) / 1e6)
}

// shiftOf is where the offset and the @ of n are kept, nil if it cannot have
// them.
func (p *parser) shiftOf(n node, at int, what string) *shift {
	switch n := n.(type) {
	case *selector:
		return &n.shift
	case *subquery:
		return &n.shift
	}
	p.fail(at, "%s modifier must be preceded by an instant vector selector or range vector selector or a subquery", what)
	return nil
}

// offset reads what follows "offset".
func (p *parser) offset(n node, at int) {
	s := p.shiftOf(n, at, "offset")
	if s == nil {
		return
	}
	if s.offset != 0 {
		p.fail(at, "offset may not be set multiple times")
		return
	}
	s.offset = int64(p.duration())
}

// at reads what follows "@".
func (p *parser) at(n node, at int) {
	s := p.shiftOf(n, at, "@")
	switch {
	case s == nil:
		return
	case s.fixed():
		p.fail(at, "@ <timestamp> may not be set multiple times")
		return
	case p.is("start"), p.is("end"):
		s.edge = strings.ToLower(p.advance().text)[0]
		p.expect("(")
		p.expect(")")
		return
	}
	factor := 1000.0
	if p.is("-") || p.is("+") {
		if p.advance().text == "-" {
			factor = -factor
		}
	}
	if p.tok.kind != numberToken && p.tok.kind != durationToken {
		p.unexpected("timestamp")
		return
	}
	t := p.number() * factor
	if !(math.Abs(t) < math.MaxInt64) {
		p.fail(at, "timestamp out of bounds for @ modifier: %f", t/1000)
		return
	}
	// What is beyond all times of points is all the same.
	ms := int64(min(max(math.Round(t), -2*maxTime), 2*maxTime))
	s.at = &ms
}
