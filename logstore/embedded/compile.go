package embedded

import (
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// everything is what finds all rows.
const everything = "*"

// found is a filter in the engine's language.
type found struct {
	// query finds all rows that the filter selects, except opaque ones.
	query string
	// exact says that it finds no others.
	exact bool
}

// compile puts a filter into the engine's language.
func compile(f filter.Expr) found {
	switch f := f.(type) {
	case nil:
		return found{everything, true}
	case *filter.And:
		return compileAnd(f.Terms)
	case *filter.Or:
		return compileOr(f.Terms)
	case *filter.Not:
		if term := compile(f.Term); term.exact {
			return found{"!(" + term.query + ")", true}
		}
		return found{everything, false}
	case *filter.Text:
		if f.Value.IsAny() {
			return found{everything, true}
		}
		return found{anywhere.contain(f.Value.Text, false), false}
	case *filter.Comparison:
		return compileComparison(f)
	case *filter.Call:
		return compileCall(f)
	}
	panic("BUG: no such filter")
}

// compileAnd is compile for terms of which all hold.
func compileAnd(terms []filter.Expr) found {
	all := found{everything, true}
	var queries []string
	for _, t := range terms {
		term := compile(t)
		all.exact = all.exact && term.exact
		if term.query != everything {
			queries = append(queries, "("+term.query+")")
		}
	}
	if len(queries) > 0 {
		all.query = strings.Join(queries, " ")
	}
	return all
}

// compileOr is compile for terms of which one holds.
func compileOr(terms []filter.Expr) found {
	one := found{"", true}
	var queries []string
	for _, t := range terms {
		term := compile(t)
		if term.query == everything {
			return term
		}
		one.exact = one.exact && term.exact
		queries = append(queries, "("+term.query+")")
	}
	one.query = strings.Join(queries, " or ")
	return one
}

// columns are filters of the engine's language that name columns, as `"id":`.
type columns []string

// anywhere are the columns of all texts of an entry.
var anywhere = columns{
	`_msg:`, prefixed(jsonPrefix), prefixed(labelPrefix), prefixed(resourcePrefix), prefixed(protoPrefix), prefixed(extraPrefix),
	named(columnLog), named(columnInsertID), named(columnType), named(columnTrace), named(columnSpan), named(columnTypeURL), named(columnFold),
}

// named is the filter of a column, prefixed that of all whose names begin with
// a prefix.
func named(column string) string {
	if column == columnMessage {
		return "_msg:"
	}
	return strconv.Quote(column) + ":"
}

// prefixed is the filter of all columns whose names begin with a prefix.
func prefixed(prefix string) string { return strconv.Quote(prefix) + "*:" }

// match is the query that finds what a pattern finds in one of the columns.
func (c columns) match(pattern string) string {
	terms := make([]string, len(c))
	for i, name := range c {
		terms[i] = name + pattern
	}
	return strings.Join(terms, " or ")
}

// contain finds what has a text in one of the columns, whatever the case is;
// with words it begins and ends there as words do.
func (c columns) contain(text string, words bool) string {
	folded := logstore.Fold(text)
	var terms []string
	for start, rest := 0, folded; ; {
		from := strings.IndexFunc(rest[start:], inWord)
		if from < 0 {
			break
		}
		from += start
		to := len(rest)
		if n := strings.IndexFunc(rest[from:], func(r rune) bool { return !inWord(r) }); n >= 0 {
			to = from + n
		}
		start = to
		word, whole := rest[from:to], from > 0 && to < len(rest)
		switch {
		case whole:
			terms = append(terms, "("+c.match(strconv.Quote(word))+")")
		case words:
			for part := range strings.FieldsSeq(strings.ReplaceAll(word, "_", " ")) {
				terms = append(terms, "("+c.match(strconv.Quote(part))+")")
			}
		default:
			terms = append(terms, "("+c.match("*"+strconv.Quote(word)+"*")+")")
		}
	}
	if len(terms) > 0 {
		return strings.Join(terms, " ")
	}
	if folded == "" || strings.ContainsFunc(folded, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return everything
	}
	return c.match("*" + strconv.Quote(folded) + "*")
}

// equal finds what a column has that is equal to a text, whatever the case is:
// what is as the text is folded, or has a word that is not. Of columns that have
// texts only it is exact if the text is of ASCII.
func equal(column, text string) (query string, exact bool) {
	folded := logstore.Fold(text)
	words := strings.FieldsFunc(folded, func(r rune) bool { return !inWord(r) })
	if strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf || r < ' ' }) {
		var terms []string
		for _, word := range words {
			terms = append(terms, "("+columns{named(column), named(columnFold)}.match(strconv.Quote(word))+")")
		}
		if len(terms) == 0 {
			return named(column) + everything, false
		}
		return strings.Join(terms, " "), false
	}
	query = named(column) + "=" + strconv.Quote(folded)
	var pattern strings.Builder
	for i := range len(folded) {
		if b := folded[i]; b >= 'a' && b <= 'z' {
			pattern.Write([]byte{'[', b, b - 'a' + 'A', ']'})
		} else {
			pattern.WriteString(regexp.QuoteMeta(folded[i : i+1]))
		}
	}
	var capital []string
	for _, word := range words {
		if strings.ContainsFunc(word, unicode.IsLower) {
			capital = append(capital, named(columnFold)+strconv.Quote(word))
		}
	}
	if len(capital) > 0 {
		query += " or ((" + strings.Join(capital, " or ") + ") " + named(column) + "~" + strconv.Quote("^"+pattern.String()+"$") + ")"
	}
	return query, true
}

