package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlstore"
)

// explain is an error of the database or of the connection to it as a fault.
func explain(err error) error {
	var is *fault.Error
	if err == nil || errors.As(err, &is) {
		return err
	}
	f := &fault.Error{Op: "postgres", Kind: fault.Unavailable, Reason: "STORE_UNAVAILABLE", Err: err}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return f // the connection's, or a context's
	}
	switch class := e.Code[:min(2, len(e.Code))]; {
	case again(e):
		f.Err = fmt.Errorf("%w: %w", sqlstore.ErrAgain, err)
	case e.Code == "53100": // disk_full
		f.Kind, f.Reason = fault.Exhausted, "STORE_FULL"
	case class == "08", class == "53", class == "57", class == "58", class == "28", class == "3D", e.Code == "55P03", e.Code == "25006", e.Code == "25P03":
		// Connections, resources, operators, the system, credentials, the
		// database, locks, a server that only reads, a transaction that was idle.
	default:
		f.Kind, f.Reason = fault.Internal, ""
	}
	return f
}

// again is whether the server asks to try the transaction again: it lost against
// another, or deadlocked.
func again(e *pgconn.PgError) bool { return e.Code == "40001" || e.Code == "40P01" }

// answered is whether an error is the server's answer to a statement, after
// which the transaction cannot have been committed. The last words of a
// connection can come after a commit.
func answered(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && !strings.HasPrefix(e.Code, "08") && !strings.HasPrefix(e.Code, "57P") &&
		e.SeverityUnlocalized != "FATAL" && e.SeverityUnlocalized != "PANIC"
}

// interrupted is whether an error is that of a context that ended.
func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
