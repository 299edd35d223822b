package jsonscan

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// unescaped are the meanings of the escapes of one letter, 0 for what is no
// such escape.
var unescaped = [256]byte{
	'"': '"', '\\': '\\', '/': '/',
	'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// Unquote is the string that raw stands for: the Raw of a Scalar of the kind
// String. It is raw itself when nothing in it needs a translation. What no
// Scanner has accepted must not be given to it.
func Unquote(raw []byte) []byte {
	if plain(raw) || bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return raw
	}
	out := make([]byte, 0, len(raw)+utf8.UTFMax)
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '\\' && raw[i+1] == 'u':
			r, n := unquoteRune(raw[i:])
			out = utf8.AppendRune(out, r)
			i += n
		case c == '\\':
			out = append(out, unescaped[raw[i+1]])
			i += 2
		case c < utf8.RuneSelf:
			out = append(out, c)
			i++
		default:
			r, n := utf8.DecodeRune(raw[i:])
			out = utf8.AppendRune(out, r)
			i += n
		}
	}
	return out
}

// plain reports whether raw is ASCII without an escape. Nearly every name is,
// and is too short for more than this to pay.
func plain(raw []byte) bool {
	for _, c := range raw {
		if c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// unquoteRune is the character of the \uXXXX, or of the two that make a
// surrogate pair, at the beginning of raw, and how many bytes that took. Half
// a pair is U+FFFD.
func unquoteRune(raw []byte) (rune, int) {
	const size = len(`\uXXXX`)
	r := codeUnit(raw)
	if !utf16.IsSurrogate(r) {
		return r, size
	}
	if len(raw) >= 2*size && raw[size] == '\\' && raw[size+1] == 'u' {
		if pair := utf16.DecodeRune(r, codeUnit(raw[size:])); pair != utf8.RuneError {
			return pair, 2 * size
		}
	}
	return utf8.RuneError, size
}

// codeUnit is the UTF-16 code unit that the \uXXXX at the beginning of raw
// names.
func codeUnit(raw []byte) rune {
	return unhex(raw[2])<<12 | unhex(raw[3])<<8 | unhex(raw[4])<<4 | unhex(raw[5])
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
