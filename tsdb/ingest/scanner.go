package ingest

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth bounds the nesting of JSON that is accepted, so that a small body
// cannot make a deep stack. It is the bound of sdk/event, which an event from
// outside has passed before.
const maxDepth = 64

// scanner reads one JSON text from front to back, once, without building
// values and without reflection. It accepts exactly the texts that
// encoding/json accepts, up to maxDepth, and its strings mean the same: what
// is no UTF-8 becomes U+FFFD.
//
// The methods are called as in a recursive descent: peek tells what comes,
// one of the others consumes it. A slice that they return is valid as long as
// the text is.
type scanner struct {
	text []byte
	pos  int
	// depth is how many objects and arrays are open.
	depth int
}

// errEnd is the error of a text that stops in the middle.
var errEnd = errors.New("unexpected end of JSON")

// unexpected is the error for the byte at the position.
func (s *scanner) unexpected(want string) error {
	if s.pos >= len(s.text) {
		return fmt.Errorf("%w, want %s", errEnd, want)
	}
	return fmt.Errorf("unexpected %q at byte %d of the JSON, want %s", s.text[s.pos], s.pos, want)
}

// peek skips white space and returns the byte that begins the next value or
// is the next separator, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// consume takes the byte c, after white space.
func (s *scanner) consume(c byte) bool {
	if s.peek() != c || s.pos >= len(s.text) {
		return false
	}
	s.pos++
	return true
}

// end is an error unless only white space is left.
func (s *scanner) end() error {
	if s.peek(); s.pos < len(s.text) {
		return s.unexpected("the end")
	}
	return nil
}

// open consumes the bracket that begins an object or an array.
func (s *scanner) open(bracket byte) error {
	if !s.consume(bracket) {
		return s.unexpected(string(rune(bracket)))
	}
	if s.depth++; s.depth > maxDepth {
		return fmt.Errorf("JSON nested deeper than %d", maxDepth)
	}
	return nil
}

// next reports whether another member follows in the object or array that
// shut ends, and consumes what separates or ends them. first is true before
// the first member.
func (s *scanner) next(first bool, shut byte) (bool, error) {
	switch {
	case s.consume(shut):
		s.depth--
		return false, nil
	case first:
		return true, nil
	case s.consume(','):
		return true, nil
	}
	return false, s.unexpected("',' or '" + string(rune(shut)) + "'")
}

// key consumes a member's name and the colon after it.
func (s *scanner) key() ([]byte, error) {
	raw, err := s.rawString()
	if err != nil {
		return nil, err
	}
	if !s.consume(':') {
		return nil, s.unexpected("':'")
	}
	return unquote(raw), nil
}

// object consumes an object. member is called with the name of every member
// and must consume its value.
func (s *scanner) object(member func(name []byte) error) error {
	if err := s.open('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := s.next(first, '}')
		if err != nil || !more {
			return err
		}
		name, err := s.key()
		if err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
}

// array consumes an array. element is called for every element and must
// consume it.
func (s *scanner) array(element func() error) error {
	if err := s.open('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := s.next(first, ']')
		if err != nil || !more {
			return err
		}
		if err := element(); err != nil {
			return err
		}
	}
}

// skip consumes any value.
func (s *scanner) skip() error {
	switch s.peek() {
	case '{':
		return s.object(func([]byte) error { return s.skip() })
	case '[':
		return s.array(s.skip)
	}
	_, err := s.scalar()
	return err
}

// kind is what a scalar is.
type kind uint8

// The kinds of scalars.
const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindText
)

// scalar is a JSON value that is no object and no array.
type scalar struct {
	kind kind
	// raw is the value's text; of a string it is what stands between the
	// quotes, escapes and all.
	raw []byte
}

// scalar consumes a scalar.
func (s *scanner) scalar() (scalar, error) {
	switch c := s.peek(); {
	case c == '"':
		raw, err := s.rawString()
		return scalar{kindText, raw}, err
	case c == '-' || c >= '0' && c <= '9':
		start := s.pos
		err := s.number()
		return scalar{kindNumber, s.text[start:s.pos]}, err
	case s.literal("true"), s.literal("false"):
		return scalar{kindBool, literals[c]}, nil
	case s.literal("null"):
		return scalar{kindNull, literals[c]}, nil
	}
	return scalar{}, s.unexpected("a value")
}

// literals are the texts of the literals, by first letter.
var literals = [256][]byte{'t': []byte("true"), 'f': []byte("false"), 'n': []byte("null")}

// literal consumes word if it comes next.
func (s *scanner) literal(word string) bool {
	if len(s.text)-s.pos < len(word) || string(s.text[s.pos:s.pos+len(word)]) != word {
		return false
	}
	s.pos += len(word)
	return true
}

// number consumes a number.
func (s *scanner) number() error {
	if s.text[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.text) && s.text[s.pos] == '0' {
		s.pos++
	} else if !s.digits() {
		return s.unexpected("a digit")
	}
	if s.pos < len(s.text) && s.text[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	if s.pos < len(s.text) && (s.text[s.pos] == 'e' || s.text[s.pos] == 'E') {
		s.pos++
		if s.pos < len(s.text) && (s.text[s.pos] == '+' || s.text[s.pos] == '-') {
			s.pos++
		}
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	return nil
}

// digits consumes digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > start
}

// rawString consumes a string and returns what stands between its quotes.
func (s *scanner) rawString() ([]byte, error) {
	if s.peek() != '"' {
		return nil, s.unexpected("a string")
	}
	s.pos++
	start := s.pos
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return s.text[start : s.pos-1], nil
		case c < ' ':
			return nil, s.unexpected("a character of a string")
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		default:
			s.pos++
		}
	}
	return nil, s.unexpected(`'"'`)
}

// escape consumes one escape sequence of a string.
func (s *scanner) escape() error {
	s.pos++
	if s.pos >= len(s.text) {
		return s.unexpected("an escape")
	}
	switch s.text[s.pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
		s.pos++
		for range 4 {
			if s.pos >= len(s.text) || unhex(s.text[s.pos]) < 0 {
				return s.unexpected("a hexadecimal digit")
			}
			s.pos++
		}
		return nil
	}
	return s.unexpected("an escape")
}

// unhex is the value of a hexadecimal digit, -1 for any other byte.
func unhex(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c >= 'a' && c <= 'f':
		return rune(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

// plain reports whether raw, the inside of a string, means itself.
func plain(raw []byte) bool {
	for _, c := range raw {
		if c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
