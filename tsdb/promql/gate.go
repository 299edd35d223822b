package promql

import (
	"regexp"
	"strings"
)

// number and duration literals of PromQL. An exponent's sign ends a word, so
// that a number may end in its e.
var (
	numberForm   = regexp.MustCompile(`^(?i:0x[0-9a-f_]+|[0-9][0-9_]*\.?[0-9_]*(e[0-9_]*)?|\.[0-9_]+(e[0-9_]*)?)$`)
	durationForm = regexp.MustCompile(`^([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$`)
)

// keywords are the words that a parenthesis may follow beside functions and
// aggregations.
var keywords = map[string]bool{
	"by": true, "without": true, "on": true, "ignoring": true, "group_left": true, "group_right": true,
	"and": true, "or": true, "unless": true, "atan2": true, "bool": true, "start": true, "end": true,
}

// gate refuses what the parser would take but PromQL has not, where the parser
// would expand or fold it out of sight: WITH templates, which can also grow
// without bound, functions of MetricsQL, its numbers and its escapes. Parens
// are bounded since the parser recurses into them.
func gate(query string) error {
	if len(query) > maxQuery {
		return bad("the query is longer than %d bytes", maxQuery)
	}
	depth := 0
	for i := 0; i < len(query); {
		switch c := query[i]; {
		case c == '"' || c == '\'' || c == '`':
			n := quoted(query[i:])
			if n == 0 {
				return bad("unterminated quoted string")
			}
			i += n
			continue
		case c == '#':
			if end := strings.IndexByte(query[i:], '\n'); end >= 0 {
				i += end
			} else {
				i = len(query)
			}
			continue
		case c == '\\' || c == '$':
			return bad("unexpected character: %q", c)
		case wordy(c) || c == '.':
			word := query[i : i+wordLen(query[i:])]
			i += len(word)
			if err := gateWord(word, query[i:]); err != nil {
				return err
			}
			continue
		case c == '(' || c == '[' || c == '{' || c == '-' || c == '+' || c == '^':
			if depth++; depth > maxDepth {
				return bad("the query has more than %d parentheses and signs", maxDepth)
			}
		}
		i++
	}
	return nil
}

// maxDepth bounds the recursion of the parser and of the evaluation.
const maxDepth = 1000

// gateWord refuses a number that is none in PromQL, and a word before a
// parenthesis that is none of its functions.
func gateWord(word, rest string) error {
	if c := word[0]; c >= '0' && c <= '9' || c == '.' {
		if !numberForm.MatchString(word) && !durationForm.MatchString(word) {
			return bad("bad number or duration syntax: %q", word)
		}
		return nil
	}
	if strings.Contains(word, ".") {
		return bad("a name with a dot is written {\"%s\"}", word)
	}
	if !strings.HasPrefix(strings.TrimLeft(rest, " \t\r\n"), "(") {
		return nil
	}
	lower := strings.ToLower(word)
	if _, ok := functions[word]; ok || keywords[lower] || aggregations[lower].known {
		return nil
	}
	return bad("unknown function with name %q", word)
}

// quoted is the length of the string literal that s begins with, 0 if it does
// not end.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] != '`':
			i++
		case s[i] == s[0]:
			return i + 1
		}
	}
	return 0
}

// wordy reports whether c can be in an identifier or a number.
func wordy(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// wordLen is the length of the word that s begins with.
func wordLen(s string) int {
	i := 1
	for i < len(s) && (wordy(s[i]) || s[i] == '.' || s[i] == ':' && !(s[0] >= '0' && s[0] <= '9')) {
		i++
	}
	return i
}
