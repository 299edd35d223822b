package jsonscan

// Kind is what a Scalar is.
type Kind uint8

// The kinds of scalars.
const (
	Null Kind = iota
	Bool
	Number
	String
)

// Scalar is a JSON value that is no object and no array. The zero value is a
// null.
type Scalar struct {
	Kind Kind
	// Raw is the value's text; of a string it is what stands between the
	// quotes, escapes and all, to be given to Unquote.
	Raw []byte
}

// Scalar consumes a scalar.
func (s *Scanner) Scalar() (Scalar, error) {
	c := s.Peek()
	start := s.pos
	switch {
	case c == '"':
		raw, err := s.rawString()
		return Scalar{String, raw}, err
	case c == '-' || c >= '0' && c <= '9':
		err := s.number()
		return Scalar{Number, s.text[start:s.pos]}, err
	case s.literal("true"), s.literal("false"):
		return Scalar{Bool, s.text[start:s.pos]}, nil
	case s.literal("null"):
		return Scalar{Null, s.text[start:s.pos]}, nil
	}
	return Scalar{}, s.unexpected("a value")
}

// literal consumes word if it comes next.
func (s *Scanner) literal(word string) bool {
	if len(s.text)-s.pos < len(word) || string(s.text[s.pos:s.pos+len(word)]) != word {
		return false
	}
	s.pos += len(word)
	return true
}

// IsNumber reports whether text is a JSON number and nothing else.
func IsNumber(text []byte) bool {
	s := New(text)
	return len(text) > 0 && s.number() == nil && s.pos == len(text)
}

// number consumes a number; there is at least a byte left.
func (s *Scanner) number() error {
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
func (s *Scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > start
}

// rawString consumes a string and returns what stands between its quotes.
func (s *Scanner) rawString() ([]byte, error) {
	if s.Peek() != '"' {
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
func (s *Scanner) escape() error {
	s.pos++
	if s.pos >= len(s.text) {
		return s.unexpected("an escape")
	}
	switch c := s.text[s.pos]; {
	case c == 'u':
		s.pos++
		for range 4 {
			if s.pos >= len(s.text) || unhex(s.text[s.pos]) < 0 {
				return s.unexpected("a hexadecimal digit")
			}
			s.pos++
		}
	case unescaped[c] != 0:
		s.pos++
	default:
		return s.unexpected("an escape")
	}
	return nil
}
