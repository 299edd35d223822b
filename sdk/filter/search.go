package filter

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// Words is the Index of the entries for searches: no path is "*". Their values
// are words as they are, in lower case.
const Words = "*"

// The bounds of words. An object is found by the first ones of a long text, and
// by the beginning of a long word.
const (
	maxWords  = 256
	maxWord   = 64 // bytes
	maxPhrase = 16 // words
)

// Phrase are the conditions that an object is found by the words of a phrase:
// each of them must begin a word of the object's. A phrase without a word, or
// with too many, is an Invalid fault.
func Phrase(text string) ([]Condition, error) {
	invalid := &fault.Error{Op: "filter.Phrase", Kind: fault.Invalid, Reason: "INVALID_PHRASE", Field: "phrase"}
	if len(text) > maxText || !utf8.ValidString(text) {
		invalid.Err = fmt.Errorf("a phrase is text in UTF-8 of at most %d bytes", maxText)
		return nil, invalid
	}
	found := split(nil, text)
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) == 0 || len(found) > maxPhrase {
		invalid.Err = fmt.Errorf("a phrase has 1 to %d words of letters and digits, not %d", maxPhrase, len(found))
		return nil, invalid
	}
	var all []Condition
	for _, w := range found {
		all = append(all, Condition{Index: Words, Op: Range, From: []byte(w), To: []byte(w + "\xff")}) // above all of UTF-8
	}
	return all, nil
}

// words are the words that a search finds an object by: those of its id, and of
// the fields that the options of its type name.
// There are none of a type that has no search.
func words(r *schema.Resource, m protoreflect.Message) []string {
	if !Searchable(r) {
		return nil
	}
	found := split(nil, string(r.NameOf(m.Interface()).ID()))
	for _, p := range r.Search {
		if p.Desc().Kind() != protoreflect.StringKind || allowed(r, p.Field()) != nil {
			continue // nothing to read
		}
		p.Values(m, func(v fieldpath.Value) bool {
			found = split(found, v.String())
			return len(found) < maxWords
		})
	}
	return found
}

// Searchable is whether a search finds objects of a type.
func Searchable(r *schema.Resource) bool {
	return !r.Options.GetHidden() && !slices.Contains(r.Options.GetWithout(), resourcev1.Method_SEARCH)
}

// split appends the words of a text, up to the bound.
func split(found []string, text string) []string {
	for w := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) }) {
		if len(found) == maxWords {
			break
		}
		w = strings.ToLower(w)
		if len(w) > maxWord {
			end := maxWord
			for !utf8.RuneStart(w[end]) {
				end--
			}
			w = w[:end]
		}
		found = append(found, w)
	}
	return found
}
