package filter

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind says what a token is.
type tokenKind uint8

// The kinds of tokens.
const (
	end tokenKind = iota
	word
	quoted
	symbol // ( ) , and the operators
	broken // not a token; text says why
)

// token is a piece of a filter.
type token struct {
	kind tokenKind
	// text is the word, the unquoted string, or the symbol.
	text string
	// at is the byte offset of the first byte, and upto the one after the
	// last.
	at, upto int
}

// String is how an error message speaks of the token.
func (t token) String() string {
	switch t.kind {
	case end:
		return "the end"
	case quoted:
		return "the string " + quote(t.text)
	case broken:
		return t.text
	}
	return fmt.Sprintf("%q", t.text)
}

// is reports whether the token is that symbol or keyword.
func (t token) is(text string) bool { return (t.kind == symbol || t.kind == word) && t.text == text }

// symbols are looked for in this order, the longest first. Those that no rule
// accepts are here so that the message names the whole operator.
var symbols = []string{"!=", "=~", "!~", "<=", ">=", "=", ":", "<", ">", "(", ")", ","}

// scanner cuts a filter into tokens.
type scanner struct {
	text string
	pos  int
}

// scan returns the next token.
func (s *scanner) scan() token {
	for s.pos < len(s.text) {
		r, size := utf8.DecodeRuneInString(s.text[s.pos:])
		if !unicode.IsSpace(r) {
			break
		}
		s.pos += size
	}
	t := token{at: s.pos}
	rest := s.text[s.pos:]
	switch {
	case rest == "":
	case rest[0] == '"' || rest[0] == '\'':
		t.kind, t.text = s.string(rest[0])
	default:
		t.kind, t.text = broken, fmt.Sprintf("the character %q", firstRune(rest))
		for _, sym := range symbols {
			if strings.HasPrefix(rest, sym) {
				t.kind, t.text = symbol, sym
				s.pos += len(sym)
				break
			}
		}
		if n := wordLen(rest); n > 0 {
			t.kind, t.text = word, rest[:n]
			s.pos += n
		}
	}
	t.upto = s.pos
	return t
}

// firstRune is the first character of text.
func firstRune(text string) rune {
	r, _ := utf8.DecodeRuneInString(text)
	return r
}

// wordLen is the length of the word that text begins with.
func wordLen(text string) int {
	for i, r := range text {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-./*", r) {
			return i
		}
	}
	return len(text)
}

// escapes are the one-letter escapes of a string.
var escapes = map[byte]byte{'\\': '\\', '"': '"', '\'': '\'', 'n': '\n', 'r': '\r', 't': '\t'}

// string reads a string in the given quotes, which the position is at.
func (s *scanner) string(quotes byte) (tokenKind, string) {
	var b strings.Builder
	for i := s.pos + 1; i < len(s.text); i++ {
		switch c := s.text[i]; c {
		case quotes:
			s.pos = i + 1
			return quoted, b.String()
		case '\\':
			r, n, ok := escape(s.text[i+1:])
			if !ok {
				return broken, `the escape \` + s.text[i+1:min(len(s.text), i+1+n)]
			}
			b.WriteRune(r)
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return broken, "the string without an end"
}

// escape reads what comes after a backslash: the character, and how many
// bytes it is made of.
func escape(text string) (r rune, n int, ok bool) {
	if text == "" {
		return 0, 0, false
	}
	if c, found := escapes[text[0]]; found {
		return rune(c), 1, true
	}
	if text[0] != 'u' || len(text) < 5 {
		_, size := utf8.DecodeRuneInString(text)
		return 0, size, false
	}
	code, err := strconv.ParseUint(text[1:5], 16, 32)
	if err != nil || !utf8.ValidRune(rune(code)) {
		return 0, 1, false
	}
	return rune(code), 5, true
}
