package devices

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// storage keeps resources of every type by name: all that the registry asks of
// a database. Its errors are faults where the caller can do something.
type storage interface {
	// find returns the body of the resource, or nil when there is none.
	find(ctx context.Context, l lookup) ([]byte, error)
	// list returns the bodies of up to limit resources whose name begins with
	// prefix, which ends with "/", and is greater than after, sorted by name.
	list(ctx context.Context, prefix, after string, limit int) ([][]byte, error)
	// change calls f with the body of the resource of that name, nil when
	// there is none, and keeps what it returns in its place, durably: nil
	// deletes. Other changes come before or after, never between. It is Exists
	// when another device of the project has one of the aliases, and Invalid
	// when the blueprint is not there or when a resource that others use as
	// their blueprint would be deleted. An error of f ends it without change.
	change(ctx context.Context, name string, f func(body []byte) (*record, error)) error
}

// record is a resource as it is stored.
type record struct {
	name string
	// blueprint is the name of the blueprint that it uses, "" for none.
	blueprint string
	aliases   []devicesv1.Alias
	body      []byte
}

// Schema is the registry's part of a database. The body has everything; the
// columns and the aliases are what is looked for or refused by.
const Schema = `
CREATE TABLE IF NOT EXISTS devices_resource (
	name      TEXT PRIMARY KEY,
	blueprint TEXT REFERENCES devices_resource (name),
	body      BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS devices_resource_blueprint ON devices_resource (blueprint) WHERE blueprint IS NOT NULL;
CREATE TABLE IF NOT EXISTS devices_alias (
	project TEXT NOT NULL,
	network TEXT NOT NULL,
	key     TEXT NOT NULL,
	value   TEXT NOT NULL,
	device  TEXT NOT NULL REFERENCES devices_resource (name) ON DELETE CASCADE,
	PRIMARY KEY (project, network, key, value)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS devices_alias_device ON devices_alias (device);
`

// database is the storage in SQL. Its transactions must be serial, which those
// of sdk/store/sqlite are.
type database struct{ db *sql.DB }

var _ storage = (*database)(nil)

// find implements storage.
func (d *database) find(ctx context.Context, l lookup) ([]byte, error) {
	if l.name != "" {
		return one[[]byte](ctx, d.db, `SELECT body FROM devices_resource WHERE name = ?`, l.name)
	}
	return one[[]byte](ctx, d.db, `
		SELECT r.body FROM devices_alias a JOIN devices_resource r ON r.name = a.device
		WHERE a.project = ? AND a.network = ? AND a.key = ? AND a.value = ?`,
		l.project, l.alias.Network, l.alias.Key, l.alias.Value)
}

// list implements storage.
func (d *database) list(ctx context.Context, prefix, after string, limit int) ([][]byte, error) {
	// "0" follows "/": this is the first name beyond those with the prefix.
	end := strings.TrimSuffix(prefix, "/") + "0"
	rows, err := d.db.QueryContext(ctx, `
		SELECT body FROM devices_resource WHERE name > ? AND name < ? ORDER BY name LIMIT ?`,
		max(prefix, after), end, limit)
	if err != nil {
		return nil, fmt.Errorf("list resources: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err has what it would say
	var bodies [][]byte
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("list resources: %w", err)
		}
		bodies = append(bodies, body)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list resources: %w", err)
	}
	return bodies, nil
}

// change implements storage.
func (d *database) change(ctx context.Context, name string, f func(body []byte) (*record, error)) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing after a commit
	body, err := one[[]byte](ctx, tx, `SELECT body FROM devices_resource WHERE name = ?`, name)
	if err != nil {
		return err
	}
	r, err := f(body)
	if err != nil {
		return err
	}
	if r == nil {
		err = remove(ctx, tx, name)
	} else {
		err = keep(ctx, tx, r)
	}
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// remove deletes a resource, and by the schema its aliases.
func remove(ctx context.Context, tx *sql.Tx, name string) error {
	user, err := one[string](ctx, tx, `SELECT name FROM devices_resource WHERE blueprint = ? LIMIT 1`, name)
	if err != nil {
		return err
	}
	if user != "" {
		return &fault.Error{
			Op: "devices.Delete", Name: name, Kind: fault.Invalid, Reason: "FAILED_PRECONDITION", Field: "name",
			Err: fmt.Errorf("%s uses it", user),
		}
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM devices_resource WHERE name = ?`, name); err != nil {
		return fmt.Errorf("delete resource: %w", err)
	}
	return nil
}

// keep writes a resource and its aliases in place of what is there.
func keep(ctx context.Context, tx *sql.Tx, r *record) error {
	if r.blueprint != "" {
		found, err := one[string](ctx, tx, `SELECT name FROM devices_resource WHERE name = ?`, r.blueprint)
		if err != nil {
			return err
		}
		if found == "" {
			return &fault.Error{
				Op: "devices.Write", Name: r.name, Kind: fault.Invalid, Reason: "NO_BLUEPRINT", Field: "blueprint",
				Err: fmt.Errorf("there is no %s", r.blueprint),
			}
		}
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO devices_resource (name, blueprint, body) VALUES (?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET blueprint = excluded.blueprint, body = excluded.body`,
		r.name, sql.NullString{String: r.blueprint, Valid: r.blueprint != ""}, r.body)
	if err != nil {
		return fmt.Errorf("write resource: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM devices_alias WHERE device = ?`, r.name); err != nil {
		return fmt.Errorf("write aliases: %w", err)
	}
	project := resource.Name(r.name).Project()
	for _, a := range r.aliases {
		holder, err := one[string](ctx, tx, `
			SELECT device FROM devices_alias WHERE project = ? AND network = ? AND key = ? AND value = ?`,
			project, a.Network, a.Key, a.Value)
		if err != nil {
			return err
		}
		if holder != "" {
			return &fault.Error{
				Op: "devices.Write", Name: holder, Kind: fault.Exists, Reason: "ALIAS_TAKEN", Field: "aliases",
				Err: fmt.Errorf("%s has the alias %s", holder, a),
			}
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO devices_alias (project, network, key, value, device) VALUES (?, ?, ?, ?, ?)`,
			project, a.Network, a.Key, a.Value, r.name)
		if err != nil {
			return fmt.Errorf("write aliases: %w", err)
		}
	}
	return nil
}

// querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// one is the one value that a query has, or the zero value when it has none.
func one[T any](ctx context.Context, q querier, query string, args ...any) (v T, err error) {
	err = q.QueryRowContext(ctx, query, args...).Scan(&v)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return v, fmt.Errorf("read resource: %w", err)
	}
	return v, nil
}
