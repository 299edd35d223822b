package ingest

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unescaped are the meanings of the escapes of one letter.
var unescaped = [256]byte{
	'"': '"', '\\': '\\', '/': '/',
	'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// unquote is the string that raw stands for: what stands between the quotes
// of a JSON string that a scanner accepted. It is raw itself when nothing in
// it needs a translation. Half a surrogate pair and bytes that are no UTF-8
// become U+FFFD, as in encoding/json.
func unquote(raw []byte) []byte {
	if plain(raw) {
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

// unquoteRune is the character of the \uXXXX, or of the two that make a
// surrogate pair, at the beginning of raw, and how many bytes that took.
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
