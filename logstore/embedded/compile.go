package embedded

import (
	"math"
	"net/url"
	"regexp"
	"slices"
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
	// exact says of which rows it finds no others.
	exact exactness
	// tags are what the streams of all these rows have, if the labels of the
	// resource are tags: all of one of the lists; nil if that is not known.
	tags [][]tag
	// labels are such tags of the labels of entries, which may be tags too: one of
	// each of the lists.
	labels [][]tag
}

// exactness says of which rows a query of the engine finds those that are
// selected and no others.
type exactness int

// The kinds of exactness.
const (
	// never is of none.
	never exactness = iota
	// inASCII is of the rows of formASCII.
	inASCII
	// always is of all but opaque ones.
	always
)

// tag is a tag of streams: its name, and a pattern of its values.
type tag struct{ column, pattern string }

// compile puts a filter into the engine's language.
func compile(f filter.Expr) found {
	switch f := f.(type) {
	case nil:
		return found{query: everything, exact: always}
	case *filter.And:
		return compileAnd(f.Terms)
	case *filter.Or:
		return compileOr(f.Terms)
	case *filter.Not:
		return compileNot(compile(f.Term))
	case *filter.Text:
		if f.Value.IsAny() {
			return found{query: everything, exact: always}
		}
		return found{query: anywhere.contain(f.Value.Text, false)}
	case *filter.Comparison:
		return compileComparison(f)
	case *filter.Call:
		return compileCall(f)
	}
	panic("BUG: no such filter")
}

// compileNot is compile for what a term does not select.
func compileNot(term found) found {
	switch term.exact {
	case always:
		return found{query: "!(" + term.query + ")", exact: always}
	case inASCII:
		return found{query: "!(" + term.query + ") or !(" + asciiRows + ")", exact: inASCII}
	}
	return found{query: everything}
}

// asciiRows finds the rows of formASCII.
const asciiRows = `"` + columnForm + `":in("` + formASCII + `","` + formASCII + formKeyed + `")`

// compileAnd is compile for terms of which all hold.
func compileAnd(terms []filter.Expr) found {
	all := found{query: everything, exact: always}
	var queries []string
	for _, t := range terms {
		term := compile(t)
		all.exact = min(all.exact, term.exact)
		all.tags = bothTags(all.tags, term.tags)
		if len(all.labels)+len(term.labels) <= maxTags {
			all.labels = append(all.labels, term.labels...)
		}
		if term.query != everything {
			queries = append(queries, "("+term.query+")")
		}
	}
	if len(queries) > 0 {
		all.query = strings.Join(queries, " ")
	}
	return all
}

// maxTags is the most lists of tags that are asked for.
const maxTags = 20

// bothTags are the lists of tags of what has one of each.
func bothTags(a, b [][]tag) [][]tag {
	if len(a) == 0 || len(b) == 0 {
		return append(a, b...)
	}
	if len(a)*len(b) > maxTags {
		return a
	}
	var both [][]tag
	for _, x := range a {
		for _, y := range b {
			both = append(both, slices.Concat(x, y))
		}
	}
	return both
}

// compileOr is compile for terms of which one holds.
func compileOr(terms []filter.Expr) found {
	one := found{exact: always}
	var queries []string
	known := true
	for i, t := range terms {
		term := compile(t)
		if term.query == everything {
			return found{query: everything, exact: term.exact}
		}
		one.exact = min(one.exact, term.exact)
		known = known && len(term.tags) > 0
		one.tags = append(one.tags, term.tags...)
		one.labels = eitherLabels(one.labels, term.labels, i == 0)
		queries = append(queries, "("+term.query+")")
	}
	if !known || len(one.tags) > maxTags {
		one.tags = nil
	}
	one.query = strings.Join(queries, " or ")
	return one
}

