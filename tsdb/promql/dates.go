package promql

import (
	"context"
	"math"
	"time"
)

// dated is a function of instants in seconds, by default of the time of each
// step. All are in UTC.
func dated(f func(time.Time) float64) function {
	apply := func(v float64) float64 {
		if math.IsNaN(v) || math.Abs(v) > maxTime {
			return math.NaN()
		}
		return f(time.Unix(int64(v), 0).UTC())
	}
	now := times(apply)
	given := withParams(func(v float64, _ []float64) float64 { return apply(v) })
	return function{args: []kind{vectorKind}, optional: 1, result: vectorKind, eval: func(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
		if len(c.args) > 0 {
			return given(ctx, ev, c, g)
		}
		v, err := now(ctx, ev, c, g)
		return value{vector: []column{{values: v.scalar}}}, err
	}}
}

// minute is the minute of the hour.
func minute(t time.Time) float64 { return float64(t.Minute()) }

// hour is the hour of the day.
func hour(t time.Time) float64 { return float64(t.Hour()) }

// dayOfWeek is 0 on Sunday.
func dayOfWeek(t time.Time) float64 { return float64(t.Weekday()) }

// dayOfMonth begins with 1.
func dayOfMonth(t time.Time) float64 { return float64(t.Day()) }

// dayOfYear begins with 1.
func dayOfYear(t time.Time) float64 { return float64(t.YearDay()) }

// daysInMonth is 28 to 31.
func daysInMonth(t time.Time) float64 {
	return float64(32 - time.Date(t.Year(), t.Month(), 32, 0, 0, 0, 0, time.UTC).Day())
}

// month is 1 in January.
func month(t time.Time) float64 { return float64(t.Month()) }

// year is the year.
func year(t time.Time) float64 { return float64(t.Year()) }
