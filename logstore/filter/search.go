package filter

import "strings"

// SearchTerm is one of the things that SEARCH looks for.
type SearchTerm struct {
	// Text is a word, or a phrase as it was written between backticks.
	Text string
	// Phrase says that it is a phrase: it has to be there as it is, whatever
	// the case is, beginning and ending where words do.
	Phrase bool
}

// SearchTerms splits the query of SEARCH: what is between backticks is a
// phrase, of everything else each word counts. There is at least one term in
// a query that Parse has accepted.
func SearchTerms(query string) []SearchTerm {
	var terms []SearchTerm
	for inside := false; ; inside = !inside {
		part, rest, more := strings.Cut(query, "`")
		switch {
		case inside && more:
			if len(Words(part)) > 0 {
				terms = append(terms, SearchTerm{Text: part, Phrase: true})
			}
		default: // a backtick without another is as a space
			for _, w := range Words(part) {
				terms = append(terms, SearchTerm{Text: w})
			}
		}
		if !more {
			return terms
		}
		query = rest
	}
}

// Words splits text into words: runs of ASCII's letters and digits and of
// everything that is not ASCII.
func Words(text string) []string {
	var words []string
	start := -1
	for i := 0; i <= len(text); i++ {
		if i < len(text) && IsWordByte(text[i]) {
			if start < 0 {
				start = i
			}
		} else if start >= 0 {
			words, start = append(words, text[start:i]), -1
		}
	}
	return words
}

// IsWordByte reports whether a byte of UTF-8 is a part of a word.
func IsWordByte(c byte) bool {
	return c >= 0x80 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}
