package ingest

import (
	"math"
	"time"

	"selvedge.dev/sdk/jsonscan"
	"selvedge.dev/tsdb"
)

// endOfTime is the latest time that data may name, the end of the year 9999:
// what RFC 3339 can say. Anything later is cut to it.
const endOfTime tsdb.Millis = 253_402_300_799_999

// millisOf is Unix time in seconds as Millis, truncated to milliseconds.
// The seconds are first rounded to whole microseconds, so that a decimal like
// 1276020076.001, which no float64 meets exactly, stays the millisecond that
// was written.
func millisOf(seconds float64) tsdb.Millis {
	millis := math.Floor(math.Round(seconds*1e6) / 1e3)
	switch {
	case millis > float64(endOfTime):
		return endOfTime
	case millis >= float64(minTime):
		return tsdb.Millis(millis)
	}
	return minTime - 1 // also for NaN: refused as too old
}

// timestamp is v as the time of a reading: RFC 3339 text, or Unix time in
// seconds, milliseconds, microseconds or nanoseconds. The magnitude tells
// which: seconds up to 1e11 reach the year 5138, and as milliseconds 1e11 is
// 1973, before anything was measured that is sent here.
func timestamp(v scalar) (tsdb.Millis, bool) {
	switch v.Kind {
	case jsonscan.String:
		return rfc3339(v.text())
	case jsonscan.Number:
		f := parseFloat(v.Raw)
		switch abs := math.Abs(f); {
		case abs < 1e11:
			return millisOf(f), true
		case abs < 1e14:
			return millisOf(f / 1e3), true
		case abs < 1e17:
			return millisOf(f / 1e6), true
		case abs < 1e20:
			return millisOf(f / 1e9), true
		}
	}
	return 0, false
}

// rfc3339 is the time that text names, truncated to milliseconds.
func rfc3339(text []byte) (tsdb.Millis, bool) {
	t, err := time.Parse(time.RFC3339Nano, string(text))
	return tsdb.Millis(t.UnixMilli()), err == nil
}
