package iam

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// Schema is the part of a database that keeps keys. Times are Unix
// milliseconds; an expire_time of 0 is never.
const Schema = `
CREATE TABLE IF NOT EXISTS iam_key (
	id           TEXT PRIMARY KEY,
	principal    TEXT NOT NULL,
	kind         INTEGER NOT NULL,
	project      TEXT NOT NULL,
	display_name TEXT NOT NULL,
	hash         TEXT NOT NULL,
	bootstrap    INTEGER NOT NULL,
	create_time  INTEGER NOT NULL,
	expire_time  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS iam_key_principal ON iam_key (principal);
CREATE INDEX IF NOT EXISTS iam_key_project ON iam_key (project, id);
`

// columns are those of a record, in the order of scan.
const columns = `id, principal, display_name, hash, bootstrap, create_time, expire_time`

// Store keeps the records of keys in a database that has [Schema].
type Store struct{ db *sql.DB }

var _ iam.Keys = (*Store)(nil)

// NewStore makes the store in db.
func NewStore(db *sql.DB) *Store { return &Store{db} }

// Create implements [iam.Keys].
func (s *Store) Create(ctx context.Context, r iam.Record) error {
	const op = "iam.Store.Create"
	p, err := iam.ParsePrincipal(r.Principal)
	if err != nil {
		return err
	}
	expire := int64(0)
	if !r.ExpireTime.IsZero() {
		expire = r.ExpireTime.UnixMilli()
	}
	result, err := s.db.ExecContext(ctx, `
		INSERT INTO iam_key (id, principal, kind, project, display_name, hash, bootstrap, create_time, expire_time)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		r.ID, r.Principal, p.Kind, p.Project, r.DisplayName, r.Hash, r.Bootstrap, r.CreateTime.UnixMilli(), expire)
	if err != nil {
		return storageFault(op, "keys/"+r.ID, err)
	}
	return one(op, r.ID, result, fault.Exists)
}

// Key implements [iam.Keys].
func (s *Store) Key(ctx context.Context, id string) (iam.Record, error) {
	const op = "iam.Store.Key"
	r, err := scan(s.db.QueryRowContext(ctx, `SELECT `+columns+` FROM iam_key WHERE id = ?`, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return iam.Record{}, keyFault(op, id, fault.NotFound)
	case err != nil:
		return iam.Record{}, storageFault(op, "keys/"+id, err)
	}
	return r, nil
}

// List implements [iam.Keys].
func (s *Store) List(ctx context.Context, q iam.Query) ([]iam.Record, error) {
	const op = "iam.Store.List"
	where, args := []string{"id > ?"}, []any{q.After}
	if q.Principal != "" {
		where, args = append(where, "principal = ?"), append(args, q.Principal)
	}
	if q.Project != "" {
		where, args = append(where, "project = ?"), append(args, q.Project)
	}
	if q.Kind != iam.Anonymous {
		where, args = append(where, "kind = ?"), append(args, q.Kind)
	}
	limit := -1 // no bound, to SQLite
	if q.Limit > 0 {
		limit = q.Limit
	}
	rows, err := s.db.QueryContext(ctx,
		`SELECT `+columns+` FROM iam_key WHERE `+strings.Join(where, " AND ")+` ORDER BY id LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, storageFault(op, "keys", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err has what it would say
	var records []iam.Record
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, storageFault(op, "keys", err)
		}
		records = append(records, r)
	}
	if err := rows.Err(); err != nil {
		return nil, storageFault(op, "keys", err)
	}
	return records, nil
}

// Delete implements [iam.Keys].
func (s *Store) Delete(ctx context.Context, id string) error {
	const op = "iam.Store.Delete"
	result, err := s.db.ExecContext(ctx, `DELETE FROM iam_key WHERE id = ?`, id)
	if err != nil {
		return storageFault(op, "keys/"+id, err)
	}
	return one(op, id, result, fault.NotFound)
}

// one is nil when one row was concerned, else a fault of that kind.
func one(op, id string, result sql.Result, otherwise fault.Kind) error {
	n, err := result.RowsAffected()
	if err != nil {
		return storageFault(op, "keys/"+id, err)
	}
	if n != 1 {
		return keyFault(op, id, otherwise)
	}
	return nil
}

// scan reads a row of columns.
func scan(row interface{ Scan(...any) error }) (iam.Record, error) {
	var r iam.Record
	var create, expire int64
	if err := row.Scan(&r.ID, &r.Principal, &r.DisplayName, &r.Hash, &r.Bootstrap, &create, &expire); err != nil {
		return iam.Record{}, err
	}
	r.CreateTime = time.UnixMilli(create).UTC()
	if expire != 0 {
		r.ExpireTime = time.UnixMilli(expire).UTC()
	}
	return r, nil
}

// keyFault is the fault of a key that is there, or that is not.
func keyFault(op, id string, kind fault.Kind) error {
	text := "there is no key " + id
	if kind == fault.Exists {
		text = "the key " + id + " exists"
	}
	return &fault.Error{Op: op, Name: "keys/" + id, Kind: kind, Err: errors.New(text)}
}

// storageFault makes a fault of an error of the database.
func storageFault(op, name string, err error) error {
	return &fault.Error{Op: op, Name: name, Kind: fault.KindOf(err), Err: fmt.Errorf("keys database: %w", err)}
}