// eitherLabels are the lists of tags of what has one of each of those of a or of
// those of b; first says that there is no a.
func eitherLabels(a, b [][]tag, first bool) [][]tag {
	if first {
		return b
	}
	if len(a)*len(b) > maxTags {
		return nil
	}
	var either [][]tag
	for _, x := range a {
		for _, y := range b {
			if len(x)+len(y) <= maxTags {
				either = append(either, slices.Concat(x, y))
			}
		}
	}
	return either
}

// columns are filters of the engine's language that name columns, as `"id":`.
type columns []string

// anywhere are the columns of all texts of an entry.
var anywhere = columns{
	named(columnMessage), prefixed(jsonPrefix), prefixed(labelPrefix), prefixed(resourcePrefix), prefixed(protoPrefix), prefixed(extraPrefix),
	named(columnLog), named(columnInsertID), named(columnType), named(columnTrace), named(columnSpan), named(columnTypeURL), named(columnFold),
}

// named is the filter of a column, prefixed that of all whose names begin with
// a prefix.
func named(column string) string {
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
	if !isASCII(text) {
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
	var capital []string
	for _, word := range words {
		if strings.ContainsFunc(word, unicode.IsLower) {
			capital = append(capital, named(columnFold)+strconv.Quote(word))
		}
	}
	if len(capital) > 0 {
		query += " or ((" + strings.Join(capital, " or ") + ") " + named(column) + "~" + strconv.Quote("^"+anyCase(folded)+"$") + ")"
	}
	return query, true
}

// anyCase is a pattern of a folded text of ASCII in any case.
func anyCase(folded string) string {
	var pattern strings.Builder
	for i := range len(folded) {
		if b := folded[i]; b >= 'a' && b <= 'z' {
			pattern.Write([]byte{'[', b, b - 'a' + 'A', ']'})
		} else {
			pattern.WriteString(regexp.QuoteMeta(folded[i : i+1]))
		}
	}
	return pattern.String()
}

// isASCII reports whether a text is of ASCII that can be seen.
func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf || r < ' ' })
}

// word finds what has a word of ASCII in a column of texts, whatever the case
// is: as it is folded, or as a word that is not. In other texts what is beside
// it may make it a part of a longer one.
func word(column, word string) string {
	folded := logstore.Fold(word)
	const beside = "[^0-9A-Za-z]"
	return named(column) + strconv.Quote(folded) + " or (" + named(columnFold) + strconv.Quote(folded) + " " +
		named(column) + "~" + strconv.Quote("(^|"+beside+")"+anyCase(folded)+"($|"+beside+")") + ")"
}

// part finds what has a text of ASCII in a column of texts, whatever the case is.
func part(column, text string) string {
	folded := logstore.Fold(text)
	pattern := named(column) + "~" + strconv.Quote(anyCase(folded))
	if strings.ContainsFunc(folded, func(r rune) bool { return !inWord(r) }) {
		query := columns{named(column), named(columnFold)}.contain(text, false)
		return "(" + query + ") " + pattern
	}
	return named(column) + "*" + strconv.Quote(folded) + "* or (" + named(columnFold) + "*" + strconv.Quote(folded) + "* " + pattern + ")"
}

// compileCall is compile for a function.
func compileCall(f *filter.Call) found {
	switch f.Name {
	case filter.FuncLogID:
		return compileEqual(columnLog, f.Args[0].Text)
	case filter.FuncSearch:
		return compileSearch(f)
	}
	return found{query: everything}
}

// compileSearch is compile for SEARCH.
func compileSearch(f *filter.Call) found {
	where, column := anywhere, ""
	exact := never
	if len(f.Path) > 0 {
		p, ok := placeOf(f.Path)
		if !ok {
			return found{query: everything}
		}
		where = p.texts()
		if p.text() {
			column, exact = p.column, inASCII
		}
	}
	var terms []string
	for _, t := range filter.SearchTerms(f.Args[0].Text) {
		if exact == inASCII && !t.Phrase && isASCII(t.Text) {
			terms = append(terms, "("+word(column, t.Text)+")")
			continue
		}
		exact = never
		if query := where.contain(t.Text, true); query != everything {
			terms = append(terms, "("+query+")")
		}
	}
	if len(terms) == 0 {
		return found{query: everything}
	}
	return found{query: strings.Join(terms, " "), exact: exact}
}

