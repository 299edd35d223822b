// Package jsonscan reads JSON text from front to back, once, without building
// values and without reflection. It is for the code that every event passes
// through: what it does not ask for costs no memory.
//
// A [Scanner] accepts exactly the texts that encoding/json accepts, as long as
// they are nested no deeper than [MaxDepth], and its strings mean the same:
// half a surrogate pair and bytes that are no UTF-8 become U+FFFD. Members
// that are there twice are the caller's to judge; it sees every one of them.
//
// The caller descends with the text, as in the package's example:
// [Scanner.Peek] tells what comes, and one of the other methods consumes it.
//
// Every slice that the package returns is a part of the text where it can be,
// so it is valid as long as the text is and must not be changed. A Scanner is
// for one goroutine, and after an error it is of no more use. There is no
// writer, and no reading of a text that is not in memory as a whole.
package jsonscan

import (
	"errors"
	"fmt"
)

// MaxDepth bounds how many objects and arrays may be open at once, so that a
// small text cannot make a deep stack. It is far beyond what devices send.
const MaxDepth = 64

// ErrEnd is the error of a text that stops where more must follow.
var ErrEnd = errors.New("unexpected end of JSON")

// Scanner reads one JSON text. The zero value reads the empty text.
type Scanner struct {
	text []byte
	pos  int
	// depth is how many objects and arrays are open.
	depth int
}

// New begins to read text, which must not change from here on.
func New(text []byte) Scanner { return Scanner{text: text} }

// unexpected is the error for the byte at the position. It does not say the
// position: the text is often a part of another, an element of a batch or the
// data of an event, in which its reader would count from elsewhere.
func (s *Scanner) unexpected(want string) error {
	if s.pos >= len(s.text) {
		return fmt.Errorf("%w, want %s", ErrEnd, want)
	}
	return fmt.Errorf("unexpected %q in the JSON, want %s", s.text[s.pos], want)
}

// Peek skips white space and returns the byte that begins the next value or
// is the next separator, 0 at the end.
func (s *Scanner) Peek() byte {
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// Consume takes the byte c if it comes next, after white space.
func (s *Scanner) Consume(c byte) bool {
	if s.Peek() != c || s.pos >= len(s.text) {
		return false
	}
	s.pos++
	return true
}

// End is an error unless only white space is left.
func (s *Scanner) End() error {
	if s.Peek(); s.pos < len(s.text) {
		return s.unexpected("the end")
	}
	return nil
}

// Object consumes an object. member is called with the name of every member
// and must consume its value; its error ends the object.
func (s *Scanner) Object(member func(name []byte) error) error {
	if err := s.Open('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := s.Next(first, '}')
		if err != nil || !more {
			return err
		}
		name, err := s.Key()
		if err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
}

// Array consumes an array. element is called for every element and must
// consume it; its error ends the array.
func (s *Scanner) Array(element func() error) error {
	if err := s.Open('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := s.Next(first, ']')
		if err != nil || !more {
			return err
		}
		if err := element(); err != nil {
			return err
		}
	}
}

// Open consumes the bracket that begins an object or an array. With Next and
// Key it is what Object and Array are made of, for callers that must not
// spend a closure on every value.
func (s *Scanner) Open(bracket byte) error {
	if !s.Consume(bracket) {
		return s.unexpected("'" + string(rune(bracket)) + "'")
	}
	if s.depth++; s.depth > MaxDepth {
		return fmt.Errorf("JSON nested deeper than %d", MaxDepth)
	}
	return nil
}

// Next reports whether another member follows in the object or array that
// shut ends, and consumes what separates or ends them. first is true before
// the first member.
func (s *Scanner) Next(first bool, shut byte) (bool, error) {
	switch {
	case s.Consume(shut):
		s.depth--
		return false, nil
	case first:
		return true, nil
	case s.Consume(','):
		return true, nil
	}
	return false, s.unexpected("',' or '" + string(rune(shut)) + "'")
}

// Key consumes a member's name and the colon after it, and returns the name.
func (s *Scanner) Key() ([]byte, error) {
	raw, err := s.rawKey()
	if err != nil {
		return nil, err
	}
	return Unquote(raw), nil
}

// rawKey is Key that returns what stands between the quotes.
func (s *Scanner) rawKey() ([]byte, error) {
	raw, err := s.rawString()
	if err != nil {
		return nil, err
	}
	if !s.Consume(':') {
		return nil, s.unexpected("':'")
	}
	return raw, nil
}

// Skip consumes any value.
func (s *Scanner) Skip() error {
	switch s.Peek() {
	case '{':
		return s.skipMembers('{', '}')
	case '[':
		return s.skipMembers('[', ']')
	}
	_, err := s.Scalar()
	return err
}

// skipMembers consumes the object or array between the brackets. The names
// are not looked at beyond their syntax.
func (s *Scanner) skipMembers(bracket, shut byte) error {
	if err := s.Open(bracket); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := s.Next(first, shut)
		if err != nil || !more {
			return err
		}
		if bracket == '{' {
			if _, err := s.rawKey(); err != nil {
				return err
			}
		}
		if err := s.Skip(); err != nil {
			return err
		}
	}
}

// Value consumes any value and returns its text, without the white space
// around it.
func (s *Scanner) Value() ([]byte, error) {
	s.Peek()
	start := s.pos
	if err := s.Skip(); err != nil {
		return nil, err
	}
	return s.text[start:s.pos], nil
}
