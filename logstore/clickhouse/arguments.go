package clickhouse

import (
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// arguments are the values of a statement, which refers to them by the text that
// these methods return. They reach the server apart from the statement, so that no
// value is read as SQL; clickhouse.Named writes control characters so that the
// server reads what was meant.
type arguments []any

// text refers to a text. It may be any bytes.
func (a *arguments) text(v string) string {
	name := "p" + strconv.Itoa(len(*a))
	*a = append(*a, clickhouse.Named(name, v))
	return "{" + name + ":String}"
}

// number refers to a number.
func (a *arguments) number(v uint64) string {
	name := "p" + strconv.Itoa(len(*a))
	*a = append(*a, clickhouse.Named(name, v))
	return "{" + name + ":UInt64}"
}

// float refers to a number with a fraction.
func (a *arguments) float(v float64) string {
	name := "p" + strconv.Itoa(len(*a))
	*a = append(*a, clickhouse.Named(name, strconv.FormatFloat(v, 'g', -1, 64)))
	return "{" + name + ":Float64}"
}

// instant is a time of nanoseconds, as a part of a statement.
func instant(t time.Time) string {
	return "fromUnixTimestamp64Nano(toInt64(" + strconv.FormatInt(t.UnixNano(), 10) + "), 'UTC')"
}
