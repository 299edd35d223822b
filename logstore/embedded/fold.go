package embedded

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"selvedge.dev/logstore"
)

// The engine finds a word by a filter over the words of a block, and only as
// it is written. Whoever looks for a word means it in any case; so a row has a
// column with its words that are not as they are folded (logstore.FoldRune), in
// their folded form, and a word is looked for folded, in its column or there.
// A word for the engine may have underscores, which for SEARCH are between
// words; so the parts of such a word are there too.

// inWord reports whether the engine takes r as a part of a word.
func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' }

// foldWords remembers the words of a text that a column cannot find folded.
func (r *row) foldWords(s string) {
	start, special, parts := 0, false, false
	for i := 0; i <= len(s); i++ {
		var b byte
		if i < len(s) {
			b = s[i]
		}
		switch {
		case b >= utf8.RuneSelf:
			r.wide = true
			r.foldUnicode(s)
			return
		case 'A' <= b && b <= 'Z':
			special = true
		case b == '_':
			parts = true
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9':
		default:
			if special || parts {
				r.foldWord(s[start:i], special, parts)
			}
			start, special, parts = i+1, false, false
		}
	}
}

// foldUnicode is foldWords for a text beyond ASCII.
func (r *row) foldUnicode(s string) {
	for word := range strings.FieldsFuncSeq(s, func(c rune) bool { return !inWord(c) }) {
		r.foldWord(word, logstore.Fold(word) != word, strings.Contains(word, "_"))
	}
}

// foldWord adds a word and its parts to those of the row.
func (r *row) foldWord(word string, special, parts bool) {
	if special {
		r.foldPart(word)
	}
	if parts {
		for part := range strings.SplitSeq(word, "_") {
			r.foldPart(part)
		}
	}
}

// maxFold bounds the folded words of a row; one that has more is looked into by
// hand.
const maxFold = 16 << 10

// foldPart adds a word to those of the row, once; spaces are around each.
func (r *row) foldPart(word string) {
	start := len(r.fold)
	switch {
	case word == "":
		return
	case start+len(word) > maxFold:
		r.opaque = true
		return
	}
	r.fold = append(r.fold, ' ')
	for _, c := range word {
		r.fold = utf8.AppendRune(r.fold, logstore.FoldRune(c))
	}
	r.fold = append(r.fold, ' ')
	switch {
	case bytes.Contains(r.fold[:start], r.fold[start:]):
		r.fold = r.fold[:start]
	case start > 0: // One space between two words is enough.
		copy(r.fold[start:], r.fold[start+1:])
		r.fold = r.fold[:len(r.fold)-1]
	}
}
