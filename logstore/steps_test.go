package logstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// TestMatch_Casts shows the edges of casts, of values at n.
func TestMatch_Casts(t *testing.T) {
	t.Parallel()
	f := func(value, comparison string, want bool) {
		t.Helper()
		e := logstore.Entry{Payload: logstore.Payload{Kind: logstore.JSON, Data: []byte(`{"n":` + value + `}`)}}
		require.Equal(t, want, logstore.Match(&e, parse(t, comparison)), "%s of %s", comparison, value)
	}
	// The bounds of 64 bits, exactly.
	f(`"9223372036854775807"`, `cast(jsonPayload.n, INT64)=9223372036854775807`, true)
	f(`"9223372036854775807"`, `cast(jsonPayload.n, INT64)<9223372036854775807`, false)
	f(`"9223372036854775808"`, `cast(jsonPayload.n, INT64):*`, false)
	f(`9223372036854775807`, `cast(jsonPayload.n, INT64)=9223372036854775807`, true)
	f(`1e30`, `cast(jsonPayload.n, INT64):*`, false)
	f(`-9223372036854775808`, `cast(jsonPayload.n, INT64)<0`, true)
	// What is written need not be an integer.
	f(`5`, `cast(jsonPayload.n, INT64)>4.5`, true)
	f(`5`, `cast(jsonPayload.n, INT64)<Infinity`, true)
	f(`5`, `cast(jsonPayload.n, INT64)=NaN`, false)
	f(`5`, `cast(jsonPayload.n, INT64)!=NaN`, true)
	// Rounding.
	f(`2.5`, `cast(jsonPayload.n, INT64)=3`, true)
	f(`-2.5`, `cast(jsonPayload.n, INT64)=-3`, true)
	f(`2.4`, `cast(jsonPayload.n, INT64)=2`, true)
	f(`"2.4"`, `cast(jsonPayload.n, INT64):*`, false)
	f(`"+7"`, `cast(jsonPayload.n, INT64)=7`, true)
	f(`"007"`, `cast(jsonPayload.n, INT64)=7`, true)
	f(`""`, `cast(jsonPayload.n, INT64):*`, false)
	f(`true`, `cast(jsonPayload.n, INT64)=1`, true)
	// Numbers that are none.
	f(`"nan"`, `cast(jsonPayload.n, FLOAT64)!=1`, true)
	f(`"nan"`, `cast(jsonPayload.n, FLOAT64)<1`, false)
	f(`"-infinity"`, `cast(jsonPayload.n, FLOAT64)<0`, true)
	f(`"0x10"`, `cast(jsonPayload.n, FLOAT64):*`, false)
	f(`true`, `cast(jsonPayload.n, FLOAT64):*`, false)
	f(`"yes"`, `cast(jsonPayload.n, BOOL):*`, false)
	f(`0.0`, `cast(jsonPayload.n, BOOL)=false`, true)
	f(`null`, `cast(jsonPayload.n, STRING):*`, false)
	f(`{"a":1}`, `cast(jsonPayload.n, STRING):*`, false)
	f(`[[7]]`, `cast(jsonPayload.n, STRING)=7`, true)
	f(`1.50`, `cast(jsonPayload.n, STRING)="1.50"`, true)
	f(`"x"`, `cast(jsonPayload.n, DURATION):*`, false)
	f(`5`, `cast(jsonPayload.n, DURATION):*`, false)
	f(`5`, `cast(jsonPayload.n, TIMESTAMP):*`, false)
	f(`"2026-06-01T00:00:00Z"`, `cast(cast(jsonPayload.n, TIMESTAMP), STRING)="2026-06-01t00:00:00z"`, true)
	f(`"2026-06-01T00:00:00Z"`, `cast(jsonPayload.n, TIMESTAMP):"2026-06"`, true)
	// Groups.
	f(`"ab"`, `regexp_extract(jsonPayload.n, "a(b)?")=b`, true)
	f(`"a"`, `regexp_extract(jsonPayload.n, "a(b)?"):*`, false)
	f(`"a"`, `regexp_extract(jsonPayload.n, "a(b*)")=""`, true)
	f(`"a1b2"`, `regexp_extract(jsonPayload.n, "(\d)")=1`, true)
	f(`12`, `regexp_extract(jsonPayload.n, "(\d)"):*`, false)
	f(`"K"`, `regexp_extract(jsonPayload.n, "(k)"):*`, false)
}

// TestCompile_StepErrors shows that steps that Parse has not made may be errors.
func TestCompile_StepErrors(t *testing.T) {
	t.Parallel()
	for _, s := range []filter.Step{
		{Name: filter.FuncCast, To: "INT"},
		{Name: filter.FuncCast, To: filter.ToString, Zone: "Local"},
		{Name: filter.FuncExtract, Pattern: "("},
		{Name: filter.FuncExtract, Pattern: "x"},
		{Name: filter.FuncExtract, Pattern: "(a)(b)"},
	} {
		_, err := logstore.Compile(&filter.Comparison{Path: []string{"textPayload"}, Steps: []filter.Step{s}, Op: filter.Equal})
		require.Error(t, err)
	}
}
