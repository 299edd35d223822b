package clickhouse

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// predicate is a condition in SQL, never NULL, which holds wherever the filter
// that it was compiled from does.
type predicate struct {
	sql string
	// exact says that it holds nowhere else.
	exact bool
}

// always holds for all rows, never for none. maybe holds for all rows too, but
// the filter may not.
var (
	always = predicate{"1", true}
	never  = predicate{"0", true}
	maybe  = predicate{"1", false}
)

// constant is always or never.
func constant(v bool) predicate {
	if v {
		return always
	}
	return never
}

// all holds where all of its parts do.
func all(parts ...predicate) predicate { return join(" AND ", "1", parts) }

// anyOf holds where one of its parts does.
func anyOf(parts ...predicate) predicate { return join(" OR ", "0", parts) }

// join is all or anyOf; unit is what makes no difference to it.
func join(operator, unit string, parts []predicate) predicate {
	p := predicate{exact: true}
	var texts []string
	for _, part := range parts {
		p.exact = p.exact && part.exact
		if part.sql != unit && !slices.Contains(texts, part.sql) {
			texts = append(texts, part.sql)
		}
	}
	switch len(texts) {
	case 0:
		p.sql = unit
	case 1:
		p.sql = texts[0]
	default:
		p.sql = "(" + strings.Join(texts, operator) + ")"
	}
	return p
}

// not holds where its part does not, and where that is not known.
func not(p predicate) predicate {
	switch {
	case !p.exact:
		return maybe
	case p.sql == "1" || p.sql == "0":
		return constant(p.sql == "0")
	}
	return predicate{"NOT (" + p.sql + ")", true}
}

// inexact is p of which it is not said that it holds nowhere else.
func inexact(p predicate) predicate { return predicate{p.sql, false} }

// compiler writes filters as conditions on the table.
type compiler struct {
	*arguments
	// project is the one whose entries are asked for.
	project string
	// plain leaves regular expressions out, which the server could not read; joint
	// says that it finds rows with several labels by an index at once.
	plain, joint bool
	// indexed says that there is a condition that an index knows.
	indexed bool
}

// is is a condition that says exactly what the filter does.
func is(sql string) predicate { return predicate{sql, true} }

// expr compiles a filter.
func (c *compiler) expr(f filter.Expr) predicate {
	switch f := f.(type) {
	case *filter.And:
		return all(c.together(c.exprs(conjuncts(f)))...)
	case *filter.Or:
		return anyOf(c.exprs(f.Terms)...)
	case *filter.Not:
		return not(c.expr(f.Term))
	case *filter.Text:
		if f.Value.IsAny() {
			return always
		}
		return c.anywhere(needle(f.Value.Text), c.contains)
	case *filter.Comparison:
		return c.comparison(f)
	case *filter.Call:
		return c.call(f)
	}
	return maybe
}

// conjuncts are the terms of a conjunction, and of those in it.
func conjuncts(f *filter.And) []filter.Expr {
	var terms []filter.Expr
	for _, t := range f.Terms {
		if and, ok := t.(*filter.And); ok {
			terms = append(terms, conjuncts(and)...)
		} else {
			terms = append(terms, t)
		}
	}
	return terms
}

// exprs compiles filters.
func (c *compiler) exprs(fs []filter.Expr) []predicate {
	ps := make([]predicate, len(fs))
	for i, f := range fs {
		ps[i] = c.expr(f)
	}
	return ps
}

// comparison compiles a comparison by the type of its field.
func (c *compiler) comparison(f *filter.Comparison) predicate {
	path, typ, err := filter.Field(f.Path)
	if err != nil {
		return maybe // which Match will refuse
	}
	switch {
	case len(f.Steps) > 0:
		return c.steps(f)
	case path[0] == "logName":
		return c.logName(f)
	case path[0] == "severity":
		return c.severity(f)
	case typ == filter.Timestamp:
		return c.instant(f, map[string]string{"timestamp": "Time", "receiveTimestamp": "Received"}[path[0]])
	case path[0] == "traceSampled":
		return c.sampled(f)
	case typ == filter.String && texts[strings.Join(path, ".")] != "":
		return c.text(f, texts[strings.Join(path, ".")])
	case path[0] == "labels":
		return c.labels(f, "Labels", labelItems, path[1:])
	case path[0] == "resource" && len(path) > 1:
		return c.labels(f, "ResourceLabels", resourceItems, path[2:])
	case path[0] == "resource":
		return c.resource(f)
	case path[0] == "jsonPayload":
		return all(is("Kind = "+kind(logstore.JSON)), c.json(f, path[1:]))
	case path[0] == "protoPayload":
		return all(is("Kind = "+kind(logstore.Proto)), c.proto(f, path[1:]))
	}
	return c.extra(f, path, typ)
}

