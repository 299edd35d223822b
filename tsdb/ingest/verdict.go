package ingest

import (
	"math"
	"strconv"

	"selvedge.dev/sdk/jsonscan"
	"selvedge.dev/tsdb"
)

// Reasons for which a point is dropped while the rest of its event is kept.
const (
	// NotFinite is a value that is no finite float64: 1e400, "NaN".
	NotFinite = "NOT_FINITE"
	// NoValue is a SenML record or a point of a time series without a value.
	NoValue = "NO_VALUE"
	// TooFarInFuture is a time beyond Options.MaxFuture.
	TooFarInFuture = "TOO_FAR_IN_FUTURE"
	// TooOld is a time before Options.Retention, or before 1678.
	TooOld = "TOO_OLD"
	// TooManyFields is a field beyond Options.MaxFields.
	TooManyFields = "TOO_MANY_FIELDS"
	// TooManyMetrics is a new metric of a project that may have no more.
	TooManyMetrics = "TOO_MANY_METRICS"
	// TypeConflict is a boolean for a metric of numbers or the reverse, a
	// fraction for an INT64 metric, or text in a field that a blueprint maps.
	TypeConflict = "TYPE_CONFLICT"
	// KindConflict is a point that states another kind than its metric has.
	KindConflict = "KIND_CONFLICT"
	// UnitConflict is a point that states another unit than its metric has.
	UnitConflict = "UNIT_CONFLICT"
	// InvalidMetric is a metric type that cannot be one.
	InvalidMetric = "INVALID_METRIC"
	// InvalidLabel is a label that cannot be one, or one label too many.
	InvalidLabel = "INVALID_LABEL"
)

// minTime is the earliest time of a point: the year 1678, the first that
// Unix time in nanoseconds as an int64 reaches, which storages use.
const minTime tsdb.Millis = math.MinInt64 / 1_000_000

// value is the value of a point.
type value struct {
	// number is the value as it is stored; of a boolean 0 or 1.
	number float64
	// boolean says that the value was true or false, integer that it was
	// stated to be an INT64.
	boolean, integer bool
}

// scalar is a value in JSON as it was written. The zero value is a null, which
// is how a field that is absent is read.
type scalar jsonscan.Scalar

// text is the characters of v, a string, or nothing if v is a null that is
// absent.
func (v scalar) text() []byte { return jsonscan.Unquote(v.Raw) }

// value is v, a number or a boolean, as the value of a point.
func (v scalar) value() value {
	if v.Kind == jsonscan.Bool {
		return valueOfBool(v.Raw[0] == 't')
	}
	return value{number: parseFloat(v.Raw)}
}

// valueOfBool is a boolean as the value of a point.
func valueOfBool(b bool) value {
	if b {
		return value{number: 1, boolean: true}
	}
	return value{boolean: true}
}

// parseFloat is the float64 nearest to the JSON number raw, an infinity if
// that is out of range.
func parseFloat(raw []byte) float64 {
	// A scanner has accepted raw, so the only error left is the range.
	f, _ := strconv.ParseFloat(string(raw), 64)
	return f
}

// valueType is the type of a metric whose first value is v.
func (v value) valueType() tsdb.ValueType {
	switch {
	case v.boolean:
		return tsdb.Bool
	case v.integer:
		return tsdb.Int64
	}
	return tsdb.Double
}

// fits reports whether v can be a value of a metric of type t.
func (v value) fits(t tsdb.ValueType) bool {
	switch t {
	case tsdb.Distributed:
		return false
	case tsdb.Bool:
		return v.boolean
	case tsdb.Int64:
		return !v.boolean && v.number == math.Trunc(v.number) && math.Abs(v.number) <= 1<<63
	}
	return !v.boolean
}

// admits decides by time and value alone whether there can be such a point;
// it counts the loss if not. It comes before learn, so that a point that
// cannot be stored does not make a descriptor.
func (r *run) admits(t tsdb.Millis, v value) bool {
	switch {
	case v.number-v.number != 0: // NaN for both infinities and NaN
		r.batch.lose(NotFinite, 1)
	case t > r.latest:
		r.batch.lose(TooFarInFuture, 1)
	case t < r.earliest:
		r.batch.lose(TooOld, 1)
	default:
		return true
	}
	return false
}

// put adds an admitted point of k. A second point of the same series and time
// in one event replaces the first.
func (r *run) put(k *known, t tsdb.Millis, v value) {
	samples := r.batch.Samples
	switch {
	case k.refused != "":
		r.batch.lose(k.refused, 1)
	case !v.fits(k.series.ValueType):
		r.batch.lose(TypeConflict, 1)
	case k.run == r.shape.run && samples[k.sample].Time == t:
		samples[k.sample].Value = v.number
	default:
		k.run, k.sample = r.shape.run, len(samples)
		r.batch.Samples = append(samples, tsdb.Sample{Series: &k.series, Time: t, Value: v.number})
	}
}
