package logstore

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"selvedge.dev/logstore/filter"
)

// FoldRune is the rune that r is compared as where case does not count: its
// lower case, character by character. ASCII folds only to ASCII, and what is
// not ASCII never does: so a search for ASCII by any tool that knows only
// ASCII's case finds the same.
func FoldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	if l := unicode.ToLower(r); l >= utf8.RuneSelf {
		return l
	}
	return r // the Kelvin sign, the dotted capital I
}

// Fold is text as it is compared where case does not count.
func Fold(text string) string { return strings.Map(FoldRune, text) }

// Needles are the longest runs of ASCII in what a text is searched for, folded:
// every text that has it has all of them, whatever the case of their letters
// is. A store may look for them first.
func Needles(text string) []string {
	var needles []string
	for _, run := range strings.FieldsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		needles = append(needles, Fold(run))
	}
	return needles
}

// compareFold compares a text with a folded one as if it were folded too.
func compareFold(text, folded string) int {
	for {
		switch {
		case text == "" && folded == "":
			return 0
		case text == "":
			return -1
		case folded == "":
			return 1
		}
		a, n := utf8.DecodeRuneInString(text)
		b, m := utf8.DecodeRuneInString(folded)
		if a = FoldRune(a); a != b {
			return int(a) - int(b)
		}
		text, folded = text[n:], folded[m:]
	}
}

// hasPrefixFold reports whether text begins with a folded text, and how long
// that is in it.
func hasPrefixFold(text, folded string) (int, bool) {
	rest := text
	for folded != "" {
		if rest == "" {
			return 0, false
		}
		a, n := utf8.DecodeRuneInString(rest)
		b, m := utf8.DecodeRuneInString(folded)
		if FoldRune(a) != b {
			return 0, false
		}
		rest, folded = rest[n:], folded[m:]
	}
	return len(text) - len(rest), true
}

// finder finds a folded text in others.
type finder struct {
	folded string
	// lower and upper are what it begins with, if it begins with ASCII.
	lower, upper byte
	// words says that it counts only where it begins and ends as words do.
	words bool
}

// newFinder makes a finder of a text.
func newFinder(text string, words bool) finder {
	f := finder{folded: Fold(text), words: words}
	if f.folded != "" && f.folded[0] < utf8.RuneSelf {
		f.lower, f.upper = f.folded[0], f.folded[0]
		if 'a' <= f.lower && f.lower <= 'z' {
			f.upper -= 'a' - 'A'
		}
	}
	return f
}

// in reports whether the text is in another.
func (f *finder) in(text string) bool { return f.find(text, f.words) }

// somewhere is in, wherever words begin.
func (f *finder) somewhere(text string) bool { return f.find(text, false) }

// find reports whether the text is in another.
func (f *finder) find(text string, words bool) bool {
	if f.folded == "" {
		return true
	}
	for at := 0; ; at++ {
		i := f.next(text[at:])
		if i < 0 {
			return false
		}
		at += i
		if n, ok := hasPrefixFold(text[at:], f.folded); ok && (!words || bounded(text, at, at+n)) {
			return true
		}
	}
}

// next is where the text may begin, negative if nowhere.
func (f *finder) next(text string) int {
	if f.lower == 0 {
		return strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
	}
	i := strings.IndexByte(text, f.lower)
	if f.upper == f.lower || i == 0 {
		return i
	}
	before := text
	if i > 0 {
		before = text[:i]
	}
	if j := strings.IndexByte(before, f.upper); j >= 0 {
		return j
	}
	return i
}

// bounded reports whether what is at text[start:end] begins and ends where
// words do.
func bounded(text string, start, end int) bool {
	inside := func(i int) bool {
		return i > 0 && i < len(text) && filter.IsWordByte(text[i-1]) && filter.IsWordByte(text[i])
	}
	return !inside(start) && !inside(end)
}
