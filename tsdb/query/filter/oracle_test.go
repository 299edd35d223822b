package filter_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query/filter"
)

// sentence is a filter with what it means, made together: the text goes through
// the parser, the meaning does not.
type sentence struct {
	text  string
	means func(s *tsdb.Series) bool
}

// words are what fields and values are drawn from: few, so that they meet, and
// some that quoting and numbers can get wrong.
var words = []string{"", "a", "ab", "B", "9", "10", "-1", "a b", `q"\`, "é", "*", "AND"}

// fieldSentences are fields with their values.
var fieldSentences = map[string]func(s *tsdb.Series) (string, bool){
	`project`:                  func(s *tsdb.Series) (string, bool) { return s.Project, true },
	`metric.type`:              func(s *tsdb.Series) (string, bool) { return s.Metric, true },
	`resource.type`:            func(s *tsdb.Series) (string, bool) { return s.Resource, true },
	`metric.labels.x`:          func(s *tsdb.Series) (string, bool) { return s.MetricLabels.Get("x") },
	`metric.label."y z"`:       func(s *tsdb.Series) (string, bool) { return s.MetricLabels.Get("y z") },
	`resource.labels.x`:        func(s *tsdb.Series) (string, bool) { return s.ResourceLabels.Get("x") },
	`resource.label.'w'`:       func(s *tsdb.Series) (string, bool) { return s.ResourceLabels.Get("w") },
	`metadata.user_labels.x`:   func(*tsdb.Series) (string, bool) { return "", false },
	`metadata.system_labels.x`: func(*tsdb.Series) (string, bool) { return "", false },
}

// spell writes a string of the language.
func spell(rt *rapid.T, text string) string {
	quote := rapid.SampledFrom([]string{`"`, `'`}).Draw(rt, "quote")
	return quote + strings.NewReplacer(`\`, `\\`, quote, `\`+quote).Replace(text) + quote
}

// drawComparison draws a comparison.
func drawComparison(rt *rapid.T) sentence {
	// In a fixed order, or a failure cannot be found again.
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(fieldSentences))).Draw(rt, "field")
	of := fieldSentences[name]
	value := rapid.SampledFrom(words).Draw(rt, "value")
	other := rapid.SampledFrom(words).Draw(rt, "other")
	test := func(holds func(v string) bool) func(*tsdb.Series) bool {
		return func(s *tsdb.Series) bool {
			v, _ := of(s)
			return holds(v)
		}
	}
	functions := map[string]func(v string) bool{
		"starts_with":   func(v string) bool { return strings.HasPrefix(v, value) },
		"ends_with":     func(v string) bool { return strings.HasSuffix(v, value) },
		"has_substring": func(v string) bool { return strings.Contains(v, value) },
	}
	space := rapid.SampledFrom([]string{"", " ", "\n"}).Draw(rt, "space")
	switch form := rapid.SampledFrom([]string{"=", "!=", ":", ":*", "<", "<=", ">", ">=", "starts_with", "ends_with", "has_substring", "one_of", "regex"}).Draw(rt, "form"); form {
	case "=":
		return sentence{name + space + "=" + space + spell(rt, value), test(func(v string) bool { return v == value })}
	case "!=":
		return sentence{name + space + "!=" + space + spell(rt, value), test(func(v string) bool { return v != value })}
	case ":":
		return sentence{name + space + ":" + space + spell(rt, value), test(func(v string) bool {
			return strings.Contains(strings.ToLower(v), strings.ToLower(value))
		})}
	case ":*":
		return sentence{name + ":*", func(s *tsdb.Series) bool {
			_, ok := of(s)
			return ok
		}}
	case "<", "<=", ">", ">=":
		if !strings.Contains(name, "label") {
			return sentence{name + "=" + spell(rt, value), test(func(v string) bool { return v == value })}
		}
		bound := rapid.IntRange(-2, 11).Draw(rt, "bound")
		return sentence{fmt.Sprintf("%s%s%s%s%d", name, space, form, space, bound), test(func(v string) bool {
			n, err := strconv.Atoi(v) // the only numbers in words
			switch {
			case err != nil:
				return false
			case n < bound:
				return form[0] == '<'
			case n > bound:
				return form[0] == '>'
			}
			return len(form) == 2
		})}
	case "one_of":
		text := fmt.Sprintf("%s = one_of(%s,%s%s)", name, spell(rt, value), space, spell(rt, other))
		return sentence{text, test(func(v string) bool { return v == value || v == other })}
	case "regex":
		text := fmt.Sprintf("%s = monitoring.regex.full_match(%s)", name, spell(rt, regexp.QuoteMeta(value)+".?"))
		return sentence{text, test(func(v string) bool {
			return strings.HasPrefix(v, value) && len([]rune(v)) <= len([]rune(value))+1
		})}
	default:
		not := rapid.Bool().Draw(rt, "not")
		op := map[bool]string{false: " = ", true: "!="}[not]
		return sentence{name + op + form + "(" + spell(rt, value) + ")", test(func(v string) bool { return functions[form](v) != not })}
	}
}

// drawSentence draws a filter of the depth. Operands are put in parentheses at
// random where the language does not need them.
func drawSentence(rt *rapid.T, depth int) sentence {
	if depth == 0 {
		return drawComparison(rt)
	}
	a, b := drawSentence(rt, depth-1), drawSentence(rt, depth-1)
	in := func(s sentence) string { return "(" + s.text + ")" }
	switch rapid.SampledFrom([]string{"AND", "", "OR", "NOT", "-", "()", "leaf"}).Draw(rt, "operator") {
	case "AND":
		return sentence{in(a) + " AND " + in(b), func(s *tsdb.Series) bool { return a.means(s) && b.means(s) }}
	case "":
		return sentence{in(a) + " " + in(b), func(s *tsdb.Series) bool { return a.means(s) && b.means(s) }}
	case "OR":
		return sentence{in(a) + " OR " + in(b), func(s *tsdb.Series) bool { return a.means(s) || b.means(s) }}
	case "NOT":
		return sentence{"NOT " + in(a), func(s *tsdb.Series) bool { return !a.means(s) }}
	case "-":
		return sentence{"-" + in(a), func(s *tsdb.Series) bool { return !a.means(s) }}
	case "()":
		return sentence{in(a), a.means}
	}
	// Without parentheses: OR is within AND.
	x, y, z := drawComparison(rt), drawComparison(rt), drawComparison(rt)
	return sentence{x.text + " AND " + y.text + " OR " + z.text, func(s *tsdb.Series) bool { return x.means(s) && (y.means(s) || z.means(s)) }}
}

// drawSeries draws a series of the words.
func drawSeries(rt *rapid.T) *tsdb.Series {
	word := rapid.SampledFrom(words)
	labels := func(names ...string) tsdb.Labels {
		m := map[string]string{}
		for _, n := range names {
			if rapid.Bool().Draw(rt, "has") {
				m[n] = word.Draw(rt, n)
			}
		}
		return tsdb.LabelsOf(m)
	}
	return &tsdb.Series{
		Project: word.Draw(rt, "project"), Metric: word.Draw(rt, "metric"), Resource: word.Draw(rt, "resource"),
		MetricLabels: labels("x", "y z"), ResourceLabels: labels("w", "x"),
	}
}

// What a filter selects is what it was made to mean, for any filter and series,
// and so is what its canonical form selects.
func TestMatch_Oracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		want := drawSentence(rt, rapid.IntRange(0, 4).Draw(rt, "depth"))
		if len(want.text) > filter.MaxLength/2 {
			return
		}
		f, err := filter.Parse(want.text)
		require.NoError(rt, err, want.text)
		canonical, err := filter.Parse(f.String())
		require.NoError(rt, err, f.String())
		for range 10 {
			s := drawSeries(rt)
			require.Equal(rt, want.means(s), f.Match(s), "%s\n%+v", want.text, s)
			require.Equal(rt, want.means(s), canonical.Match(s), "%s\n%+v", f, s)
			if m := f.Metric(); m != "" && want.means(s) {
				require.Equal(rt, m, s.Metric, "what narrows a selection must not lose any of it")
			}
		}
	})
}
