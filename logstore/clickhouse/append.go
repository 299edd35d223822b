package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// columns are those of the table, with their types, which HTTP would otherwise
// ask for each time.
var columns = []clickhouse.ColumnNameAndType{
	{Name: "Project", Type: "LowCardinality(String)"},
	{Name: "Bucket", Type: "LowCardinality(String)"},
	{Name: "Log", Type: "LowCardinality(String)"},
	{Name: "Time", Type: "DateTime64(9, 'UTC')"},
	{Name: "InsertId", Type: "String"},
	{Name: "Received", Type: "DateTime64(9, 'UTC')"},
	{Name: "Severity", Type: "UInt16"},
	{Name: "ResourceType", Type: "LowCardinality(String)"},
	{Name: "ResourceLabels", Type: "Map(LowCardinality(String), String)"},
	{Name: "Labels", Type: "Map(LowCardinality(String), String)"},
	{Name: "Trace", Type: "String"},
	{Name: "SpanId", Type: "String"},
	{Name: "TraceSampled", Type: "Bool"},
	{Name: "Kind", Type: "UInt8"},
	{Name: "TypeUrl", Type: "LowCardinality(String)"},
	{Name: "Data", Type: "String"},
	{Name: "Wire", Type: "String"},
	{Name: "Extra", Type: "String"},
	{Name: "Origin", Type: "LowCardinality(String)"},
	{Name: "Rank", Type: "UInt64"},
	{Name: "Slot", Type: "UInt32"},
	{Name: "Words", Type: "String"},
	{Name: "Size", Type: "UInt32"},
}

// read are the names of the columns that an entry is made of: all but the last
// three.
var read = names(columns[:len(columns)-3])

// insert names every column, so that it works on a table that has more of them
// since a newer version was here.
var insert = "INSERT INTO entries (" + strings.Join(names(columns), ", ") + ")"

// names are the names of columns.
func names(of []clickhouse.ColumnNameAndType) []string {
	list := make([]string, len(of))
	for i, c := range of {
		list[i] = c.Name
	}
	return list
}

// Append implements logstore.Writer. The entries are one insert, which the
// server does as a whole for each day in it.
func (s *Store) Append(ctx context.Context, entries []logstore.Entry) error {
	const op = "logstore/clickhouse.Append"
	if len(entries) == 0 {
		return nil
	}
	// async_insert would have the server gather small inserts, and answer
	// before they are on disk or after its own delay. Entries come gathered:
	// what acknowledges them keeps a journal.
	ctx = clickhouse.Context(ctx, clickhouse.WithColumnNamesAndTypes(columns), clickhouse.WithoutProfileEvents(), clickhouse.WithSettings(clickhouse.Settings{
		"async_insert": 0,
		// Entries of devices that were away for months come at once.
		"max_partitions_per_insert_block": 0,
		// What comes twice is found when parts are merged, and by reads.
		"optimize_on_insert": 0,
	}))
	s.mu.Lock()
	if s.unsynced.IsZero() {
		s.unsynced = time.Now()
	}
	s.mu.Unlock()
	batch, err := s.conn.PrepareBatch(ctx, insert)
	if err != nil {
		return failed(op, err)
	}
	defer func() { _ = batch.Close() }() // of a batch that was sent it does nothing
	if err := fill(batch, entries); err != nil {
		return failed(op, fmt.Errorf("encoding entries: %w", err))
	}
	return failed(op, batch.Send())
}

