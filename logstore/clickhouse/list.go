package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"selvedge.dev/logstore"
)

// List implements logstore.Reader.
func (s *Store) List(ctx context.Context, q logstore.Query) ([]logstore.Entry, error) {
	const op = "logstore/clickhouse.List"
	if err := q.Check(); err != nil {
		return nil, err
	}
	matcher, err := logstore.Compile(q.Filter)
	if err != nil {
		return nil, err
	}
	q.Selection = q.Narrow()
	ctx, cancel := s.reading(ctx)
	defer cancel()
	l := lister{query: q, matcher: matcher, after: q.After, page: q.Limit}
	l.window.begin(&q)
	for !l.full() {
		l.read = 0
		err := s.rows(ctx, &l)
		switch {
		case codeOf(err) == memoryExceeded && l.page > 16:
			l.page /= 8 // large entries
		case codeOf(err) == badExpression && !l.plain:
			l.plain = true
		case err != nil:
			return nil, failed(op, cause(ctx, err))
		case l.read == l.page && !l.exact:
			// Many rows are not what the filter selects: more are asked for.
			l.page = min(l.page*4, logstore.MaxLimit)
		case l.read == l.page:
		case !l.window.next(l.indexed):
			return l.found, nil
		}
	}
	return l.found, nil
}

// lister is a List under way.
type lister struct {
	// query is what is asked, after the position of the last row that was read.
	query logstore.Query
	after logstore.Position
	// matcher is the query's filter.
	matcher *logstore.Matcher
	// plain says that the server cannot read the regular expressions.
	plain bool
	// condition is the one of the last rows.
	condition
	// window is where is looked, page how many rows are asked for at once, and
	// read how many came.
	window     window
	page, read int
	// found are the entries, of size bytes.
	found []logstore.Entry
	size  int
}

// full reports whether there is enough, or as much as is given.
func (l *lister) full() bool { return len(l.found) == l.query.Limit || l.size > logstore.MaxPage }

// rows reads the next rows, a page of them at most.
func (s *Store) rows(ctx context.Context, l *lister) error {
	var a arguments
	query := s.statement(&a, l)
	settings := s.budget()
	// Rows in the table's order would be read by one thread, and compared with
	// each other by five columns; windows make it read no more.
	settings["optimize_read_in_order"] = 0
	if s.modern && l.indexed {
		// It keeps the server from finding rows by the text index alone.
		settings["use_top_k_dynamic_filtering"] = 0
	}
	ctx, cancel := context.WithCancel(clickhouse.Context(ctx, clickhouse.WithSettings(settings)))
	defer cancel()
	rows, err := s.conn.Query(ctx, query, a...)
	if err != nil {
		return err
	}
	var r row
	to := r.fields(read)
	for !l.full() && rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return errors.Join(fmt.Errorf("reading an entry: %w", err), rows.Close())
		}
		l.read++
		l.add(r.entry())
	}
	if l.size > logstore.MaxPage {
		cancel() // Close would read the rest, which costs more than a connection
		_ = rows.Close()
		return nil
	}
	return errors.Join(rows.Close(), rows.Err())
}

// statement asks for the next rows.
func (s *Store) statement(a *arguments, l *lister) string {
	l.condition = s.condition(a, &l.query.Selection, l.plain)
	where := append([]string{l.sql}, beyond(a, &l.query, l.after)...)
	where = append(where, l.window.conditions()...)
	return "SELECT " + strings.Join(read, ", ") + " FROM " + s.table(l.query.Buckets) + " WHERE " + strings.Join(where, " AND ") +
		order(l.query.Descending) + " LIMIT " + strconv.Itoa(l.page)
}

// add takes the next row's entry.
func (l *lister) add(e logstore.Entry) {
	at := e.Position()
	if at.Compare(l.after) == 0 {
		return // the same entry once more
	}
	if !l.exact && !l.matcher.Match(&e) {
		l.after = at
		return
	}
	l.size += e.Size()
	if len(l.found) > 0 && l.size > logstore.MaxPage {
		return
	}
	l.after, l.found = at, append(l.found, e)
}

// order is the order of Position. The five minutes come first, as in the table's
// order: rows are then read in that order, and no more of them than needed.
func order(descending bool) string {
	direction := ""
	if descending {
		direction = " DESC"
	}
	return " ORDER BY " + strings.Join([]string{"Slot", "Time", "InsertId", "Log", "Bucket"}, direction+", ") + direction
}

