package validity

import "selvedge.dev/tsdb"

// The kinds and value types that rows accept.
var (
	gauge    = []tsdb.MetricKind{tsdb.Gauge}
	measured = []tsdb.MetricKind{tsdb.Gauge, tsdb.Delta}
	changing = []tsdb.MetricKind{tsdb.Delta, tsdb.Cumulative}
	anyKind  = []tsdb.MetricKind{tsdb.Gauge, tsdb.Delta, tsdb.Cumulative}

	boolean = []tsdb.ValueType{tsdb.Bool}
	numeric = []tsdb.ValueType{tsdb.Int64, tsdb.Double}
	scalar  = []tsdb.ValueType{tsdb.Bool, tsdb.Int64, tsdb.Double}
	summed  = []tsdb.ValueType{tsdb.Int64, tsdb.Double, tsdb.Distributed}
	anyType = []tsdb.ValueType{tsdb.Bool, tsdb.Int64, tsdb.Double, tsdb.Distributed}
)

// The kinds, value types and units of results that stay as they are.
const (
	sameKind = tsdb.MetricKind("")
	sameType = tsdb.ValueType("")
	sameUnit = unitOfMetric
)

// aligners are the rows of Aggregation.Aligner, and SUMMARY.
var aligners = []Rule{
	{"ALIGN_NONE", anyKind, anyType, sameKind, sameType, sameUnit},
	{"ALIGN_DELTA", changing, summed, tsdb.Delta, sameType, sameUnit},
	{"ALIGN_RATE", changing, numeric, tsdb.Gauge, tsdb.Double, unitOfMetric + "/s"},
	{"ALIGN_INTERPOLATE", gauge, numeric, tsdb.Gauge, sameType, sameUnit},
	{"ALIGN_NEXT_OLDER", gauge, anyType, tsdb.Gauge, sameType, sameUnit},
	{"ALIGN_MIN", measured, numeric, tsdb.Gauge, sameType, sameUnit},
	{"ALIGN_MAX", measured, numeric, tsdb.Gauge, sameType, sameUnit},
	{"ALIGN_MEAN", measured, numeric, tsdb.Gauge, tsdb.Double, sameUnit},
	{"ALIGN_COUNT", measured, scalar, tsdb.Gauge, tsdb.Int64, "1"},
	{"ALIGN_SUM", measured, summed, sameKind, sameType, sameUnit},
	{"ALIGN_STDDEV", measured, numeric, tsdb.Gauge, tsdb.Double, sameUnit},
	{"ALIGN_COUNT_TRUE", gauge, boolean, tsdb.Gauge, tsdb.Int64, "1"},
	{"ALIGN_COUNT_FALSE", gauge, boolean, tsdb.Gauge, tsdb.Int64, "1"},
	{"ALIGN_FRACTION_TRUE", gauge, boolean, tsdb.Gauge, tsdb.Double, "1"},
	{"ALIGN_PERCENTILE_99", measured, summed, tsdb.Gauge, tsdb.Double, sameUnit},
	{"ALIGN_PERCENTILE_95", measured, summed, tsdb.Gauge, tsdb.Double, sameUnit},
	{"ALIGN_PERCENTILE_50", measured, summed, tsdb.Gauge, tsdb.Double, sameUnit},
	{"ALIGN_PERCENTILE_05", measured, summed, tsdb.Gauge, tsdb.Double, sameUnit},
	{"ALIGN_PERCENT_CHANGE", measured, numeric, tsdb.Gauge, tsdb.Double, "%"},
	{"ALIGN_SUMMARY", measured, summed, tsdb.Gauge, tsdb.Distributed, sameUnit},
}

// reducers are the rows of Aggregation.Reducer, and SUMMARY.
var reducers = []Rule{
	{"REDUCE_NONE", anyKind, anyType, sameKind, sameType, sameUnit},
	{"REDUCE_MEAN", measured, summed, sameKind, tsdb.Double, sameUnit},
	{"REDUCE_MIN", measured, numeric, sameKind, sameType, sameUnit},
	{"REDUCE_MAX", measured, numeric, sameKind, sameType, sameUnit},
	{"REDUCE_SUM", measured, summed, sameKind, sameType, sameUnit},
	{"REDUCE_STDDEV", measured, summed, tsdb.Gauge, tsdb.Double, sameUnit},
	{"REDUCE_COUNT", measured, anyType, tsdb.Gauge, tsdb.Int64, "1"},
	{"REDUCE_COUNT_TRUE", measured, boolean, tsdb.Gauge, tsdb.Int64, "1"},
	{"REDUCE_COUNT_FALSE", measured, boolean, tsdb.Gauge, tsdb.Int64, "1"},
	{"REDUCE_FRACTION_TRUE", measured, boolean, tsdb.Gauge, tsdb.Double, "1"},
	{"REDUCE_PERCENTILE_99", measured, summed, sameKind, tsdb.Double, sameUnit},
	{"REDUCE_PERCENTILE_95", measured, summed, sameKind, tsdb.Double, sameUnit},
	{"REDUCE_PERCENTILE_50", measured, summed, sameKind, tsdb.Double, sameUnit},
	{"REDUCE_PERCENTILE_05", measured, summed, sameKind, tsdb.Double, sameUnit},
	{"REDUCE_SUMMARY", measured, summed, tsdb.Gauge, tsdb.Distributed, sameUnit},
}