// steps compiles a comparison of what functions make of a field: they make nothing
// where the field is not there.
func (c *compiler) steps(f *filter.Comparison) predicate {
	if logstore.Match(&logstore.Entry{}, f) {
		return maybe
	}
	return inexact(c.comparison(&filter.Comparison{Path: f.Path, Op: filter.Has, Value: filter.Value{Text: "*"}}))
}

// kind is the number of a kind of payload.
func kind(k logstore.Kind) string { return strconv.Itoa(int(k)) }

// texts are the columns of fields that are text and always there.
var texts = map[string]string{
	"insertId": "InsertId", "trace": "Trace", "spanId": "SpanId", "resource.type": "ResourceType",
	"textPayload": "if(Kind = 1, Data, '')",
}

// text compiles a comparison with a text that is "" where it is not set.
func (c *compiler) text(f *filter.Comparison, column string) predicate {
	p := c.value(f, column)
	if f.Op == filter.Has && f.Value.IsAny() {
		p = is(column + " != ''")
		if strings.Contains(column, "Kind") {
			return is("Kind = 1") // also of an empty text
		}
	}
	if strings.Contains(column, "Kind") && f.Value.Text != "" && (f.Op == filter.Has || f.Op == filter.Equal) {
		// What holds of no empty text holds of text payloads alone, whose
		// column an index may know.
		p = predicate{strings.ReplaceAll(p.sql, column, "Data"), p.exact}
		p = all(is("Kind = 1"), p, c.words(f))
	}
	return p
}

// words are the conditions on whole words that a payload fulfils if a text in
// it is equal to that of f: an index knows them.
func (c *compiler) words(f *filter.Comparison) predicate {
	if f.Op != filter.Equal {
		return always
	}
	return c.tokens(filter.Words(f.Value.Text), words)
}

// tokens are the conditions that all of the words are in a column, which is in
// lower case.
func (c *compiler) tokens(of []string, column string) predicate {
	var parts []predicate
	for _, w := range of {
		if !ascii(w) {
			parts = append(parts, maybe)
			continue
		}
		c.indexed = true
		parts = append(parts, is("hasToken("+column+", "+c.arguments.text(logstore.Fold(w))+")"))
	}
	return all(parts...)
}

// value compiles the comparison of a text that is there with what is written.
func (c *compiler) value(f *filter.Comparison, column string) predicate {
	folded := logstore.Fold(f.Value.Text)
	switch f.Op {
	case filter.Has:
		if f.Value.IsAny() {
			return always
		}
		return c.contains(column, needle(f.Value.Text))
	case filter.Matches, filter.NotMatches:
		return c.matches(f, column)
	}
	if f.Value.IsNull() {
		return constant(f.Op == filter.NotEqual)
	}
	if !ascii(folded) {
		if f.Op == filter.Equal {
			return c.contains(column, needle(f.Value.Text))
		}
		return maybe
	}
	// The bytes of UTF-8 are in the order of what they encode, and what is not
	// ASCII never folds to it.
	return is("lower(" + column + ") " + operators[f.Op] + " " + c.arguments.text(folded))
}

// operators are those of SQL.
var operators = map[filter.Op]string{
	filter.Equal: "=", filter.NotEqual: "!=", filter.Less: "<", filter.LessOrEqual: "<=", filter.Greater: ">", filter.GreaterOrEqual: ">=",
}

// search is what is looked for: the longest run of ASCII in it, folded.
type search struct {
	text string
	// whole says that it is all that is looked for.
	whole bool
}

// needle is how a text is looked for.
func needle(text string) search {
	var longest string
	for _, n := range logstore.Needles(text) {
		for part := range strings.SplitSeq(n, "\x00") {
			if len(part) > len(longest) {
				longest = part
			}
		}
	}
	return search{text: longest, whole: ascii(text)}
}

// contains holds where a column has the text in it, whatever the case is.
func (c *compiler) contains(column string, s search) predicate {
	if s.text == "" {
		return predicate{"1", s.whole}
	}
	return predicate{"positionCaseInsensitive(" + column + ", " + c.arguments.text(s.text) + ") > 0", s.whole}
}