// beyond are the conditions of the rows after a position.
func beyond(a *arguments, q *logstore.Query, p logstore.Position) []string {
	if p.IsZero() {
		return nil
	}
	op := ">"
	if q.Descending {
		op = "<"
	}
	return []string{
		"Slot " + op + "= " + strconv.Itoa(int(slot(p.Time))), // which the index is used for
		"(Time, InsertId, Log, Bucket) " + op + " (" + strings.Join([]string{instant(p.Time), a.text(p.InsertID), a.text(p.Log), a.text(p.Bucket)}, ", ") + ")",
	}
}

// condition is what the entries of a selection fulfil.
type condition struct {
	predicate
	// indexed says that an index knows a part of it.
	indexed bool
}

// condition compiles a selection. plain leaves regular expressions out.
func (s *Store) condition(a *arguments, sel *logstore.Selection, plain bool) condition {
	where := []string{"Project = " + a.text(sel.Project)}
	if sel.Buckets != nil {
		buckets := []predicate{never}
		for _, b := range sel.Buckets {
			buckets = append(buckets, is("Bucket = "+a.text(b)))
		}
		where = append(where, anyOf(buckets...).sql)
	}
	where = append(where, since(sel.From)...)
	where = append(where, until(sel.To)...)
	p, c := always, compiler{arguments: a, project: sel.Project, plain: plain, joint: s.joint}
	if sel.Filter != nil {
		p = c.expr(sel.Filter)
	}
	if p.sql != always.sql {
		where = append(where, p.sql)
	}
	return condition{predicate{strings.Join(where, " AND "), p.exact}, c.indexed}
}

// since are the conditions of the times from t on; zero is all of them.
func since(t time.Time) []string {
	switch outside(t) {
	case -1:
		return nil
	case 1:
		return []string{never.sql}
	}
	all := []string{"Slot >= " + strconv.Itoa(int(slot(t)))}
	if !t.Equal(t.Truncate(slotWidth)) {
		all = append(all, "Time >= "+instant(t))
	}
	return all
}

// until are the conditions of the times before t; zero is all of them.
func until(t time.Time) []string {
	switch outside(t) {
	case 1:
		return nil
	case -1:
		if t.IsZero() {
			return nil
		}
		return []string{never.sql}
	}
	if t.Equal(t.Truncate(slotWidth)) {
		return []string{"Slot < " + strconv.Itoa(int(slot(t)))}
	}
	return []string{"Slot <= " + strconv.Itoa(int(slot(t))), "Time < " + instant(t)}
}

// row is a row of the table as it is read.
type row struct {
	project, bucket, log, insertID, resourceType string
	trace, spanID, typeURL, origin               string
	time, received                               time.Time
	severity                                     uint16
	resourceLabels, labels                       map[string]string
	sampled                                      bool
	kind                                         uint8
	data, wire, extra                            []byte
	rank                                         uint64
}

// fields are where columns go.
func (r *row) fields(columns []string) []any {
	to := make([]any, len(columns))
	for i, name := range columns {
		to[i] = r.field(name)
	}
	return to
}

// field is where a column goes.
func (r *row) field(name string) any {
	to := map[string]any{
		"Project": &r.project, "Bucket": &r.bucket, "Log": &r.log, "Time": &r.time, "InsertId": &r.insertID, "Received": &r.received,
		"Severity": &r.severity, "ResourceType": &r.resourceType, "ResourceLabels": &r.resourceLabels, "Labels": &r.labels,
		"Trace": &r.trace, "SpanId": &r.spanID, "TraceSampled": &r.sampled, "Kind": &r.kind, "TypeUrl": &r.typeURL,
		"Data": &r.data, "Wire": &r.wire, "Extra": &r.extra, "Origin": &r.origin, "Rank": &r.rank,
	}[name]
	if to == nil {
		panic("BUG: no column " + name)
	}
	return to
}

// entry is the entry of a row. What is empty is nil.
func (r *row) entry() logstore.Entry {
	e := logstore.Entry{
		Project: r.project, Bucket: r.bucket, Log: r.log, Time: r.time.UTC(), Received: r.received.UTC(), InsertID: r.insertID,
		Severity: logstore.Severity(r.severity), ResourceType: r.resourceType, Trace: r.trace, SpanID: r.spanID, TraceSampled: r.sampled,
		Payload: logstore.Payload{Kind: logstore.Kind(r.kind), TypeURL: r.typeURL, Data: orNil(r.data), Wire: orNil(r.wire)},
		Extra:   orNil(r.extra), Origin: r.origin, Seq: ^r.rank,
	}
	if len(r.resourceLabels) > 0 {
		e.ResourceLabels = r.resourceLabels
	}
	if len(r.labels) > 0 {
		e.Labels = r.labels
	}
	return e
}

// orNil is b, or nil if it is empty.
func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
