package resource

import (
	"fmt"
	"strings"
)

// Wildcard stands for any id in the name of a parent, and in names that are
// matched with (google.aip.dev/159).
const Wildcard = "-"

// Scan reads s by the first of the patterns that it fits and sets the ids, which
// are there by the names of the patterns' variables. An id may be [Wildcard].
// Any other text is an Invalid fault, as in [Pattern.Parse], about the pattern
// with as many segments, or else the first. Generated types of names are made
// with it.
func Scan(s string, ids map[string]*string, patterns ...Pattern) error {
	var first error
	for _, p := range patterns {
		err := p.scan(s, ids)
		if err == nil {
			return nil
		}
		if first == nil || strings.Count(string(p), "/") == strings.Count(s, "/") {
			first = err
		}
	}
	return first
}

// scan is Scan for one pattern. It sets nothing when s does not fit.
func (p Pattern) scan(s string, ids map[string]*string) error {
	want, got := strings.Split(string(p), "/"), strings.Split(s, "/")
	for i, w := range want {
		if i == len(got) {
			return p.invalid(s, variable(w), fmt.Errorf("segment %d is missing: want %s", i+1, p))
		}
		if w[0] == '{' && got[i] == Wildcard {
			continue
		}
		if field, err := checkSegment(w, got[i]); err != nil {
			return p.invalid(s, field, fmt.Errorf("segment %d: %w", i+1, err))
		}
	}
	if len(got) > len(want) {
		return p.invalid(s, "", fmt.Errorf("segment %d is one too many: want %s", len(want)+1, p))
	}
	for i, w := range want {
		if w[0] == '{' {
			*ids[variable(w)] = got[i]
		}
	}
	return nil
}

// Match reports whether n is the name that pattern is, where each [Wildcard] of
// the pattern stands for any one segment.
func Match(pattern string, n Name) bool {
	rest := string(n)
	for {
		want, morePattern, wantMore := strings.Cut(pattern, "/")
		got, more, hasMore := strings.Cut(rest, "/")
		if want != Wildcard && want != got || wantMore != hasMore {
			return false
		}
		if !wantMore {
			return true
		}
		pattern, rest = morePattern, more
	}
}
