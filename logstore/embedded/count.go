package embedded

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// The columns of a count. No row has columnNone.
const (
	columnTime    = "_time"
	columnEntries = "entries"
	columnNone    = "none"
)

// Count implements logstore.Reader. What the engine can tell exactly, counted by
// time and by fields that are columns, is counted by the engine.
func (s *Store) Count(ctx context.Context, c logstore.Counting) ([]logstore.Group, error) {
	const op = "logstore/embedded.Count"
	counter, err := logstore.NewCounter(c)
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.begin(ctx, op)
	if err != nil {
		return nil, err
	}
	defer done()
	q, err := s.prepare(c.Selection)
	if err != nil {
		return nil, failed(op, err)
	}
	if by, ok := countable(c.By); ok && q.found.exact != never {
		exact, rest := asciiStreams, noASCIIStreams
		if q.found.exact == always {
			exact, rest = columnStreams, noColumnStreams
		}
		some := q
		some.query = s.within(q.found, q.found.query, exact)
		if err := s.countExactly(ctx, counter, some, c.Interval, by); err != nil {
			return nil, failed(op, err)
		}
		q.query = s.within(q.found, q.found.orOpaque(), rest)
	}
	var mu sync.Mutex
	err = s.matching(ctx, s.newReaders(), q, func(e *logstore.Entry) error {
		mu.Lock()
		defer mu.Unlock()
		return counter.Add(e)
	})
	if err != nil {
		return nil, failed(op, err)
	}
	return counter.Groups(), nil
}

// countable gives the columns to count by, if all fields are columns that say
// all of their values.
func countable(by [][]string) ([]string, bool) {
	var columns []string
	for _, path := range by {
		canonical, typ, err := filter.Field(path)
		if err != nil {
			return nil, false
		}
		if typ == filter.Enum {
			columns = append(columns, columnSeverity)
			continue
		}
		p, ok := placeOf(canonical)
		if !ok || p.object || p.shape != "" || p.column == columnMessage {
			return nil, false
		}
		columns = append(columns, p.column)
	}
	return columns, true
}

// countExactly has the engine count the rows that a query finds.
func (s *Store) countExactly(ctx context.Context, counter *logstore.Counter, q matchingQuery, interval time.Duration, by []string) error {
	var keys []string
	if interval > 0 {
		keys = append(keys, fmt.Sprintf("%s:%dns", columnTime, interval.Nanoseconds()))
	}
	for _, column := range by {
		keys = append(keys, strconv.Quote(column))
	}
	if len(keys) == 1 && len(by) == 1 {
		// The values of a single key are taken for numbers where they can be: "_"
		// for 0, "1_0" for 10.
		keys = append(keys, columnNone)
	}
	stats := " | stats "
	if len(keys) > 0 {
		stats += "by (" + strings.Join(keys, ", ") + ") "
	}
	query := fmt.Sprintf("%s%scount() %s", q.query, stats, columnEntries)
	var mu sync.Mutex
	return s.search(ctx, q.tenants, query, q.at, func(_ uint, b *logstorage.DataBlock) error {
		mu.Lock()
		defer mu.Unlock()
		return addGroups(counter, interval > 0, by, b)
	})
}

// addGroups adds the groups of a block of a count.
func addGroups(counter *logstore.Counter, bars bool, by []string, b *logstorage.DataBlock) error {
	columns := make(map[string][]string)
	for _, column := range b.GetColumns(false) {
		columns[column.Name] = column.Values
	}
	var times []int64
	if bars {
		times, _ = b.GetTimestamps(nil)
	}
	for i, n := range columns[columnEntries] {
		g := logstore.Group{Entries: number(n), Values: make([]string, len(by))}
		if g.Entries == 0 {
			continue // of everything where there is nothing
		}
		if bars {
			g.Start = utc(times[i])
		}
		for j, column := range by {
			if values := columns[column]; values != nil {
				g.Values[j] = strings.Clone(values[i])
			}
			if column == columnSeverity {
				g.Values[j] = logstore.Severity(number(g.Values[j])).String()
			}
		}
		if err := counter.AddGroup(g); err != nil {
			return err
		}
	}
	return nil
}
