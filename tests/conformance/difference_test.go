package conformance

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/triggers/filter"
)

// The reasons to differ from Knative.
const (
	// empty elements say nothing. Knative's broker skips them, in a list that
	// asks for any of its parts as in one that asks for all.
	empty = "an element without a dialect is what a misspelt one becomes when the API server drops unknown fields; " +
		"Knative skips it, and the trigger gets events that it did not ask for"
	// noValue is an empty string to compare with.
	noValue = "Knative's webhook accepts an empty value, its broker cannot build the element, logs that and skips it: " +
		"the trigger gets every event"
	// strayCharacter is a character outside of the language.
	strayCharacter = "the CESQL parser drops characters that it does not know, " +
		"so Knative evaluates another expression than the one that was written"
	// tooLong is an expression over our bound.
	tooLong = "the CESQL parser's time is quadratic in the depth of brackets around a mistake"
	// notBoolean is an expression with another result.
	notBoolean = "Knative's broker panics on a result that is not a boolean, and so never delivers; " +
		"we take it for an expression that cannot be evaluated"
	// libraryPanic is a mistake of the CESQL library.
	libraryPanic = "the CESQL library slices out of bounds; Knative's broker panics, and so never delivers"
)

// differences are the filters that we handle otherwise than Knative, with the
// outcomes on the event "everything".
var differences = []struct {
	filters      string
	theirs, ours outcome
	why          string
}{
	{`[{}]`, "NoFilter", refused, empty},
	{`[{"exact":{}}]`, "NoFilter", refused, empty},
	{`[{"all":[]}]`, "NoFilter", refused, empty},
	{`[{"any":[{}]}]`, "NoFilter", refused, empty},
	{`[{"cesql":""}]`, "NoFilter", refused, empty},
	{`[{"not":{}}]`, "NoFilter", refused, empty},
	{`[{"exact":{"type":"com.example.climate"}},{}]`, "Pass", refused, empty},
	{`[{"any":[{"exact":{"type":"x"}},{}]}]`, "Fail", refused, empty},
	{`[{"exact":{"type":""}}]`, "NoFilter", refused, noValue},
	{`[{"prefix":{"type":""}}]`, "NoFilter", refused, noValue},
	{`[{"suffix":{"type":""}}]`, "NoFilter", refused, noValue},
	{`[{"exact":{"type":"x","subject":""}}]`, "NoFilter", refused, noValue},
	{`[{"exact":{"type":"x"}},{"not":{"exact":{"type":""}}}]`, "Fail", refused, noValue},
	{`[{"not":{"exact":{"type":""}}}]`, "NoFilter", refused, noValue},
	{`[{"all":[{"exact":{"type":"com.example.climate"}},{"exact":{"level":""}}]}]`, "Pass", refused, noValue},
	{`[{"cesql":"$type = 'com.example.climate'"}]`, "Pass", refused, strayCharacter},
	{`[{"cesql":"_type = 'com.example.climate'"}]`, "Pass", refused, strayCharacter},
	{`[{"cesql":"type = 'com.example.climate' #"}]`, "Pass", refused, strayCharacter},
	{`[{"cesql":"~(type = 'x')"}]`, "Fail", refused, strayCharacter},
	{`[{"cesql":"typéé = 'x' OR TRUE"}]`, "Fail", refused, strayCharacter},
	{`[{"cesql":"TRUE` + strings.Repeat(" AND TRUE", 2000) + `"}]`, "Pass", refused, tooLong},
	{`[{"cesql":"region"}]`, panics, "Fail", notBoolean},
	{`[{"cesql":"level"}]`, panics, "Fail", notBoolean},
	{`[{"cesql":"1 + 1"}]`, panics, "Fail", notBoolean},
	{`[{"not":{"cesql":"region"}}]`, panics, "Pass", notBoolean},
	{`[{"cesql":"SUBSTRING(type, 2, -9) = ''"}]`, panics, "Fail", libraryPanic},
}

// TestDifferences_StillDiffer fails when Knative or we have changed, so that
// the list stays true, and shows where Knative fails open and we do not.
func TestDifferences_StillDiffer(t *testing.T) {
	t.Parallel()
	e := events()["everything"]
	for _, d := range differences {
		specs := parseSpecs(t, d.filters)
		theirs, our := newKnative(t, specs), newOurs(specs)
		defer theirs.close()
		text := d.filters[:min(len(d.filters), 80)]
		require.Equal(t, d.theirs, theirs.on(e), "Knative on %s: %s", text, d.why)
		require.Equal(t, d.ours, our.on(e), "we on %s: %s", text, d.why)
		require.NotEqual(t, d.theirs, d.ours, text)
		if d.ours == refused {
			require.Equal(t, d.why, reason(specs), "the reason of %s", text)
		}
	}
}

// reason is why we refuse specs that Knative accepts, found without our parser:
// "" means that there is no reason to.
func reason(specs []filter.Spec) string {
	for i := range specs {
		if why := elementReason(&specs[i]); why != "" {
			return why
		}
	}
	return ""
}

// elementReason is reason for one element.
func elementReason(spec *filter.Spec) string {
	for _, entries := range []map[string]string{spec.Exact, spec.Prefix, spec.Suffix} {
		for _, value := range entries {
			if value == "" {
				return noValue
			}
		}
	}
	switch {
	case len(spec.Exact)+len(spec.Prefix)+len(spec.Suffix) > 0:
		return ""
	case len(spec.All)+len(spec.Any) > 0:
		return reason(slices.Concat(spec.All, spec.Any))
	case spec.Not != nil:
		return elementReason(spec.Not)
	case spec.CESQL == "":
		return empty
	case len(spec.CESQL) > 16<<10:
		return tooLong
	case stray(spec.CESQL):
		return strayCharacter
	}
	return ""
}

// stray reports whether there are characters outside of string literals that
// no token of CESQL has. An underscore is one of them where it does not follow
// a letter.
func stray(text string) bool {
	var quote, last rune
	for _, c := range text {
		switch {
		case quote != 0:
			if c == quote && last != '\\' {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '_' && (last < 'A' || last > 'z'):
			return true
		case !strings.ContainsRune(" \t\r\n()+-*/%=<>!,_", c) && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z'):
			return true
		}
		last = c
	}
	return false
}
