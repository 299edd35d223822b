// Package clickhouse keeps entries of logs in a ClickHouse server, over its
// native protocol or HTTP.
//
// A filter is compiled to a condition in SQL that holds at least where
// logstore.Match does, and rows are checked by Match where the two may differ,
// so that the answers are those of every other store. Values come to the server
// as parameters, never as parts of statements.
//
// A Store may be used by many, several stores may use one database, and a
// server that went away is connected to again.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// Options say which server, and what a query may cost it.
type Options struct {
	// DSN is where the server is:
	// clickhouse://USER:PASSWORD@HOST:9000/DATABASE of the native protocol, or
	// http://… or https://…, as clickhouse-go reads it. The database is the
	// store's alone, and is made if it is not there.
	DSN string
	// MaxTime is how long a query may take; 0 is 30 s.
	MaxTime time.Duration
	// MaxMemory is how many bytes of the server's memory a query may use; 0 is 1 GiB.
	MaxMemory int64
	// MaxRows is how many rows a query may read; 0 is as many as there are.
	MaxRows int64
	// Once says that nobody appends an entry twice, as intake does not. Else
	// every query looks for those, which takes it several times as long.
	Once bool
	// Repeated are the ids of buckets whose entries are appended more than once all
	// the same, as by several platforms that each append all of them: queries of
	// those look for that.
	Repeated []string
	// Logger hears of changes of the schema; nil discards.
	Logger *slog.Logger
}

// withDefaults are the options with what is not said.
func (o Options) withDefaults() Options {
	if o.MaxTime <= 0 {
		o.MaxTime = 30 * time.Second
	}
	if o.MaxMemory <= 0 {
		o.MaxMemory = 1 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Store is a logstore.Store on a server.
type Store struct {
	conn    driver.Conn
	options Options
	// modern says that the server has text indexes, joint that these find rows with
	// several labels at once.
	modern, joint bool
	// patience is how long a migration of another is waited for.
	patience time.Duration

	// mu guards unsynced: since when there are entries that Sync was not called
	// for, zero if there are none.
	mu       sync.Mutex
	unsynced time.Time
}

var _ logstore.Store = (*Store)(nil)

// Open connects to the server and brings the database's schema to what this
// version needs. It is Unavailable if the server does not answer, and a
// Precondition if its version or the schema's is not one that this version
// knows.
func Open(ctx context.Context, options Options) (*Store, error) {
	return open(ctx, options, patience)
}

// open is Open with another patience.
func open(ctx context.Context, options Options, patience time.Duration) (*Store, error) {
	const op = "logstore/clickhouse.Open"
	options = options.withDefaults()
	parsed, err := clickhouse.ParseDSN(options.DSN)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Invalid, Reason: "DSN", Err: errors.New("the DSN of ClickHouse cannot be read")} // err has its password
	}
	if parsed.Auth.Database == "" || parsed.Auth.Database == "default" {
		return nil, &fault.Error{Op: op, Kind: fault.Invalid, Reason: "DSN", Err: errors.New("the DSN of ClickHouse names no database of its own")}
	}
	if parsed.Compression == nil {
		parsed.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	if err := create(ctx, *parsed); err != nil {
		return nil, failed(op, err)
	}
	conn, err := clickhouse.Open(parsed)
	if err != nil {
		return nil, failed(op, err)
	}
	s := &Store{conn: conn, options: options, patience: patience}
	if err := s.migrate(ctx); err != nil {
		_ = conn.Close()
		return nil, failed(op, err)
	}
	return s, nil
}

// table is what is read of the buckets, nil for all: the table, or with FINAL, the
// table without what is there twice.
func (s *Store) table(buckets []string) string {
	repeated := func(id string) bool { return slices.Contains(s.options.Repeated, id) }
	if s.options.Once && (len(s.options.Repeated) == 0 || buckets != nil && !slices.ContainsFunc(buckets, repeated)) {
		return "entries"
	}
	return "entries FINAL"
}

// create makes the database if it is not there. It looks from another database,
// since some servers do not survive a connection to one that is not there.
func create(ctx context.Context, parsed clickhouse.Options) error {
	database := parsed.Auth.Database
	parsed.Auth.Database = "system"
	conn, err := clickhouse.Open(&parsed)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var a arguments
	var found uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM system.databases WHERE name = "+a.text(database), a...).Scan(&found); err != nil || found > 0 {
		return err
	}
	return conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+identifier(database))
}

// Close implements io.Closer.
func (s *Store) Close() error {
	if err := s.conn.Close(); err != nil {
		return fmt.Errorf("closing the connections to ClickHouse: %w", err)
	}
	return nil
}

// reading is a context of queries: what they may cost, whatever the server's
// user may do beyond.
func (s *Store) reading(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.MaxTime+time.Second, errSlow) // the server ends it first, and says so
	return clickhouse.Context(ctx, clickhouse.WithSettings(s.budget())), cancel
}

// budget are the settings that bound a query.
func (s *Store) budget() clickhouse.Settings {
	return clickhouse.Settings{
		"max_execution_time": s.options.MaxTime.Seconds(),
		"max_memory_usage":   s.options.MaxMemory,
		"max_rows_to_read":   max(s.options.MaxRows, 0),
		// Else it is an estimate that ends a query.
		"timeout_before_checking_execution_speed": 0,
	}
}
