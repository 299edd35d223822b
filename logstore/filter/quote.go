package filter

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// escapes are what a backslash and a letter stand for. A backslash before
// anything else is kept, so that regular expressions can be written with one:
// "\d" is as good as "\\d".
var escapes = map[byte]string{'"': `"`, '\'': "'", '\\': `\`, 'n': "\n", 'r': "\r", 't': "\t"}

// quotes reads a text in double or single quotes.
func (p *parser) quotes() (string, error) {
	start, quote := p.pos, p.text[p.pos]
	var b strings.Builder
	for i := start + 1; i < len(p.text); {
		c := p.text[i]
		switch {
		case c == quote:
			p.pos = i + 1
			return b.String(), nil
		case c != '\\' || i+1 == len(p.text):
			b.WriteByte(c)
			i++
		case p.text[i+1] == 'u':
			r, n := unescape(p.text[i:])
			if n == 0 {
				return "", p.wrongAt(i, `expected four hexadecimal digits after \u, of a pair if they are half of one`)
			}
			b.WriteRune(r)
			i += n
		default:
			if s, ok := escapes[p.text[i+1]]; ok {
				b.WriteString(s)
				i += 2
			} else {
				b.WriteByte(c)
				i++
			}
		}
	}
	return "", p.wrongAt(start, "the quote that begins here has no end")
}

// unescape reads the \uXXXX that text begins with, or the two of a surrogate
// pair, and how long they are; 0 if they are no character.
func unescape(text string) (rune, int) {
	const size = len(`\uXXXX`)
	first, ok := unit(text)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(first) {
		return first, size
	}
	second, ok := unit(text[size:])
	if r := utf16.DecodeRune(first, second); ok && r != utf8.RuneError {
		return r, 2 * size
	}
	return 0, 0
}

// unit reads the \uXXXX that text begins with.
func unit(text string) (rune, bool) {
	const size = len(`\uXXXX`)
	if len(text) < size || text[:2] != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(text[2:size], 16, 16)
	return rune(n), err == nil
}
