package promql

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tokenKind is what a token is.
type tokenKind int

// The kinds of tokens.
const (
	endToken      tokenKind = iota // the end of the query
	wordToken                      // a name or a keyword
	numberToken                    // 1, 0x1F, 1e3, Inf
	durationToken                  // 1h30m
	stringToken                    // a literal, with its quotes
	signToken                      // an operator or a bracket
)

// token is a piece of a query and where it is.
type token struct {
	kind    tokenKind
	text    string
	at, end int
}

// String is the token as an error names it.
func (t token) String() string {
	switch t.kind {
	case endToken:
		return "end of input"
	case wordToken:
		if !keywords[strings.ToLower(t.text)] {
			return "identifier " + strconv.Quote(t.text)
		}
		return "<" + strings.ToLower(t.text) + ">"
	case numberToken:
		return "number " + strconv.Quote(t.text)
	case durationToken:
		return "duration " + strconv.Quote(t.text)
	case stringToken:
		return "string " + t.text
	}
	return strconv.Quote(t.text)
}

// lexer cuts a query into tokens.
type lexer struct {
	text string
	pos  int
	// braces and brackets are whether those are open: what a word is, and which
	// signs there are, depends on them.
	braces, brackets bool
	// problem is why there are no more tokens, "" at the end of the query.
	problem string
}

// The forms of number and duration literals.
var (
	decimalForm  = regexp.MustCompile(`^(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?`)
	hexForm      = regexp.MustCompile(`^0[xX][0-9a-fA-F_]+`)
	durationForm = regexp.MustCompile(`^(?:([0-9]+)y)?(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?$`)
)

// signs are the operators and brackets, longer ones before their beginnings.
var signs = []string{"==", "!=", "<=", ">=", "</", ">/", "+", "-", "*", "/", "%", "^", "<", ">", "=", "(", ")", "{", "[", "]", "@", ","}

// signsInBraces are those between braces.
var signsInBraces = []string{"=~", "!~", "!=", "=", ",", "}"}

// next is the next token; after a problem it is the end.
func (l *lexer) next() token {
	l.skip()
	rest := l.text[l.pos:]
	if rest == "" || l.problem != "" {
		if l.braces && l.problem == "" {
			l.problem = "unexpected end of input inside braces"
		}
		return token{kind: endToken, at: l.pos, end: l.pos}
	}
	switch c := rest[0]; {
	case c == '"' || c == '\'' || c == '`':
		if n := quoted(rest); n > 0 {
			return l.take(stringToken, n)
		}
		return l.fail("unterminated quoted string")
	case letter(c) || c == ':' && !l.braces && !l.brackets:
		n := l.wordLen(rest)
		if word := strings.ToLower(rest[:n]); !l.braces && (word == "inf" || word == "nan") {
			return l.take(numberToken, n)
		}
		return l.take(wordToken, n)
	case !l.braces && (digit(c) || c == '.' && len(rest) > 1 && digit(rest[1])):
		return l.number(rest)
	case c == ':' && l.brackets:
		return l.take(signToken, 1)
	}
	known := signs
	if l.braces {
		known = signsInBraces
	}
	for _, s := range known {
		if strings.HasPrefix(rest, s) {
			l.track(s)
			return l.take(signToken, len(s))
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	if l.braces {
		return l.fail("unexpected character inside braces: " + strconv.QuoteRune(r))
	}
	return l.fail("unexpected character: " + strconv.QuoteRune(r))
}

// skip passes over spaces and comments.
func (l *lexer) skip() {
	for l.pos < len(l.text) {
		switch l.text[l.pos] {
		case ' ', '\t', '\n', '\r':
			l.pos++
		case '#':
			n := strings.IndexAny(l.text[l.pos:], "\r\n")
			if n < 0 {
				n = len(l.text) - l.pos
			}
			l.pos += n
		default:
			return
		}
	}
}

// take is the next n bytes as a token.
func (l *lexer) take(kind tokenKind, n int) token {
	t := token{kind, l.text[l.pos : l.pos+n], l.pos, l.pos + n}
	l.pos += n
	return t
}

// fail ends the tokens with a problem.
func (l *lexer) fail(problem string) token {
	l.problem = problem
	return token{kind: endToken, at: l.pos, end: l.pos}
}

// track notes which brackets are open.
func (l *lexer) track(sign string) {
	switch sign {
	case "{":
		l.braces = true
	case "}":
		l.braces = false
	case "[":
		l.brackets = true
	case "]":
		l.brackets = false
	}
}

// number is a number or a duration.
func (l *lexer) number(rest string) token {
	n := len(hexForm.FindString(rest))
	if n == 0 {
		n = len(decimalForm.FindString(rest))
	}
	if n == len(rest) || !wordy(rest[n]) && rest[n] != '.' {
		return l.take(numberToken, n)
	}
	n = 0
	for n < len(rest) && wordy(rest[n]) {
		n++
	}
	if durationForm.MatchString(rest[:n]) {
		return l.take(durationToken, n)
	}
	return l.fail("bad number or duration syntax: " + strconv.Quote(rest[:n]))
}

// wordLen is the length of the word that s begins with. A colon is part of it
// except between brackets and braces.
func (l *lexer) wordLen(s string) int {
	i := 0
	for i < len(s) && (wordy(s[i]) || s[i] == ':' && !l.braces && !l.brackets) {
		i++
	}
	return i
}

// quoted is the length of the string literal that s begins with, 0 if it does
// not end.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] != '`':
			i++
		case s[i] == '\n' && s[0] != '`':
			return 0
		case s[i] == s[0]:
			return i + 1
		}
	}
	return 0
}

// unquote is what a string literal means: as in Go, but with either quote.
func unquote(s string) (string, bool) {
	q, s := s[0], s[1:len(s)-1]
	if q == '`' || !strings.Contains(s, `\`) {
		return s, true
	}
	var b strings.Builder
	for s != "" {
		r, multibyte, rest, err := strconv.UnquoteChar(s, q)
		if err != nil {
			return "", false
		}
		if s = rest; r < utf8.RuneSelf || !multibyte {
			b.WriteByte(byte(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String(), true
}

// letter reports whether c can begin a name.
func letter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// digit reports whether c is one.
func digit(c byte) bool { return c >= '0' && c <= '9' }

// wordy reports whether c can be in a name.
func wordy(c byte) bool { return letter(c) || digit(c) }
