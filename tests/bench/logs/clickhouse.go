package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	ours "selvedge.dev/logstore/clickhouse"
	"selvedge.dev/logstore/clickhouse/chtest"
)

// stack is the table of logs that ClickStack's documentation has, without a TTL
// and the columns of Kubernetes, which are empty here.
//
//go:embed clickstack.sql
var stack string

// openClickHouse starts a server with a database for each.
func openClickHouse(ctx context.Context, s settings) (*pair, error) {
	server, err := chtest.At(s.server)
	if s.server == "" {
		server, err = chtest.Run()
	}
	if err != nil {
		return nil, err
	}
	// A question that was asked before shall cost as much again.
	const settings = "?use_query_condition_cache=0"
	store, err := ours.Open(ctx, ours.Options{DSN: server.Named("ours").Native + settings, Once: true})
	if err != nil {
		server.End()
		return nil, err
	}
	conn, err := connect(ctx, server.Named("system").Native+settings, "CREATE DATABASE theirs")
	if err == nil {
		_ = conn.Close()
		conn, err = connect(ctx, server.Named("theirs").Native+settings, stack)
	}
	if err != nil {
		server.End()
		return nil, err
	}
	return &pair{
		ours: store, theirs: &clickstack{conn},
		settle: func(ctx context.Context) (mine, others int64, err error) {
			for _, table := range []string{"ours.entries", "theirs.otel_logs"} {
				if err := conn.Exec(ctx, "OPTIMIZE TABLE "+table+" FINAL"); err != nil {
					return 0, 0, err
				}
			}
			err = conn.QueryRow(ctx, "SELECT toInt64(sumIf(bytes_on_disk, database = 'ours')), toInt64(sumIf(bytes_on_disk, database = 'theirs')) FROM system.parts WHERE active").Scan(&mine, &others)
			return mine, others, err
		},
		close: func() {
			_ = store.Close()
			_ = conn.Close()
			server.End()
		},
	}, nil
}

// connect connects to a database and has it do a statement.
func connect(ctx context.Context, dsn, statement string) (driver.Conn, error) {
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	options.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	conn, err := clickhouse.Open(options)
	if err != nil {
		return nil, err
	}
	return conn, conn.Exec(ctx, statement)
}

// clickstack is the server used directly.
type clickstack struct{ conn driver.Conn }

// insert implements direct, as the exporter of OpenTelemetry does it.
func (c *clickstack) insert(ctx context.Context, records []record) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := c.conn.PrepareBatch(ctx, `INSERT INTO otel_logs (Timestamp, TraceId, SpanId, TraceFlags, SeverityText, SeverityNumber, ServiceName, Body,
		ResourceSchemaUrl, ResourceAttributes, ScopeSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, LogAttributes, EventName)`)
	if err != nil {
		return err
	}
	for i := range records {
		r := &records[i]
		if err := batch.Append(r.time, r.trace, r.span, uint8(0), severityNames[r.severity], ofOTel[r.severity], r.service, r.body,
			"", r.resource, "", "", "", map[string]string{}, r.attributes, ""); err != nil {
			return err
		}
	}
	return batch.Send()
}

// ask implements direct.
func (c *clickstack) ask(ctx context.Context, q question) (int, error) {
	at := func(t time.Time) string { return fmt.Sprintf("fromUnixTimestamp64Nano(toInt64(%d))", t.UnixNano()) }
	where := []string{"Timestamp >= " + at(q.from), "Timestamp < " + at(q.to)}
	var arguments []any
	add := func(condition, value string) {
		if value != "" {
			where, arguments = append(where, condition), append(arguments, clickhouse.Named("v"+fmt.Sprint(len(arguments)), value))
		}
	}
	add("ServiceName = {v0:String}", q.service)
	add("hasToken(lower(Body), {v0:String})", q.word)
	add("positionCaseInsensitive(Body, {v0:String}) > 0", q.part)
	add("has(LogAttributeItems, concat('device.id=', {v0:String}))", q.device)
	if q.severity > 0 {
		where = append(where, fmt.Sprintf("SeverityNumber >= %d", ofOTel[q.severity]))
	}
	condition := " FROM otel_logs WHERE " + strings.Join(where, " AND ")
	if q.bars {
		return c.count(ctx, "SELECT toStartOfInterval(Timestamp, INTERVAL 5 MINUTE) AS bar, SeverityText, count()"+condition+" GROUP BY bar, SeverityText ORDER BY bar", arguments,
			new(time.Time), new(string), new(uint64))
	}
	return c.count(ctx, "SELECT Timestamp, TraceId, SpanId, TraceFlags, SeverityText, SeverityNumber, ServiceName, Body, ResourceAttributes, LogAttributes"+condition+
		" ORDER BY toStartOfFiveMinutes(Timestamp) DESC, Timestamp DESC LIMIT 100", arguments,
		new(time.Time), new(string), new(string), new(uint8), new(string), new(uint8), new(string), new(string), new(map[string]string), new(map[string]string))
}

// count reads all rows of a query into to.
func (c *clickstack) count(ctx context.Context, query string, arguments []any, to ...any) (int, error) {
	rows, err := c.conn.Query(ctx, query, arguments...)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	n := 0
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return 0, err
		}
		n++
	}
	return n, rows.Err()
}