// compileCall is compile for a function.
func compileCall(f *filter.Call) found {
	switch f.Name {
	case filter.FuncLogID:
		return compileEqual(columnLog, f.Args[0].Text)
	case filter.FuncSearch:
		where := anywhere
		if len(f.Path) > 0 {
			p, ok := placeOf(f.Path)
			if !ok {
				break
			}
			where = p.texts()
		}
		var terms []string
		for _, t := range filter.SearchTerms(f.Args[0].Text) {
			if query := where.contain(t.Text, true); query != everything {
				terms = append(terms, "("+query+")")
			}
		}
		if len(terms) > 0 {
			return found{strings.Join(terms, " "), false}
		}
	}
	return found{everything, false}
}

// compileEqual finds what a column of texts has, whatever the case is.
func compileEqual(column, text string) found {
	if text == "" {
		return found{everything, false}
	}
	query, exact := equal(column, text)
	return found{query, exact}
}

// compileComparison is compile for a comparison.
func compileComparison(f *filter.Comparison) found {
	path, typ, err := filter.Field(f.Path)
	if err != nil {
		return found{everything, false} // Compile of logstore says so.
	}
	if typ == filter.Enum && f.Op != filter.Has {
		return compileSeverity(f)
	}
	if len(path) == 1 && path[0] == "logName" {
		return compileLogName(f)
	}
	if logstore.Match(&logstore.Entry{}, f) {
		return found{everything, false} // holds where there is no such field
	}
	p, ok := placeOf(path)
	if !ok {
		return found{everything, false}
	}
	return found{everything, false}.or(p.compare(f, typ))
}

// or is what is given, if it is anything.
func (f found) or(other found) found {
	if other.query == "" {
		return f
	}
	return other
}

// compileSeverity is compile for a comparison of the severity, which is 0 where
// there is none.
func compileSeverity(f *filter.Comparison) found {
	severity, ok := logstore.ParseSeverity(f.Value.Text)
	if !ok {
		return found{everything, false}
	}
	low, high := math.MinInt32, math.MaxInt32
	switch n := int(severity); f.Op {
	case filter.Equal, filter.NotEqual:
		low, high = n, n
	case filter.Less:
		high = n - 1
	case filter.LessOrEqual:
		high = n
	case filter.Greater:
		low = n + 1
	case filter.GreaterOrEqual:
		low = n
	default:
		return found{everything, false}
	}
	query := named(columnSeverity) + "range[" + strconv.Itoa(low) + ", " + strconv.Itoa(high) + "]"
	if low <= 0 && 0 <= high {
		query = "(" + query + " or !(" + named(columnSeverity) + "*))"
	}
	if f.Op == filter.NotEqual {
		query = "!(" + query + ")"
	}
	return found{query, true}
}

// compileLogName is compile for a comparison of the log's name.
func compileLogName(f *filter.Comparison) found {
	_, escaped, ok := strings.Cut(f.Value.Text, "/logs/")
	log, err := url.PathUnescape(escaped)
	if f.Op != filter.Equal || !ok || err != nil || log == "" {
		return found{everything, false}
	}
	query, _ := equal(columnLog, log)
	return found{query, false}
}
