package sqlstore

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Query is a statement with its arguments: []byte, string or int64. Their
// places are $1, $2 and so on, each of which is in it.
type Query struct {
	SQL  string
	Args []any
}

// Columns is what is read of a record.
type Columns uint8

// What is read.
const (
	// ColumnsAll is name, uid, version, deleting, body.
	ColumnsAll Columns = iota
	// ColumnsVersion is name, version.
	ColumnsVersion
	// ColumnsCount is the number of records.
	ColumnsCount
)

// Dialect is where the SQL of databases differs.
type Dialect struct {
	// Join goes on from names, in the first place, to their objects o of the
	// kind in the second, one by one in the order of the names.
	Join string
	// FirstTerm is the lowest of the terms of the object o that is at least the
	// first place and below the second, NULL if there is none.
	FirstTerm string
	// Bytes is whether names are given as []byte, and not as string.
	Bytes bool
	// Few is how many objects a scan sorts rather than find them in their order.
	Few int
}

// builder writes a statement.
type builder struct {
	strings.Builder
	d     Dialect
	args  []any
	where []string
}

// arg is the place of an argument.
func (b *builder) arg(v any) string {
	b.args = append(b.args, v)
	return "$" + strconv.Itoa(len(b.args))
}

// name is the place of a name.
func (b *builder) name(n string) string {
	if b.d.Bytes {
		return b.arg([]byte(n))
	}
	return b.arg(n)
}

// and adds a condition.
func (b *builder) and(format string, args ...any) {
	b.where = append(b.where, fmt.Sprintf(format, args...))
}

// within adds that an expression is within a span.
func (b *builder) within(expr string, s *span) {
	low, high := ">=", "<"
	if s.fromOpen {
		low = ">"
	}
	if s.toClosed {
		high = "<="
	}
	b.and("%s %s %s", expr, low, b.arg(s.from))
	b.and("%s %s %s", expr, high, b.arg(s.to))
}

// names adds the bounds of names. In the order of names, where the scan begins
// is one of them: a database starts at one bound, whichever.
func (b *builder) names(expr string, s *scan) {
	low, from, to := ">=", s.from, s.to
	if s.after != nil && len(s.keys) == 0 {
		switch at := s.after.Name; {
		case !s.reverse && at >= from:
			low, from = ">", at
		case s.reverse && (to == "" || at < to):
			to = at
		}
	}
	if from != "" || low == ">" {
		b.and("%s %s %s", expr, low, b.name(string(from)))
	}
	if to != "" || s.reverse && s.after != nil && len(s.keys) == 0 {
		b.and("%s < %s", expr, b.name(string(to)))
	}
}

// one adds that a term is one of a condition's.
func (b *builder) one(expr string, c *cond) {
	if c.span != nil {
		b.within(expr, c.span)
		return
	}
	places := make([]string, len(c.terms))
	for i, t := range c.terms {
		places[i] = b.arg(t)
	}
	if len(places) == 1 {
		b.and("%s = %s", expr, places[0])
		return
	}
	b.and("%s IN (%s)", expr, strings.Join(places, ", "))
}

// has adds that the object with a name has an entry of a condition. OFFSET 0
// keeps the database from turning it into a join, whose order it would choose.
func (b *builder) has(name string, c *cond) {
	if c.span != nil {
		// Entries are not found by the name of their object: its own terms say it.
		from, to := c.span.from, c.span.to
		if c.span.fromOpen {
			from = append(from[:len(from):len(from)], 0)
		}
		if c.span.toClosed {
			to = append(to[:len(to):len(to)], 0)
		}
		b.and("%s IS NOT NULL", b.firstTerm(from, to))
		return
	}
	sub := builder{d: b.d, args: b.args}
	sub.one("x.term", c)
	b.args = sub.args
	b.and("EXISTS (SELECT 1 FROM entry x WHERE %s AND x.name = %s LIMIT 1 OFFSET 0)", sub.where[0], name)
}

// firstTerm is the first term of the object between two.
func (b *builder) firstTerm(from, to []byte) string {
	return fmt.Sprintf(b.d.FirstTerm, b.arg(from), b.arg(to))
}

// objects is whether a statement needs the rows of the objects.
func (s *scan) objects(columns Columns) bool {
	if columns != ColumnsCount {
		return true
	}
	for _, c := range s.conds {
		if c.span != nil {
			return true
		}
	}
	return false
}

