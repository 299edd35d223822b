package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"modernc.org/sqlite"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlstore"
)

// maxStatements bounds the prepared statements of a connection, whose texts are
// as many as there are shapes of scans.
const maxStatements = 200

// conn is a connection with its prepared statements, without database/sql: that
// costs as much as a short statement does. One goroutine at a time uses it.
type conn struct {
	raw   driver.Conn
	stmts map[string]driver.Stmt
	args  []driver.NamedValue
	// few is how many objects a scan sorts.
	few int
	// busy is whether rows are being read.
	busy bool
}

// newConn makes a connection of an open one.
func newConn(raw driver.Conn, few int) *conn {
	return &conn{raw: raw, stmts: map[string]driver.Stmt{}, few: few}
}

// close closes it.
func (c *conn) close() error {
	for _, s := range c.stmts {
		_ = s.Close() // the connection's error is the one to report
	}
	return c.raw.Close()
}

// prepare is the statement of a text.
func (c *conn) prepare(text string) (driver.Stmt, error) {
	if s, ok := c.stmts[text]; ok {
		return s, nil
	}
	if len(c.stmts) >= maxStatements {
		for k, s := range c.stmts { // any one
			_ = s.Close()
			delete(c.stmts, k)
			break
		}
	}
	s, err := c.raw.Prepare(text)
	if err != nil {
		return nil, explain(fmt.Errorf("preparing %q: %w", text, err))
	}
	c.stmts[text] = s
	return s, nil
}

// named are arguments as the driver takes them, valid until the next call.
func (c *conn) named(args []any) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		switch v := a.(type) {
		case bool:
			n := int64(0)
			if v {
				n = 1
			}
			a = n
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec executes a statement.
func (c *conn) exec(text string, args ...any) error {
	s, err := c.prepare(text)
	if err != nil {
		return err
	}
	_, err = s.(driver.StmtExecContext).ExecContext(context.Background(), c.named(args))
	return explain(err)
}

// query calls yield with each row until it returns false. The values are the
// row's own: int64, string, []byte or nil.
func (c *conn) query(ctx context.Context, q sqlstore.Query, yield func([]driver.Value) bool) (err error) {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case c.busy:
		return sqlstore.Busy("sqlite")
	}
	c.busy = true
	defer func() { c.busy = false }()
	s, err := c.prepare(q.SQL)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(ctx, c.named(q.Args))
	if err != nil {
		return explain(err)
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = explain(e)
		}
	}()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return explain(err)
		case !yield(row):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// one is query for a statement of one row at most; false if there is none.
func (c *conn) one(row []driver.Value, text string, args ...any) (bool, error) {
	found := false
	err := c.query(context.Background(), sqlstore.Query{SQL: text, Args: args}, func(r []driver.Value) bool {
		found = copy(row, r) == len(row)
		return false
	})
	return found, err
}

// The primary result codes of SQLite that say what is to be done.
const (
	codeBusy      = 5
	codeLocked    = 6
	codeNoMem     = 7
	codeReadonly  = 8
	codeInterrupt = 9
	codeIO        = 10
	codeCorrupt   = 11
	codeFull      = 13
	codeCantOpen  = 14
	codeTooBig    = 18
)

// explain is an error of SQLite as a fault.
func explain(err error) error {
	var e *sqlite.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	f := &fault.Error{Op: "sqlite", Kind: fault.Internal, Err: err}
	switch e.Code() & 0xFF {
	case codeBusy, codeLocked, codeIO, codeCantOpen, codeNoMem, codeReadonly:
		f.Kind, f.Reason = fault.Unavailable, "STORE_UNAVAILABLE"
	case codeInterrupt:
		f.Kind, f.Reason = fault.Unavailable, "INTERRUPTED"
	case codeFull:
		f.Kind, f.Reason = fault.Exhausted, "STORE_FULL"
	case codeTooBig:
		f.Kind, f.Reason = fault.TooLarge, "BATCH_TOO_LARGE"
	case codeCorrupt:
		f.Reason = "STORE_CORRUPT"
	}
	return f
}
