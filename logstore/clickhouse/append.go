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

// columns are those of the table, in the order in which they are written.
var columns = []struct {
	name, typ string
	// of is the entry's value, which is not used after the next call.
	of func(e *logstore.Entry, labels *ordered) any
}{
	{"Project", "LowCardinality(String)", func(e *logstore.Entry, _ *ordered) any { return e.Project }},
	{"Bucket", "LowCardinality(String)", func(e *logstore.Entry, _ *ordered) any { return e.Bucket }},
	{"Log", "LowCardinality(String)", func(e *logstore.Entry, _ *ordered) any { return e.Log }},
	{"Time", "DateTime64(9, 'UTC')", func(e *logstore.Entry, _ *ordered) any { return e.Time }},
	{"InsertId", "String", func(e *logstore.Entry, _ *ordered) any { return e.InsertID }},
	{"Received", "DateTime64(9, 'UTC')", func(e *logstore.Entry, _ *ordered) any { return e.Received }},
	{"Severity", "UInt16", func(e *logstore.Entry, _ *ordered) any { return uint16(e.Severity) }},
	{"ResourceType", "LowCardinality(String)", func(e *logstore.Entry, _ *ordered) any { return e.ResourceType }},
	{"ResourceLabels", "Map(LowCardinality(String), String)", func(e *logstore.Entry, labels *ordered) any { return labels.of(e.ResourceLabels) }},
	{"Labels", "Map(LowCardinality(String), String)", func(e *logstore.Entry, labels *ordered) any { return labels.of(e.Labels) }},
	{"Trace", "String", func(e *logstore.Entry, _ *ordered) any { return e.Trace }},
	{"SpanId", "String", func(e *logstore.Entry, _ *ordered) any { return e.SpanID }},
	{"TraceSampled", "Bool", func(e *logstore.Entry, _ *ordered) any { return e.TraceSampled }},
	{"Kind", "UInt8", func(e *logstore.Entry, _ *ordered) any { return uint8(e.Payload.Kind) }},
	{"TypeUrl", "LowCardinality(String)", func(e *logstore.Entry, _ *ordered) any { return e.Payload.TypeURL }},
	{"Data", "String", func(e *logstore.Entry, _ *ordered) any { return e.Payload.Data }},
	{"Wire", "String", func(e *logstore.Entry, _ *ordered) any { return e.Payload.Wire }},
	{"Extra", "String", func(e *logstore.Entry, _ *ordered) any { return e.Extra }},
	{"Origin", "LowCardinality(String)", func(e *logstore.Entry, _ *ordered) any { return e.Origin }},
	{"Rank", "UInt64", func(e *logstore.Entry, _ *ordered) any { return ^e.Seq }},
	// Those from here on are only looked at by queries.
	{"Slot", "UInt32", func(e *logstore.Entry, _ *ordered) any { return slot(e.Time) }},
	{"Words", "String", func(e *logstore.Entry, _ *ordered) any { return wordsOf(e) }},
	{"Size", "UInt32", func(e *logstore.Entry, _ *ordered) any { return uint32(e.Size()) }},
}

// read are the names of the columns that an entry is made of.
var read = names()[:len(columns)-3]

// insert names every column, so that it works on a table that has more of them
// since a newer version was here.
var insert = "INSERT INTO entries (" + strings.Join(names(), ", ") + ")"

// names are the names of the columns.
func names() []string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.name
	}
	return list
}

// types are the columns with their types, which HTTP would otherwise ask for each
// time.
var types = func() []clickhouse.ColumnNameAndType {
	list := make([]clickhouse.ColumnNameAndType, len(columns))
	for i, c := range columns {
		list[i] = clickhouse.ColumnNameAndType{Name: c.name, Type: c.typ}
	}
	return list
}()

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
	ctx = clickhouse.Context(ctx, clickhouse.WithColumnNamesAndTypes(types), clickhouse.WithoutProfileEvents(), clickhouse.WithSettings(clickhouse.Settings{
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

// fill puts entries into a batch, column by column.
func fill(batch driver.Batch, entries []logstore.Entry) error {
	var labels ordered
	for i, c := range columns {
		column := batch.Column(i)
		for j := range entries {
			if err := column.AppendRow(c.of(&entries[j], &labels)); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
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
