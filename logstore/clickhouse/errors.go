package clickhouse

import (
	"context"
	"errors"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"selvedge.dev/sdk/fault"
)

// Codes of the server's errors.
const (
	tableExists        = 57
	tooManyRows        = 158
	timeoutExceeded    = 159
	tooSlow            = 160
	tooManyQueries     = 202
	memoryExceeded     = 241
	tableReadOnly      = 242
	noSpace            = 243
	noSuchPart         = 232
	noSuchData         = 233
	tooManyParts       = 252
	tooManyBytes       = 307
	tooManyRowsOrBytes = 396
	badExpression      = 427
	cannotSchedule     = 439
)

// errSlow is why a query ended that the server did not end in time.
var errSlow = errors.New("the query took too long")

// codeOf is the code of an error of the server, 0 if it is of none.
func codeOf(err error) int32 {
	var e *clickhouse.Exception
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// failed is an error of the operation: what the server says by its code, and
// all else that goes wrong with a server as Unavailable.
func failed(op string, err error) error {
	var known *fault.Error
	switch code := codeOf(err); {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, errSlow), code == tooManyRows, code == timeoutExceeded, code == tooSlow, code == memoryExceeded,
		code == tooManyBytes, code == tooManyRowsOrBytes:
		return &fault.Error{Op: op, Kind: fault.Exhausted, Reason: "QUERY_TOO_LARGE", Err: errors.New("the query " + over(code) +
			": ask for less time, name the log, the resource or a label, or search for whole words")}
	case code == tooManyParts, code == tooManyQueries, code == cannotSchedule, code == tableReadOnly, code == noSpace, code == 0:
		return &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
	default:
		return &fault.Error{Op: op, Kind: fault.Internal, Err: err}
	}
}

// over says which bound a query went over.
func over(code int32) string {
	switch code {
	case memoryExceeded:
		return "needs more memory than the store allows"
	case tooManyRows, tooManyBytes, tooManyRowsOrBytes:
		return "reads more entries than the store allows"
	default:
		return "needs more time than the store allows"
	}
}

// cause is err, or why the context ended if that is what ended it.
func cause(ctx context.Context, err error) error {
	if err != nil && codeOf(err) == 0 && errors.Is(context.Cause(ctx), errSlow) {
		return errSlow
	}
	return err
}

// identifier quotes a name for a statement.
func identifier(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}
