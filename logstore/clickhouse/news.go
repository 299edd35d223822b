package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"selvedge.dev/logstore"
)

var _ logstore.Sharing = (*Store)(nil)

// Marks implements logstore.Sharing.
func (s *Store) Marks(ctx context.Context, project string, from time.Time) (logstore.Marks, error) {
	const op = "logstore/clickhouse.Marks"
	ctx, cancel := s.reading(ctx)
	defer cancel()
	var a arguments
	where := append([]string{"Project = " + a.text(project)}, since(from)...)
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(s.budget()))
	rows, err := s.conn.Query(ctx, "SELECT Origin, min(Rank) FROM entries WHERE "+strings.Join(where, " AND ")+" GROUP BY Origin", a...)
	if err != nil {
		return nil, failed(op, cause(ctx, err))
	}
	marks := logstore.Marks{}
	for rows.Next() {
		var origin string
		var rank uint64
		if err := rows.Scan(&origin, &rank); err != nil {
			return nil, failed(op, errors.Join(err, rows.Close()))
		}
		marks[origin] = ^rank
	}
	return marks, failed(op, errors.Join(rows.Close(), rows.Err()))
}

// News implements logstore.Sharing.
func (s *Store) News(ctx context.Context, asked logstore.Asked) (logstore.News, error) {
	const op = "logstore/clickhouse.News"
	matcher, err := logstore.Compile(asked.Filter)
	if err != nil {
		return logstore.News{}, err
	}
	asked.Selection = asked.Narrow()
	ctx, cancel := s.reading(ctx)
	defer cancel()
	news, err := s.news(ctx, &asked, matcher, false)
	if codeOf(err) == badExpression {
		news, err = s.news(ctx, &asked, matcher, true)
	}
	return news, failed(op, cause(ctx, err))
}

// news is News. plain leaves regular expressions out, which the server cannot read.
func (s *Store) news(ctx context.Context, asked *logstore.Asked, matcher *logstore.Matcher, plain bool) (logstore.News, error) {
	news, of := logstore.News{Seen: logstore.Marks{}}, map[string]int{}
	var a arguments
	c := s.condition(&a, &asked.Selection, plain)
	origins := slices.Sorted(maps.Keys(asked.Beyond))
	others := []string{"Origin != " + a.text(asked.Own)}
	var beyond []string
	for _, o := range origins {
		name := a.text(o)
		others = append(others, "Origin != "+name)
		if o != asked.Own {
			beyond = append(beyond, "Origin = "+name+" AND Rank < "+a.number(^asked.Beyond[o]))
		}
	}
	beyond = append(beyond, strings.Join(others, " AND "))
	query := "SELECT " + strings.Join(read, ", ") + " FROM entries WHERE " + c.sql + " AND (" + strings.Join(beyond, " OR ") +
		") ORDER BY Origin, Rank DESC LIMIT " + strconv.Itoa(asked.Limit) + " BY Origin"
	ctx, cancel := context.WithCancel(clickhouse.Context(ctx, clickhouse.WithSettings(s.budget())))
	defer cancel()
	rows, err := s.conn.Query(ctx, query, a...)
	if err != nil {
		return news, err
	}
	var r row
	to := r.fields(read)
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return news, errors.Join(fmt.Errorf("reading an entry: %w", err), rows.Close())
		}
		e := r.entry()
		news.Looked, news.Size = news.Looked+1, news.Size+e.Size()
		of[e.Origin]++
		news.More = news.More || of[e.Origin] == asked.Limit
		news.Seen[e.Origin] = max(news.Seen[e.Origin], e.Seq)
		if c.exact || matcher.Match(&e) {
			news.Entries = append(news.Entries, e)
		}
		if news.Size > logstore.MaxPage {
			news.More = true
			cancel() // as for a page
			_ = rows.Close()
			sortNews(&news)
			return news, nil
		}
	}
	sortNews(&news)
	return news, errors.Join(rows.Close(), rows.Err())
}

// sortNews puts the entries in the order in which they were taken in.
func sortNews(news *logstore.News) {
	slices.SortStableFunc(news.Entries, func(a, b logstore.Entry) int { return a.Received.Compare(b.Received) })
}
