package validity_test

import (
	"strings"
	"testing"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/validity"
)

// The whole product of aligners and reducers, kinds and value types. SPEC A6
func TestCheck_WholeProduct(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	f := func(op validity.Operation, name, want string) {
		t.Helper()
		seen[name] = true
		var got []string
		for _, kind := range []tsdb.MetricKind{tsdb.Gauge, tsdb.Delta, tsdb.Cumulative} {
			for _, valueType := range []tsdb.ValueType{tsdb.Bool, tsdb.Int64, tsdb.Double, tsdb.Distributed} {
				in := &tsdb.Series{Metric: "com.example/m", Kind: kind, ValueType: valueType, Unit: "By"}
				out, err := validity.Check(op, name, "a.b", in)
				if err == nil {
					got = append(got, strings.Join([]string{string(out.Kind), string(out.ValueType), out.Unit}, "/"))
					continue
				}
				got = append(got, "-")
				require.Equal(t, fault.Invalid, fault.KindOf(err))
				var e *fault.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, "a.b", e.Field)
				for _, part := range []string{name, string(op), string(kind), string(valueType), "com.example/m", "it can be to"} {
					require.ErrorContains(t, err, part)
				}
			}
		}
		require.Equal(t, strings.Fields(want), got, name)
	}
	// Columns: BOOL, INT64, DOUBLE, DISTRIBUTION; rows: GAUGE, DELTA, CUMULATIVE.
	same := `
		GAUGE/BOOL/By       GAUGE/INT64/By       GAUGE/DOUBLE/By       GAUGE/DISTRIBUTION/By
		DELTA/BOOL/By       DELTA/INT64/By       DELTA/DOUBLE/By       DELTA/DISTRIBUTION/By
		CUMULATIVE/BOOL/By  CUMULATIVE/INT64/By  CUMULATIVE/DOUBLE/By  CUMULATIVE/DISTRIBUTION/By`
	number := `
		-  GAUGE/DOUBLE/By  GAUGE/DOUBLE/By  -
		-  GAUGE/DOUBLE/By  GAUGE/DOUBLE/By  -
		-  -                -                -`
	described := `
		-  GAUGE/DOUBLE/By  GAUGE/DOUBLE/By  GAUGE/DOUBLE/By
		-  GAUGE/DOUBLE/By  GAUGE/DOUBLE/By  GAUGE/DOUBLE/By
		-  -                -                -`
	summary := `
		-  GAUGE/DISTRIBUTION/By  GAUGE/DISTRIBUTION/By  GAUGE/DISTRIBUTION/By
		-  GAUGE/DISTRIBUTION/By  GAUGE/DISTRIBUTION/By  GAUGE/DISTRIBUTION/By
		-  -                      -                      -`
	f(validity.Aligner, "ALIGN_NONE", same)
	f(validity.Aligner, "ALIGN_DELTA", `
		-  -                -                -
		-  DELTA/INT64/By   DELTA/DOUBLE/By  DELTA/DISTRIBUTION/By
		-  DELTA/INT64/By   DELTA/DOUBLE/By  DELTA/DISTRIBUTION/By`)
	f(validity.Aligner, "ALIGN_RATE", `
		-  -                  -                  -
		-  GAUGE/DOUBLE/By/s  GAUGE/DOUBLE/By/s  -
		-  GAUGE/DOUBLE/By/s  GAUGE/DOUBLE/By/s  -`)
	f(validity.Aligner, "ALIGN_INTERPOLATE", `
		-  GAUGE/INT64/By  GAUGE/DOUBLE/By  -
		-  -               -                -
		-  -               -                -`)
	f(validity.Aligner, "ALIGN_NEXT_OLDER", `
		GAUGE/BOOL/By  GAUGE/INT64/By  GAUGE/DOUBLE/By  GAUGE/DISTRIBUTION/By
		-              -               -                -
		-              -               -                -`)
	for _, name := range []string{"ALIGN_MIN", "ALIGN_MAX"} {
		f(validity.Aligner, name, `
			-  GAUGE/INT64/By  GAUGE/DOUBLE/By  -
			-  GAUGE/INT64/By  GAUGE/DOUBLE/By  -
			-  -               -                -`)
	}
	f(validity.Aligner, "ALIGN_COUNT", `
		GAUGE/INT64/1  GAUGE/INT64/1  GAUGE/INT64/1  -
		GAUGE/INT64/1  GAUGE/INT64/1  GAUGE/INT64/1  -
		-              -              -              -`)
	f(validity.Aligner, "ALIGN_SUM", `
		-  GAUGE/INT64/By  GAUGE/DOUBLE/By  GAUGE/DISTRIBUTION/By
		-  DELTA/INT64/By  DELTA/DOUBLE/By  DELTA/DISTRIBUTION/By
		-  -               -                -`)
	for _, name := range []string{"MEAN", "STDDEV"} {
		f(validity.Aligner, "ALIGN_"+name, number)
	}
	for _, name := range []string{"PERCENTILE_99", "PERCENTILE_95", "PERCENTILE_50", "PERCENTILE_05"} {
		f(validity.Aligner, "ALIGN_"+name, described)
	}
	for _, name := range []string{"ALIGN_COUNT_TRUE", "ALIGN_COUNT_FALSE"} {
		f(validity.Aligner, name, "GAUGE/INT64/1 - - -  - - - -  - - - -")
	}
	f(validity.Aligner, "ALIGN_FRACTION_TRUE", "GAUGE/DOUBLE/1 - - -  - - - -  - - - -")
	f(validity.Aligner, "ALIGN_PERCENT_CHANGE", `
		-  GAUGE/DOUBLE/%  GAUGE/DOUBLE/%  -
		-  GAUGE/DOUBLE/%  GAUGE/DOUBLE/%  -
		-  -               -               -`)
	f(validity.Aligner, "ALIGN_SUMMARY", summary)

	f(validity.Reducer, "REDUCE_NONE", same)
	for _, name := range []string{"REDUCE_MIN", "REDUCE_MAX"} {
		f(validity.Reducer, name, `
			-  GAUGE/INT64/By  GAUGE/DOUBLE/By  -
			-  DELTA/INT64/By  DELTA/DOUBLE/By  -
			-  -               -                -`)
	}
	f(validity.Reducer, "REDUCE_SUM", `
		-  GAUGE/INT64/By  GAUGE/DOUBLE/By  GAUGE/DISTRIBUTION/By
		-  DELTA/INT64/By  DELTA/DOUBLE/By  DELTA/DISTRIBUTION/By
		-  -               -                -`)
	for _, name := range []string{"MEAN", "PERCENTILE_99", "PERCENTILE_95", "PERCENTILE_50", "PERCENTILE_05"} {
		f(validity.Reducer, "REDUCE_"+name, `
			-  GAUGE/DOUBLE/By  GAUGE/DOUBLE/By  GAUGE/DOUBLE/By
			-  DELTA/DOUBLE/By  DELTA/DOUBLE/By  GAUGE/DOUBLE/By
			-  -                -                -`)
	}
	f(validity.Reducer, "REDUCE_STDDEV", described)
	f(validity.Reducer, "REDUCE_COUNT", `
		GAUGE/INT64/1  GAUGE/INT64/1  GAUGE/INT64/1  GAUGE/INT64/1
		GAUGE/INT64/1  GAUGE/INT64/1  GAUGE/INT64/1  GAUGE/INT64/1
		-              -              -              -`)
	for _, name := range []string{"REDUCE_COUNT_TRUE", "REDUCE_COUNT_FALSE"} {
		f(validity.Reducer, name, "GAUGE/INT64/1 - - -  GAUGE/INT64/1 - - -  - - - -")
	}
	f(validity.Reducer, "REDUCE_FRACTION_TRUE", "GAUGE/DOUBLE/1 - - -  GAUGE/DOUBLE/1 - - -  - - - -")
	f(validity.Reducer, "REDUCE_SUMMARY", summary)

	for _, op := range []validity.Operation{validity.Aligner, validity.Reducer} {
		for _, rule := range validity.Rules(op) {
			require.True(t, seen[rule.Name], rule.Name)
		}
	}
}