// query is the statement of a scan.
func (s *scan) query(d Dialect, columns Columns) Query {
	b := &builder{d: d}
	name, keys := "d.name", make([]string, len(s.keys))
	b.WriteString("SELECT " + [...]string{"o.name, o.uid, o.version, o.deleting, o.body", "o.name, o.version", "count(*)"}[columns] + " FROM ")
	switch {
	case s.drive != nil && s.drive.equal():
		b.WriteString("entry d")
		b.one("d.term", s.drive)
	case s.drive != nil:
		// An object can have several entries of these.
		sub := builder{d: d, args: b.args}
		sub.one("term", s.drive)
		sub.names("name", s)
		b.args = sub.args
		b.WriteString("(SELECT DISTINCT name FROM entry WHERE " + strings.Join(sub.where, " AND ") + ") d")
	case len(s.keys) > 0 && !s.sorted:
		b.WriteString("entry d")
		keys[0] = "d.term"
		s.startAtKey(b)
	default:
		b.WriteString("object o")
		name = "o.name"
		b.and("o.kind = %s", b.arg(s.kind))
	}
	if name == "d.name" && s.objects(columns) {
		fmt.Fprintf(b, " "+d.Join, name, b.arg(s.kind))
	}
	if s.drive == nil || s.drive.equal() {
		b.names(name, s)
	}
	for i := range s.conds {
		b.has(name, &s.conds[i])
	}
	if columns != ColumnsCount {
		for i := range keys {
			if k := &s.keys[i]; keys[i] == "" {
				keys[i] = b.firstTerm(k.from, k.to)
				if k.narrowed() {
					b.within(keys[i], &k.span)
				}
			}
		}
		s.resume(b, append(keys, name))
	}
	if len(b.where) > 0 {
		b.WriteString(" WHERE " + strings.Join(b.where, " AND "))
	}
	if columns != ColumnsCount {
		s.order(b, append(keys, name))
	}
	return Query{b.String(), b.args}
}

// narrowed is whether a condition bounds a key.
func (k *key) narrowed() bool {
	return k.span.fromOpen || k.span.toClosed || !bytes.Equal(k.span.from, k.from) || !bytes.Equal(k.span.to, k.to)
}

// startAtKey bounds the entries of the first key, also by where the scan
// begins.
func (s *scan) startAtKey(b *builder) {
	k := &s.keys[0]
	is := k.span
	if s.after != nil {
		at := append(k.from[:len(k.from):len(k.from)], s.after.Values[0]...)
		if k.desc {
			is.narrow(&span{from: k.from, to: at, toClosed: true})
		} else {
			is.narrow(&span{from: at, to: k.to})
		}
	}
	b.within("d.term", &is)
}

// resume adds that a record is after where the scan begins, by the expressions
// of the keys and of the name.
func (s *scan) resume(b *builder, exprs []string) {
	if s.after == nil || len(s.keys) == 0 {
		return // it is a bound of the names
	}
	places, descs, same := make([]string, len(exprs)), make([]bool, len(exprs)), true
	for i := range s.keys {
		k := &s.keys[i]
		places[i] = b.arg(append(k.from[:len(k.from):len(k.from)], s.after.Values[i]...))
		descs[i] = k.desc
		same = same && k.desc == s.reverse
	}
	n := len(exprs) - 1
	places[n], descs[n] = b.name(string(s.after.Name)), s.reverse
	op := map[bool]string{false: ">", true: "<"}
	if same {
		b.and("(%s) %s (%s)", strings.Join(exprs, ", "), op[s.reverse], strings.Join(places, ", "))
		return
	}
	text := fmt.Sprintf("%s %s %s", exprs[n], op[descs[n]], places[n])
	for i := n - 1; i >= 0; i-- {
		text = fmt.Sprintf("(%[1]s %[3]s %[2]s OR %[1]s = %[2]s AND %[4]s)", exprs[i], places[i], op[descs[i]], text)
	}
	b.and("%s", text)
}

// order adds the order and the limit.
func (s *scan) order(b *builder, exprs []string) {
	dir := map[bool]string{false: "", true: " DESC"}
	for i := range s.keys {
		exprs[i] += dir[s.keys[i].desc]
	}
	exprs[len(exprs)-1] += dir[s.reverse]
	b.WriteString(" ORDER BY " + strings.Join(exprs, ", "))
	if s.limit > 0 {
		b.WriteString(" LIMIT " + b.arg(int64(s.limit)))
	}
}

// probes is the statement that counts, up to a bound, the entries of each
// condition and, if it is bounded by names, the objects.
func (s *scan) probes(d Dialect, bounded bool) Query {
	b := &builder{d: d}
	limit := b.arg(int64(d.Few))
	for i := range s.conds {
		sub := builder{d: d, args: b.args}
		sub.one("term", &s.conds[i])
		if s.conds[i].equal() {
			sub.names("name", s)
		}
		b.args = sub.args
		b.where = append(b.where, fmt.Sprintf("(SELECT count(*) FROM (SELECT 1 FROM entry WHERE %s LIMIT %s) x)", strings.Join(sub.where, " AND "), limit))
	}
	if !bounded {
		b.where = append(b.where, limit)
	} else {
		sub := builder{d: d, args: b.args}
		sub.and("kind = %s", sub.arg(s.kind))
		sub.names("name", s)
		b.args = sub.args
		b.where = append(b.where, fmt.Sprintf("(SELECT count(*) FROM (SELECT 1 FROM object WHERE %s LIMIT %s) x)", strings.Join(sub.where, " AND "), limit))
	}
	return Query{"SELECT " + strings.Join(b.where, ", "), b.args}
}