// compileEqual finds what a column of texts has, whatever the case is.
func compileEqual(column, text string) found {
	if text == "" {
		return found{query: everything}
	}
	query, exact := equal(column, text)
	f := found{query: query}
	if exact {
		f.exact = always
		if column == columnLog || column == columnType || strings.HasPrefix(column, resourcePrefix) {
			f.tags = [][]tag{{{column, anyCase(logstore.Fold(text))}}}
		}
		if strings.HasPrefix(column, labelPrefix) {
			f.labels = [][]tag{{{column, anyCase(logstore.Fold(text))}}}
		}
	}
	return f
}

// compileComparison is compile for a comparison.
func compileComparison(f *filter.Comparison) found {
	path, typ, err := filter.Field(f.Path)
	if err != nil {
		return found{query: everything} // Compile of logstore says so.
	}
	if len(f.Steps) > 0 {
		return compileSteps(f)
	}
	if typ == filter.Enum && f.Op != filter.Has {
		return compileSeverity(f)
	}
	if len(path) == 1 && path[0] == "logName" {
		return compileLogName(f)
	}
	if logstore.Match(&logstore.Entry{}, f) {
		return found{query: everything} // holds where there is no such field
	}
	p, ok := placeOf(path)
	if !ok {
		return compileUnplaced(f)
	}
	if some := p.compare(f, typ); some.query != "" {
		return some
	}
	return found{query: everything}
}

// compileUnplaced is compile for a comparison with a field that is not in a column
// that is known: a text in a message is anywhere in it.
func compileUnplaced(f *filter.Comparison) found {
	_, isNumber := filter.ParseNumber(f.Value.Text)
	_, isBool := filter.ParseBool(f.Value.Text)
	isText := f.Op == filter.Equal && !isNumber && !isBool && !f.Value.IsNull() && f.Value.Text != ""
	if f.Path[0] != "protoPayload" || len(f.Path) == 1 || !isText && (f.Op != filter.Has || f.Value.IsAny()) {
		return found{query: everything}
	}
	whole := compile(&filter.Comparison{Path: f.Path[:1], Op: filter.Has, Value: filter.Value{Text: f.Value.Text, Quoted: true}})
	return found{query: whole.query}
}

// compileSteps is compile for a comparison of what functions make of a field: they
// make nothing where the field is not there.
func compileSteps(f *filter.Comparison) found {
	if logstore.Match(&logstore.Entry{}, f) {
		return found{query: everything}
	}
	there := compile(&filter.Comparison{Path: f.Path, Op: filter.Has, Value: filter.Value{Text: "*"}})
	return found{query: there.query}
}

// compileSeverity is compile for a comparison of the severity, which is 0 where
// there is none.
func compileSeverity(f *filter.Comparison) found {
	severity, ok := logstore.ParseSeverity(f.Value.Text)
	if !ok {
		return found{query: everything}
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
		return found{query: everything}
	}
	query := named(columnSeverity) + "range[" + strconv.Itoa(low) + ", " + strconv.Itoa(high) + "]"
	if low <= 0 && 0 <= high {
		query = "(" + query + " or !(" + named(columnSeverity) + "*))"
	}
	if f.Op == filter.NotEqual {
		query = "!(" + query + ")"
	}
	return found{query: query, exact: always}
}

// compileLogName is compile for a comparison of the log's name.
func compileLogName(f *filter.Comparison) found {
	_, escaped, ok := strings.Cut(f.Value.Text, "/logs/")
	log, err := url.PathUnescape(escaped)
	if f.Op != filter.Equal || !ok || err != nil || log == "" {
		return found{query: everything}
	}
	some := compileEqual(columnLog, log)
	some.exact = never // it says nothing of the project
	return some
}
