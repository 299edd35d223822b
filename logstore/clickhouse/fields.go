package clickhouse

import (
	"strings"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// joined is what a map's values are looked for in at once.
func joined(column string) string { return "arrayStringConcat(mapValues(" + column + "), '\\n')" }

// labels compiles a comparison with a label, or with a map as a whole.
func (c *compiler) labels(f *filter.Comparison, column, items string, key []string) predicate {
	if len(key) == 0 {
		if f.Value.IsAny() {
			return is("notEmpty(" + column + ")")
		}
		return all(is("notEmpty("+column+")"), inexact(c.contains(joined(column), needle(f.Value.Text))))
	}
	if folded := logstore.Fold(f.Value.Text); f.Op == filter.Equal && ascii(folded) && !f.Value.IsNull() {
		c.indexed = true
		return is(hasItem(items) + c.arguments.text(key[0]+"\n"+folded) + ")")
	}
	k := c.arguments.text(key[0])
	return all(is("mapContains("+column+", "+k+")"), c.value(f, column+"["+k+"]"))
}

// hasItem begins the condition on one label.
func hasItem(items string) string { return "has(" + items + ", " }

// together makes one of the conditions on single labels. Of each of those alone
// the index knows the granules that have a row with the label; of all of them at
// once, the granules with a row that has them all.
func (c *compiler) together(parts []predicate) []predicate {
	if !c.joint {
		return parts
	}
	for _, items := range []string{labelItems, resourceItems} {
		var labels []string
		var rest []predicate
		for _, p := range parts {
			if label, ok := strings.CutPrefix(p.sql, hasItem(items)); ok {
				labels = append(labels, strings.TrimSuffix(label, ")"))
			} else {
				rest = append(rest, p)
			}
		}
		if len(labels) > 1 {
			parts = append(rest, is("hasAll("+items+", ["+strings.Join(labels, ", ")+"])"))
		}
	}
	return parts
}

// resource compiles a comparison with the resource as a whole.
func (c *compiler) resource(f *filter.Comparison) predicate {
	if f.Value.IsAny() {
		return is("(ResourceType != '' OR notEmpty(ResourceLabels))")
	}
	n := needle(f.Value.Text)
	return inexact(anyOf(c.contains("ResourceType", n), c.contains(joined("ResourceLabels"), n)))
}

// proto compiles a comparison with a message, or with what is in it.
func (c *compiler) proto(f *filter.Comparison, path []string) predicate {
	switch {
	case len(path) == 1 && path[0] == "@type":
		return c.value(f, "TypeUrl")
	case len(path) == 0 && f.Value.IsAny():
		return always
	case len(path) == 0:
		return anyOf(c.contains("TypeUrl", needle(f.Value.Text)), c.json(f, path))
	}
	return inexact(c.json(f, nil)) // names of its fields may be written in several ways
}

// json compiles a comparison with what is at a path of a payload. It leads to
// the rows that may have it; which do is seen in Go.
func (c *compiler) json(f *filter.Comparison, path []string) predicate {
	if len(path) == 0 && f.Value.IsAny() {
		return is("Data != ''")
	}
	parts := []predicate{maybe}
	for _, key := range path {
		// A key that is written with an escape is one of Words.
		parts = append(parts, is("(position(Data, "+c.arguments.text(`"`+key+`"`)+") > 0 OR Words != '')"))
	}
	_, isNumber := filter.ParseNumber(f.Value.Text)
	_, isBool := filter.ParseBool(f.Value.Text)
	switch {
	case f.Value.IsNull(), f.Value.IsAny():
	case f.Op == filter.Has:
		parts = append(parts, inexact(anyOf(c.contains("Data", needle(f.Value.Text)), c.contains("Words", needle(f.Value.Text)))))
	case isNumber && operators[f.Op] != "" && len(path) > 0:
		parts = append(parts, c.number(f, "Data", path))
	case f.Op == filter.Equal && !isBool && !isNumber:
		parts = append(parts, c.tokens(filter.Words(f.Value.Text), words))
	}
	return all(parts...)
}

// number holds where the number at a path of a JSON text compares, where it is
// none, and where the server cannot tell since a key is there twice.
func (c *compiler) number(f *filter.Comparison, column string, path []string) predicate {
	v, _ := filter.ParseNumber(f.Value.Text)
	keys, twice := "", ""
	for _, key := range path {
		keys += ", " + c.arguments.text(key)
		twice += " OR countSubstrings(" + column + ", " + c.arguments.text(`"`+key+`"`) + ") != 1"
	}
	if v != v || v-v != 0 { // NaN and the infinities
		return maybe
	}
	return predicate{"(JSONType(" + column + keys + ") NOT IN ('Int64', 'UInt64', 'Double') OR JSONExtractFloat(" + column + keys + ") " +
		operators[f.Op] + " " + c.float(v) + twice + ")", false}
}

// extra compiles a comparison with what is in Extra.
func (c *compiler) extra(f *filter.Comparison, path []string, typ filter.Type) predicate {
	if typ != filter.Any && typ != filter.Object && !f.Value.IsAny() && logstore.Match(&logstore.Entry{}, f) {
		return maybe // it holds where the field is not set
	}
	parts := []predicate{is("Extra != ''"), maybe}
	for _, key := range path {
		parts = append(parts, is("(position(Extra, "+c.arguments.text(`"`+key+`"`)+") > 0 OR position(Extra, '\\\\') > 0)"))
	}
	switch {
	case f.Value.IsAny(), f.Value.IsNull():
	case typ == filter.Number && operators[f.Op] != "":
		parts = append(parts, c.number(f, "Extra", path))
	case f.Op == filter.Has || f.Op == filter.Equal && typ == filter.String:
		parts = append(parts, anyOf(is("position(Extra, '\\\\') > 0"), c.contains("Extra", needle(f.Value.Text))))
	}
	return inexact(all(parts...))
}

// anywhere holds where a text is anywhere in an entry, as in says of one
// column; payloads and Extra may have it with escapes.
func (c *compiler) anywhere(s search, in func(column string, s search) predicate) predicate {
	parts := []predicate{in("Data", s), in("Words", s), in("TypeUrl", s), in(joined("Labels"), s), in(joined("ResourceLabels"), s)}
	for _, column := range []string{"ResourceType", "Log", "InsertId", "Trace", "SpanId", "Extra"} {
		parts = append(parts, in(column, s))
	}
	return inexact(anyOf(append(parts, is("position(Extra, '\\\\') > 0"))...))
}

// token holds where a column has a word, whatever the case is.
func (c *compiler) token(column string, s search) predicate {
	if column == "Data" {
		c.indexed = true
		return is("hasToken(" + words + ", " + c.arguments.text(s.text) + ")")
	}
	if column == "Words" {
		return never // it is with Data
	}
	return is("hasToken(lower(" + column + "), " + c.arguments.text(s.text) + ")")
}

// call compiles a function.
func (c *compiler) call(f *filter.Call) predicate {
	if len(f.Args) != 1 {
		return maybe
	}
	arg := f.Args[0].Text
	switch f.Name {
	case filter.FuncLogID:
		return c.log(arg)
	case filter.FuncSource:
		id, _ := filter.ParseSource(arg)
		return constant(logstore.Fold(id) == logstore.Fold(c.project))
	case filter.FuncSearch:
		return c.search(f.Path, filter.SearchTerms(arg))
	}
	return maybe
}

// search compiles SEARCH: each word, and each word of a phrase, is a word of
// the field.
func (c *compiler) search(path []string, terms []filter.SearchTerm) predicate {
	var parts []predicate
	for _, t := range terms {
		for _, w := range filter.Words(t.Text) {
			if !ascii(w) {
				parts = append(parts, maybe)
				continue
			}
			parts = append(parts, c.word(path, logstore.Fold(w)))
		}
		if t.Phrase {
			parts = append(parts, maybe)
		}
	}
	return all(parts...)
}

// word holds where a word is in the field, or anywhere if there is none.
func (c *compiler) word(path []string, folded string) predicate {
	s := search{text: folded, whole: true}
	if len(path) == 0 {
		return c.anywhere(s, c.token)
	}
	path, _, err := filter.Field(path)
	if err != nil {
		return maybe
	}
	switch path[0] {
	case "textPayload":
		return all(is("Kind = 1"), c.token("Data", s))
	case "jsonPayload":
		return inexact(all(is("Kind = 2"), c.token("Data", s)))
	case "protoPayload":
		return inexact(all(is("Kind = 3"), anyOf(c.token("Data", s), c.token("TypeUrl", s))))
	case "labels":
		return inexact(c.token(joined("Labels"), s))
	}
	if column := texts[strings.Join(path, ".")]; column != "" {
		return c.token(column, s)
	}
	return maybe
}
