package monitoring

import (
	"math"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	metricpb "google.golang.org/genproto/googleapis/api/metric"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// value is the value of a point: the number or the distribution that is stored,
// and the type that it was written as.
type value struct {
	number       float64
	typ          tsdb.ValueType
	distribution *tsdb.Distribution
	// lost is how many exemplars the distribution is without.
	lost int
}

// fits is why v cannot be a value of a metric of type t, nil if it can: numbers
// fit where they are exact.
func (v value) fits(t tsdb.ValueType) *why {
	switch {
	case v.typ == t:
	case t == tsdb.Double && v.typ == tsdb.Int64:
	case t == tsdb.Int64 && v.typ == tsdb.Double && v.number == math.Trunc(v.number) && math.Abs(v.number) <= 1<<63:
	default:
		return refuse(ingest.TypeConflict, "the metric is of type %s, the value of type %s", t, v.typ)
	}
	return nil
}

// valueOf reads a value.
func valueOf(p *monitoringpb.TypedValue) (value, *why) {
	switch v := p.GetValue().(type) {
	case *monitoringpb.TypedValue_BoolValue:
		if v.BoolValue {
			return value{number: 1, typ: tsdb.Bool}, nil
		}
		return value{typ: tsdb.Bool}, nil
	case *monitoringpb.TypedValue_Int64Value:
		return value{number: float64(v.Int64Value), typ: tsdb.Int64}, nil
	case *monitoringpb.TypedValue_DoubleValue:
		if v.DoubleValue-v.DoubleValue != 0 { // NaN for both infinities and NaN
			return value{}, refuse(ingest.NotFinite, "the value %v is not finite", v.DoubleValue)
		}
		return value{number: v.DoubleValue, typ: tsdb.Double}, nil
	case *monitoringpb.TypedValue_StringValue:
		return value{}, refuse(ingest.StringNotSupported, "text is not kept as a value")
	case *monitoringpb.TypedValue_DistributionValue:
		return distributionOf(v.DistributionValue)
	}
	return value{}, refuse(ingest.NoValue, "the point has no value")
}

// point is the time and the value of a point, or why it cannot be written
// whatever the metric is.
func (in *intake) point(ts *monitoringpb.TimeSeries, p *monitoringpb.Point) (tsdb.Millis, value, *why) {
	v, w := valueOf(p.GetValue())
	if w != nil {
		return 0, v, w
	}
	end := p.GetInterval().GetEndTime()
	if end == nil || !end.IsValid() {
		return 0, v, refuse(ingest.InvalidInterval, "the interval has no end time that can be")
	}
	at := tsdb.Millis(end.AsTime().UnixMilli())
	if start := p.GetInterval().GetStartTime(); start != nil {
		gauge := ts.GetMetricKind() == metricpb.MetricDescriptor_GAUGE
		switch {
		case !start.IsValid():
			return 0, v, refuse(ingest.InvalidInterval, "the start time is none that can be")
		case start.AsTime().After(end.AsTime()):
			return 0, v, refuse(ingest.InvalidInterval, "the interval ends before it starts")
		case gauge && !start.AsTime().Equal(end.AsTime()):
			return 0, v, refuse(ingest.InvalidInterval, "the interval of a GAUGE must be an instant")
		}
	}
	switch {
	case at > in.latest:
		return 0, v, refuse(ingest.TooFarInFuture, "the end time is too far in the future")
	case at < in.earliest:
		return 0, v, refuse(ingest.TooOld, "the end time is before all that is kept")
	}
	return at, v, nil
}
