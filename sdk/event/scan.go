package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth bounds the nesting of JSON that is accepted, so that a small body
// cannot make a deep stack.
const maxDepth = 64

// scanner walks over JSON text without building values. It accepts exactly
// what RFC 8259 calls a JSON text, up to maxDepth (fuzzed against
// encoding/json).
type scanner struct {
	b []byte
	i int
}

// syntax is the error for the byte in hand.
func (s *scanner) syntax(want string) error {
	if s.i >= len(s.b) {
		return errors.New("unexpected end of JSON, want " + want)
	}
	return fmt.Errorf("unexpected %q at byte %d of the JSON, want %s", s.b[s.i], s.i, want)
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// expect consumes the byte c after white space.
func (s *scanner) expect(c byte) error {
	if s.peek() != c || s.i >= len(s.b) {
		return s.syntax(fmt.Sprintf("%q", c))
	}
	s.i++
	return nil
}

// end is an error unless only white space is left.
func (s *scanner) end() error {
	if s.peek(); s.i < len(s.b) {
		return s.syntax("the end")
	}
	return nil
}

// value consumes one value and returns its text.
func (s *scanner) value(depth int) ([]byte, error) {
	c := s.peek()
	start := s.i
	var err error
	switch {
	case c == '"':
		_, err = s.rawString()
	case c == '{' || c == '[':
		if depth >= maxDepth {
			return nil, fmt.Errorf("JSON nested deeper than %d", maxDepth)
		}
		err = s.members(c == '{', func([]byte) error {
			_, err := s.value(depth + 1)
			return err
		})
	case c == '-' || c >= '0' && c <= '9':
		err = s.number()
	default:
		err = s.literal()
	}
	return s.b[start:s.i], err
}

// members consumes an object or an array. Before each member's value it calls
// f, which must consume that value; key is the raw text between the quotes,
// nil in an array.
func (s *scanner) members(object bool, f func(key []byte) error) error {
	open, shut := byte('['), byte(']')
	if object {
		open, shut = '{', '}'
	}
	if err := s.expect(open); err != nil {
		return err
	}
	if s.peek() == shut {
		s.i++
		return nil
	}
	for {
		var key []byte
		if object {
			if s.peek() != '"' {
				return s.syntax("a member name")
			}
			var err error
			if key, err = s.rawString(); err != nil {
				return err
			}
			if err := s.expect(':'); err != nil {
				return err
			}
		}
		if err := f(key); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.i++
		case shut:
			s.i++
			return nil
		default:
			return s.syntax(fmt.Sprintf("',' or %q", shut))
		}
	}
}

// rawString consumes a string and returns the text between its quotes, with
// the escapes still in it.
func (s *scanner) rawString() ([]byte, error) {
	s.i++
	start := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start : s.i-1], nil
		case c < 0x20:
			return nil, s.syntax("a character of a string")
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		default:
			s.i++
		}
	}
	return nil, s.syntax(`'"'`)
}

// escape consumes one escape sequence of a string.
func (s *scanner) escape() error {
	s.i++
	if s.i >= len(s.b) {
		return s.syntax("an escape")
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return nil
	case 'u':
		s.i++
		for range 4 {
			if s.i >= len(s.b) || !isHex(s.b[s.i]) {
				return s.syntax("a hexadecimal digit")
			}
			s.i++
		}
		return nil
	}
	return s.syntax("an escape")
}

// isHex reports whether c is a hexadecimal digit.
func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// number consumes a number.
func (s *scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return s.syntax("a digit")
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return s.syntax("a digit")
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return s.syntax("a digit")
		}
	}
	return nil
}

// digits consumes digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

// literal consumes true, false or null.
func (s *scanner) literal() error {
	for _, word := range []string{"true", "false", "null"} {
		if len(s.b)-s.i >= len(word) && string(s.b[s.i:s.i+len(word)]) == word {
			s.i += len(word)
			return nil
		}
	}
	return s.syntax("a value")
}

// unquote is the string that the text between two quotes stands for.
func unquote(raw []byte) (string, error) {
	plain := utf8.Valid(raw)
	for _, c := range raw {
		plain = plain && c != '\\'
	}
	if plain {
		return string(raw), nil
	}
	var out string
	quoted := append(append([]byte{'"'}, raw...), '"')
	if err := json.Unmarshal(quoted, &out); err != nil {
		return "", fmt.Errorf("string: %w", err)
	}
	return out, nil
}