// matches compiles a regular expression. The server's are RE2 too, but it reads
// text that is not ASCII by its own tables, and "." as any character.
func (c *compiler) matches(f *filter.Comparison, column string) predicate {
	if c.plain || !ascii(f.Value.Text) {
		return maybe
	}
	p := "match(" + column + ", " + c.arguments.text("(?-s:"+f.Value.Text+")") + ")"
	if f.Op == filter.NotMatches {
		p = "NOT " + p
	}
	return predicate{"(" + p + " OR lengthUTF8(" + column + ") != length(" + column + "))", false}
}

// logName compiles a comparison with the log's resource name.
func (c *compiler) logName(f *filter.Comparison) predicate {
	folded := logstore.Fold(f.Value.Text)
	switch {
	case f.Op == filter.Has && f.Value.IsAny():
		return always
	case f.Op != filter.Equal:
		return maybe
	}
	project, escaped, ok := strings.Cut(strings.TrimPrefix(folded, "projects/"), "/logs/")
	log, err := url.PathUnescape(escaped)
	if !ok || err != nil || project != logstore.Fold(c.project) {
		return never
	}
	p := c.log(log)
	p.exact = p.exact && logstore.Fold(url.PathEscape(log)) == escaped
	return p
}

// log holds where the log is this one, whatever the case is.
func (c *compiler) log(id string) predicate {
	if !ascii(id) {
		return inexact(c.contains("Log", needle(id)))
	}
	return is("lower(Log) = " + c.arguments.text(logstore.Fold(id)))
}

// severity compiles a comparison with the severity.
func (c *compiler) severity(f *filter.Comparison) predicate {
	if f.Op == filter.Has {
		if f.Value.IsAny() {
			return is("Severity != 0")
		}
		return c.among(f, "Severity")
	}
	s, ok := logstore.ParseSeverity(f.Value.Text)
	if operators[f.Op] == "" || f.Value.IsNull() {
		return maybe
	}
	if !ok {
		return never
	}
	return is("Severity " + operators[f.Op] + " " + strconv.Itoa(int(s)))
}

// among holds where the severity has one of the names that the text is in, or
// none.
func (c *compiler) among(f *filter.Comparison, column string) predicate {
	folded, list, named := logstore.Fold(f.Value.Text), []string{"-1"}, []string{}
	for s := logstore.Default; s <= logstore.Emergency; s += 100 {
		named = append(named, strconv.Itoa(int(s)))
		if strings.Contains(logstore.Fold(s.String()), folded) {
			list = append(list, strconv.Itoa(int(s)))
		}
	}
	return predicate{"(" + column + " IN (" + strings.Join(list, ", ") + ") OR " + column + " NOT IN (" + strings.Join(named, ", ") + "))", false}
}

// instant compiles a comparison with a time.
func (c *compiler) instant(f *filter.Comparison, column string) predicate {
	t, ok := filter.ParseTimestamp(f.Value.Text)
	switch {
	case f.Op == filter.Has && f.Value.IsAny():
		return always
	case operators[f.Op] == "" || f.Value.IsNull():
		return maybe
	case !ok:
		return never
	}
	if side := outside(t); side != 0 {
		// Every time that is kept is on the other side of it.
		return constant(f.Op == filter.NotEqual || (side > 0) == (f.Op == filter.Less || f.Op == filter.LessOrEqual) && f.Op != filter.Equal)
	}
	return is(column + " " + operators[f.Op] + " " + instant(t))
}

// earliest and latest bound the times of entries.
var (
	earliest = time.Unix(0, 0)
	latest   = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
)

// outside is negative for a time before those of entries, positive for one after
// them.
func outside(t time.Time) int {
	switch {
	case t.Before(earliest):
		return -1
	case !t.Before(latest):
		return 1
	}
	return 0
}

// sampled compiles a comparison with traceSampled.
func (c *compiler) sampled(f *filter.Comparison) predicate {
	holds := func(v bool) bool {
		return logstore.Match(&logstore.Entry{TraceSampled: v}, f)
	}
	switch yes, no := holds(true), holds(false); {
	case yes == no:
		return constant(yes)
	case yes:
		return is("TraceSampled")
	default:
		return is("NOT TraceSampled")
	}
}

// ascii reports whether a text is ASCII only, but for the zero byte, which the
// server's searches take for an end.
func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 || s[i] == 0 {
			return false
		}
	}
	return true
}