// fill puts entries into a batch, column by column: that is a third faster than
// row by row.
func fill(batch driver.Batch, entries []logstore.Entry) error {
	var labels ordered
	text := make([]string, len(entries))
	for i := range columns {
		c, err := batch.Column(i), error(nil)
		each := func(v func(e *logstore.Entry) any) {
			for j := range entries {
				if err == nil {
					err = c.AppendRow(v(&entries[j]))
				}
			}
		}
		texts := func(v func(e *logstore.Entry) string) {
			for j := range entries {
				text[j] = v(&entries[j])
			}
			err = c.Append(text)
		}
		switch columns[i].Name {
		case "Project":
			each(func(e *logstore.Entry) any { return e.Project })
		case "Bucket":
			each(func(e *logstore.Entry) any { return e.Bucket })
		case "Log":
			each(func(e *logstore.Entry) any { return e.Log })
		case "Time":
			each(func(e *logstore.Entry) any { return e.Time })
		case "InsertId":
			texts(func(e *logstore.Entry) string { return e.InsertID })
		case "Received":
			each(func(e *logstore.Entry) any { return e.Received })
		case "Severity":
			each(func(e *logstore.Entry) any { return uint16(e.Severity) })
		case "ResourceType":
			each(func(e *logstore.Entry) any { return e.ResourceType })
		case "ResourceLabels":
			each(func(e *logstore.Entry) any { return labels.of(e.ResourceLabels) })
		case "Labels":
			each(func(e *logstore.Entry) any { return labels.of(e.Labels) })
		case "Trace":
			texts(func(e *logstore.Entry) string { return e.Trace })
		case "SpanId":
			texts(func(e *logstore.Entry) string { return e.SpanID })
		case "TraceSampled":
			each(func(e *logstore.Entry) any { return e.TraceSampled })
		case "Kind":
			each(func(e *logstore.Entry) any { return uint8(e.Payload.Kind) })
		case "TypeUrl":
			each(func(e *logstore.Entry) any { return e.Payload.TypeURL })
		case "Data":
			each(func(e *logstore.Entry) any { return e.Payload.Data })
		case "Wire":
			each(func(e *logstore.Entry) any { return e.Payload.Wire })
		case "Extra":
			each(func(e *logstore.Entry) any { return e.Extra })
		case "Origin":
			each(func(e *logstore.Entry) any { return e.Origin })
		case "Rank":
			each(func(e *logstore.Entry) any { return ^e.Seq })
		case "Words":
			texts(wordsOf)
		case "Size":
			each(func(e *logstore.Entry) any { return uint32(e.Size()) })
		case "Slot":
			each(func(e *logstore.Entry) any { return slot(e.Time) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// slotWidth is how long a slot is.
const slotWidth = 5 * time.Minute

// slot is the number of the five minutes since 1970 that a time is in.
func slot(t time.Time) uint32 { return uint32(t.Unix() / int64(slotWidth/time.Second)) }

// ordered gives a map's pairs by their keys: equal maps are then equal bytes,
// which compress well. It is the map and its iterator.
type ordered struct {
	// pairs are the map, keys its keys, the next of which is at.
	pairs map[string]string
	keys  []string
	at    int
}

var (
	_ column.IterableOrderedMap = (*ordered)(nil)
	_ column.MapIterator        = (*ordered)(nil)
)

// of begins with another map.
func (o *ordered) of(m map[string]string) *ordered {
	o.pairs, o.keys, o.at = m, o.keys[:0], -1
	for k := range m {
		o.keys = append(o.keys, k)
	}
	slices.Sort(o.keys)
	return o
}

// Put implements column.IterableOrderedMap.
func (o *ordered) Put(any, any) { panic("BUG: labels are only written with it") }

// Iterator implements column.IterableOrderedMap.
func (o *ordered) Iterator() column.MapIterator { return o }

// Next implements column.MapIterator.
func (o *ordered) Next() bool { o.at++; return o.at < len(o.keys) }

// Key implements column.MapIterator.
func (o *ordered) Key() any { return o.keys[o.at] }

// Value implements column.MapIterator.
func (o *ordered) Value() any { return o.pairs[o.keys[o.at]] }

// Sync implements logstore.Writer: it has the server's system write all files,
// which costs less than if each insert did, since a part of the table has
// dozens. A server that was started after the entries were appended may have
// lost them with its machine, so that is an error.
func (s *Store) Sync(ctx context.Context) error {
	const op = "logstore/clickhouse.Sync"
	s.mu.Lock()
	first := s.unsynced
	s.unsynced = time.Time{}
	s.mu.Unlock()
	if first.IsZero() {
		return nil
	}
	err := s.conn.Exec(ctx, "SYSTEM SYNC FILE CACHE")
	var up uint32
	if err == nil {
		err = s.conn.QueryRow(ctx, "SELECT uptime()").Scan(&up)
	}
	if err == nil && time.Since(first) > time.Duration(up)*time.Second+restart {
		return &fault.Error{Op: op, Kind: fault.Unavailable, Reason: "RESTARTED", Err: errors.New("ClickHouse was started anew: what it was given before may be lost")}
	}
	if err != nil {
		s.mu.Lock()
		s.unsynced = first // nothing came of it
		s.mu.Unlock()
	}
	return failed(op, err)
}

// restart is less than a machine needs to start again after it has lost what it
// had in memory. The server knows how long it is up in seconds.
const restart = 2 * time.Second

// Since implements logstore.Writer.
func (s *Store) Since(ctx context.Context, origin string, seq uint64) ([]uint64, error) {
	const op = "logstore/clickhouse.Since"
	var a arguments
	query := "SELECT DISTINCT Rank FROM entries WHERE Origin = " + a.text(origin) + " AND Rank <= " + a.number(^seq) + " ORDER BY Rank DESC"
	ctx, cancel := context.WithTimeout(ctx, sinceTime)
	defer cancel()
	rows, err := s.conn.Query(ctx, query, a...)
	if err != nil {
		return nil, failed(op, err)
	}
	defer func() { _ = rows.Close() }()
	var found []uint64
	for rows.Next() {
		var n uint64
		if err := rows.Scan(&n); err != nil {
			return nil, failed(op, err)
		}
		found = append(found, ^n)
	}
	return found, failed(op, rows.Err())
}

// sinceTime is how long Since may take: it is asked once after a crash, and
// what it does not find is kept twice.
const sinceTime = 5 * time.Minute
