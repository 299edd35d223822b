package clickhouse

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"

	"selvedge.dev/sdk/fault"
)

// migrations are the steps of the schema, as templates of one statement each,
// named NNNN_what.sql. A step that was released is never changed. Each can be
// done twice.
//
//go:embed migrations/*.sql
var migrations embed.FS

// Expressions that are indexed. Only a condition with the very expression uses
// the index.
const (
	// words is all that is searched of a payload, in lower case.
	words = `lower(concat(Data, '\n', Words))`
	// labelItems and resourceItems are labels as a key, a line's end, which no
	// key has, and the value in lower case.
	labelItems    = `arrayMap((k, v) -> concat(k, '\n', lower(v)), mapKeys(Labels), mapValues(Labels))`
	resourceItems = `arrayMap((k, v) -> concat(k, '\n', lower(v)), mapKeys(ResourceLabels), mapValues(ResourceLabels))`
)

// oldest is the oldest version of the server that has all that is used,
// textIndexes the one whose text indexes are for production, and jointIndexes one
// whose text indexes were seen to answer hasAll.
var (
	oldest       = proto.Version{Major: 24, Minor: 8}
	textIndexes  = proto.Version{Major: 26, Minor: 2}
	jointIndexes = proto.Version{Major: 26, Minor: 7}
)

// modern reports whether a server has text indexes for production.
func modern(server proto.Version) bool { return proto.CheckMinVersion(textIndexes, server) }

// A step waits patience for whoever does it, then takes it over; polls is how
// often it looks, and unlocking how long it may take to let go.
const (
	patience  = 30 * time.Second
	polls     = 50 * time.Millisecond
	unlocking = 30 * time.Second
)

// migrate does the steps that the database lacks. Of many that start at once,
// one does each.
func (s *Store) migrate(ctx context.Context) error {
	server, err := s.conn.ServerVersion()
	if err != nil {
		return err
	}
	if !proto.CheckMinVersion(oldest, server.Version) {
		return &fault.Error{
			Op: "logstore/clickhouse.Open", Kind: fault.Precondition, Reason: "SERVER_TOO_OLD",
			Err: fmt.Errorf("the server is ClickHouse %v: %d.%d or newer is needed", server.Version, oldest.Major, oldest.Minor),
		}
	}
	s.modern, s.joint = modern(server.Version), proto.CheckMinVersion(jointIndexes, server.Version)
	if err := s.conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS migrations (Version UInt32, Name String, At DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY Version`); err != nil {
		return fmt.Errorf("creating the table of migrations: %w", err)
	}
	steps, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	done, err := s.version(ctx)
	if err != nil {
		return err
	}
	if done > len(steps) {
		return &fault.Error{
			Op: "logstore/clickhouse.Open", Kind: fault.Precondition, Reason: "SCHEMA_TOO_NEW",
			Err: fmt.Errorf("the schema in ClickHouse is of version %d, and this program knows %d", done, len(steps)),
		}
	}
	for i := done; i < len(steps); i++ {
		if err := s.step(ctx, i+1, steps[i].Name(), server.Version); err != nil {
			return fmt.Errorf("migrating to %s: %w", steps[i].Name(), err)
		}
	}
	return nil
}

// version is the number of the last step that was done.
func (s *Store) version(ctx context.Context) (int, error) {
	var v uint32
	if err := s.conn.QueryRow(ctx, "SELECT max(Version) FROM migrations").Scan(&v); err != nil {
		return 0, fmt.Errorf("reading the schema's version: %w", err)
	}
	return int(v), nil
}

// step does one step, or waits until another store has done it.
//
// A server without Keeper has no locks, but of many that create one table one
// succeeds: who created lock_STEP_0 does the step. If it died on the way, the
// server's clock tells by the lock's age, and who then creates lock_STEP_1 does
// it. Should the first live after all, it does what can be done twice.
func (s *Store) step(ctx context.Context, version int, name string, server proto.Version) error {
	again := time.NewTicker(polls)
	defer again.Stop()
	for try := 0; ; {
		if done, err := s.version(ctx); err != nil || done >= version {
			return err
		}
		lock := fmt.Sprintf("lock_%d_%d", version, try)
		err := s.conn.Exec(ctx, "CREATE TABLE "+lock+" (Held UInt8) ENGINE = MergeTree ORDER BY Held")
		if err == nil {
			return s.held(ctx, version, name, server)
		}
		if codeOf(err) != tableExists {
			return err
		}
		var age uint64 // of a lock that is gone by now: since 1970
		query := "SELECT toUInt64(now() - max(metadata_modification_time)) FROM system.tables WHERE database = currentDatabase() AND name = '" + lock + "'"
		if err := s.conn.QueryRow(ctx, query).Scan(&age); err != nil {
			return err
		}
		if age > uint64(s.patience.Seconds()) && age < uint64(time.Now().Unix()/2) {
			try++
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
		}
	}
}

// held does the step, whose lock is held, and lets go.
func (s *Store) held(ctx context.Context, version int, name string, server proto.Version) (err error) {
	defer func() { err = errors.Join(err, s.unlock(context.WithoutCancel(ctx), version)) }()
	// Another may have done it between the look and the lock.
	if done, err := s.version(ctx); err != nil || done >= version {
		return err
	}
	text, err := migrations.ReadFile(path.Join("migrations", name))
	if err != nil {
		return err
	}
	statement, err := render(string(text), server)
	if err != nil {
		return err
	}
	if err := s.conn.Exec(ctx, statement); err != nil {
		return err
	}
	s.options.Logger.InfoContext(ctx, "schema migrated", slog.String("step", name))
	return s.conn.Exec(ctx, "INSERT INTO migrations (Version, Name) SELECT "+strconv.Itoa(version)+", '"+name+"'")
}

// unlock removes the locks of a step.
func (s *Store) unlock(ctx context.Context, version int) error {
	ctx, cancel := context.WithTimeout(ctx, unlocking)
	defer cancel()
	rows, err := s.conn.Query(ctx, "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, 'lock_"+strconv.Itoa(version)+"_')")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var locks []string
	for rows.Next() {
		var lock string
		if err := rows.Scan(&lock); err != nil {
			return err
		}
		locks = append(locks, lock)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, lock := range locks {
		if err := s.conn.Exec(ctx, "DROP TABLE IF EXISTS "+lock+" SYNC"); err != nil {
			return err
		}
	}
	return nil
}

// render is the statement of a step for a server.
func render(text string, server proto.Version) (string, error) {
	t, err := template.New("").Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, map[string]any{"TextIndex": modern(server), "Words": words, "Labels": labelItems, "ResourceLabels": resourceItems})
	return b.String(), err
}
