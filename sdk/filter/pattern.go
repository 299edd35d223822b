package filter

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// pattern is what a text is compared with as a whole.
type pattern []piece

// piece is a part of a pattern: a text, or one of any characters, or any
// characters or none.
type piece struct {
	text string
	one  bool // any character
	any  bool // any characters or none
}

// maxPattern bounds a pattern, whose comparison with a text may take as long as
// the product of both.
const maxPattern = 512

// errPattern is a pattern over its bound.
var errPattern = errors.New("a pattern has at most 512 bytes")

// parsePattern reads a literal as a pattern: these two characters mean any
// characters, and any one (0 is none), unless they are escaped. It is nil when
// the literal has none of them.
func parsePattern(l literal, many, one rune) (pattern, error) {
	var p pattern
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			p = append(p, piece{text: text.String()})
			text.Reset()
		}
	}
	wild := false
	for s := l.raw; s != ""; {
		r, n := utf8.DecodeRuneInString(s)
		escaped := false
		if l.quoted {
			r, escaped, n, _ = unescape(s)
		}
		s = s[n:]
		switch {
		case !escaped && r == many:
			flush()
			if wild = true; len(p) == 0 || !p[len(p)-1].any {
				p = append(p, piece{any: true})
			}
		case !escaped && r == one && one != 0:
			flush()
			wild = true
			p = append(p, piece{one: true})
		default:
			text.WriteRune(r)
		}
	}
	if !wild {
		return nil, nil
	}
	if len(l.raw) > maxPattern {
		return nil, errPattern
	}
	flush()
	return p, nil
}

// match reports whether s is as the pattern says. It goes on greedily, and
// after a mismatch lets the last piece of any characters take more.
func (p pattern) match(s string) bool {
	i, at := 0, 0
	star, from := -1, 0 // the last piece of any characters, and where it ends
	for {
		switch {
		case i == len(p):
			if at == len(s) {
				return true
			}
		case p[i].any:
			if i++; i == len(p) {
				return true
			}
			star, from = i, at
			continue
		case p[i].one:
			if at < len(s) {
				_, n := utf8.DecodeRuneInString(s[at:])
				i, at = i+1, at+n
				continue
			}
		case strings.HasPrefix(s[at:], p[i].text):
			i, at = i+1, at+len(p[i].text)
			continue
		}
		if star < 0 || from >= len(s) {
			return false
		}
		_, n := utf8.DecodeRuneInString(s[from:])
		from += n
		if next := p[star].text; next != "" {
			skip := strings.Index(s[from:], next)
			if skip < 0 {
				return false
			}
			from += skip
		}
		i, at = star, from
	}
}

// prefix is the text that everything that matches begins with, and whether
// everything that begins so matches.
func (p pattern) prefix() (text string, all bool) {
	if p[0].text == "" {
		return "", len(p) == 1 && p[0].any
	}
	return p[0].text, len(p) == 2 && p[1].any
}

// append appends the pattern as a literal with these characters.
func (p pattern) append(b []byte, many, one byte) []byte {
	b = append(b, '"')
	for _, x := range p {
		switch {
		case x.any:
			b = append(b, many)
		case x.one:
			b = append(b, one)
		default:
			b = quote(b, x.text, wildcards(many, one))
		}
	}
	return append(b, '"')
}

// wildcards are the characters to escape.
func wildcards(many, one byte) string {
	if one == 0 {
		return string(rune(many))
	}
	return string([]byte{many, one})
}
