package clickhouse

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// Count implements logstore.Reader. The server counts if it knows the filter and
// the fields; else entries are read and counted here.
func (s *Store) Count(ctx context.Context, c logstore.Counting) ([]logstore.Group, error) {
	const op = "logstore/clickhouse.Count"
	counter, err := logstore.NewCounter(c)
	if err != nil {
		return nil, err
	}
	c.Selection = c.Narrow()
	ctx, cancel := s.reading(ctx)
	defer cancel()
	count := func(plain bool) error {
		var a arguments
		where := s.condition(&a, &c.Selection, plain)
		by, columns, ok := groups(&a, c.By)
		if where.exact && ok {
			return s.countRows(ctx, &counting{c, counter, where.sql, by, columns, a})
		}
		return s.countEntries(ctx, &counting{c, counter, where.sql, nil, needed(&c), a})
	}
	err = count(false)
	if codeOf(err) == badExpression {
		err = count(true)
	}
	if err != nil {
		return nil, failed(op, cause(ctx, err))
	}
	return counter.Groups(), nil
}

// counting is a Count under way.
type counting struct {
	logstore.Counting
	counter *logstore.Counter
	// where is the condition.
	where string
	// by are the expressions to group by, columns those of row to read.
	by, columns []string
	arguments   arguments
}

// bar is the expression that rows of one bar have in common, and how many
// nanoseconds one of it is.
func bar(interval time.Duration) (string, int64) {
	switch {
	case interval == 0:
		return "0", 0
	case interval%slotWidth == 0: // a column that is smaller
		return "intDiv(Slot, " + strconv.FormatInt(int64(interval/slotWidth), 10) + ")", int64(interval)
	default:
		return "intDiv(toUnixTimestamp64Nano(Time), " + strconv.FormatInt(int64(interval), 10) + ")", int64(interval)
	}
}

// countRows has the server count.
func (s *Store) countRows(ctx context.Context, c *counting) error {
	bar, width := bar(c.Interval)
	query := "SELECT toInt64(" + strings.Join(append([]string{bar + " AS bar)", "toInt64(count())"}, c.by...), ", ") + " FROM " + s.table(c.Buckets) + " WHERE " + c.where + " GROUP BY bar"
	var start int64
	g := logstore.Group{Values: make([]string, len(c.By))}
	to := []any{&start, &g.Entries}
	values := make([]row, len(c.By)) // of one column each, since two may be of the same
	for i, column := range c.columns {
		values[i].project = c.Project
		to = append(to, values[i].field(column))
		query += ", by" + strconv.Itoa(i)
	}
	rows, err := s.conn.Query(ctx, query, c.arguments...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return err
		}
		if c.Interval > 0 {
			g.Start = time.Unix(0, start*width).UTC()
		}
		for i, path := range c.By {
			if c.columns[i] == "Severity" {
				g.Values[i] = logstore.Severity(values[i].severity).String()
				continue
			}
			e := values[i].entry()
			g.Values[i], _ = logstore.Field(&e, path)
		}
		if err := c.counter.AddGroup(g); err != nil {
			return err
		}
	}
	return rows.Err()
}

// groups are the expressions by which rows are grouped for fields, each AS byI,
// and the columns of row that they are read as, so that logstore.Field gives
// the same of them as of the entry. It is false if the server cannot.
func groups(a *arguments, by [][]string) (expressions, columns []string, ok bool) {
	for i, path := range by {
		path, _, err := filter.Field(path)
		if err != nil {
			return nil, nil, false
		}
		column := grouped[strings.Join(path[:min(len(path), 2)], ".")]
		expression := column
		switch {
		case path[0] == "labels":
			column = "Labels"
			expression = only(a, column, path[1])
		case column == "ResourceLabels":
			expression = only(a, column, path[2])
		case column == "":
			return nil, nil, false
		}
		columns = append(columns, column)
		expressions = append(expressions, expression+" AS by"+strconv.Itoa(i))
	}
	return expressions, columns, true
}

// grouped are the columns that hold a field as it is.
var grouped = map[string]string{
	"severity": "Severity", "logName": "Log", "insertId": "InsertId", "trace": "Trace", "spanId": "SpanId",
	"resource.type": "ResourceType", "resource.labels": "ResourceLabels",
}

// only is a map with no more than one key.
func only(a *arguments, column, key string) string {
	k := a.text(key)
	return "if(mapContains(" + column + ", " + k + "), map(toString(" + k + "), " + column + "[" + k + "]), map())"
}

// countEntries counts the entries that the filter selects among the rows.
func (s *Store) countEntries(ctx context.Context, c *counting) error {
	matcher, err := logstore.Compile(c.Filter)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := s.conn.Query(ctx, "SELECT "+strings.Join(c.columns, ", ")+" FROM "+s.table(c.Buckets)+" WHERE "+c.where+order(false), c.arguments...)
	if err != nil {
		return err
	}
	var last logstore.Position
	var r row
	to := r.fields(c.columns)
	for rows.Next() {
		if err = rows.Scan(to...); err != nil {
			break
		}
		e := r.entry()
		if at := e.Position(); at.Compare(last) == 0 {
			continue
		} else if last = at; !matcher.Match(&e) {
			continue
		}
		if err = c.counter.Add(&e); err != nil {
			break
		}
	}
	if err != nil {
		cancel() // Close would read the rest
	}
	return errors.Join(err, rows.Close(), rows.Err())
}

// needed are the columns that a counting looks at.
func needed(c *logstore.Counting) []string {
	list := []string{"Project", "Bucket", "Log", "Time", "InsertId"}
	add := func(path []string) {
		path, _, err := filter.Field(path)
		if err != nil {
			return
		}
		more, ok := looked[path[0]]
		if !ok {
			more = []string{"Extra"}
		}
		for _, column := range more {
			if !slices.Contains(list, column) {
				list = append(list, column)
			}
		}
	}
	for _, path := range c.By {
		add(path)
	}
	var walk func(f filter.Expr)
	walk = func(f filter.Expr) {
		switch f := f.(type) {
		case *filter.And:
			for _, t := range f.Terms {
				walk(t)
			}
		case *filter.Or:
			for _, t := range f.Terms {
				walk(t)
			}
		case *filter.Not:
			walk(f.Term)
		case *filter.Comparison:
			add(f.Path)
		case *filter.Call:
			if len(f.Path) > 0 {
				add(f.Path)
				return
			}
			everywhere(add)
		case *filter.Text:
			everywhere(add)
		}
	}
	walk(c.Filter)
	return list
}

// everywhere adds all that a text is looked for in.
func everywhere(add func(path []string)) {
	for _, name := range []string{"textPayload", "labels", "resource", "trace", "spanId", "httpRequest"} {
		add([]string{name})
	}
}

// looked are the columns of fields; those of others are in Extra.
var looked = map[string][]string{
	"logName": nil, "timestamp": nil, "insertId": nil,
	"severity": {"Severity"}, "receiveTimestamp": {"Received"}, "trace": {"Trace"}, "spanId": {"SpanId"}, "traceSampled": {"TraceSampled"},
	"labels": {"Labels"}, "resource": {"ResourceType", "ResourceLabels"},
	"textPayload": {"Kind", "TypeUrl", "Data"}, "jsonPayload": {"Kind", "TypeUrl", "Data"}, "protoPayload": {"Kind", "TypeUrl", "Data"},
}