// No aligner and no reducer of the API is missing.
func TestRules_API(t *testing.T) {
	t.Parallel()
	for op, names := range map[validity.Operation]map[string]int32{
		validity.Aligner: monitoringpb.Aggregation_Aligner_value,
		validity.Reducer: monitoringpb.Aggregation_Reducer_value,
	} {
		for name := range names {
			_, ok := validity.Of(op, name)
			require.True(t, ok, name)
		}
		require.Len(t, validity.Rules(op), len(names)+1, "and SUMMARY, which is SPEKTRA Edge's")
	}
}

// An unknown unit stays unknown; what has a unit of its own has it then too.
func TestOutput_UnknownUnit(t *testing.T) {
	t.Parallel()
	f := func(name string, kind tsdb.MetricKind, want string) {
		t.Helper()
		out, err := validity.Check(validity.Aligner, name, "", &tsdb.Series{Kind: kind, ValueType: tsdb.Double})
		require.NoError(t, err)
		require.Equal(t, want, out.Unit)
	}
	f("ALIGN_RATE", tsdb.Delta, "")
	f("ALIGN_MEAN", tsdb.Gauge, "")
	f("ALIGN_COUNT", tsdb.Gauge, "1")
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, "%")
}

// What users read.
func TestCheck_Message(t *testing.T) {
	t.Parallel()
	_, err := validity.Check(validity.Aligner, "ALIGN_RATE", "aggregation.perSeriesAligner",
		&tsdb.Series{Metric: "temp", Kind: tsdb.Gauge, ValueType: tsdb.Bool})
	require.ErrorContains(t, err, `field aggregation.perSeriesAligner had an invalid value of "ALIGN_RATE": `+
		`the aligner cannot be applied to metrics with kind GAUGE and value type BOOL (temp); `+
		`it can be to DELTA or CUMULATIVE metrics with INT64 or DOUBLE values`)
	_, err = validity.Check(validity.Reducer, "REDUCE_X", "f", &tsdb.Series{})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
