package backfill_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/backfill"
	"selvedge.dev/tsdb/export"
)

// read reads all rows, as text.
func read(t require.TestingT, format string, in io.Reader) []string {
	r, err := backfill.NewReader(format, in)
	require.NoError(t, err)
	var out []string
	for {
		var row backfill.Row
		err := r.Next(&row)
		switch {
		case errors.Is(err, io.EOF):
			return out
		case fault.ReasonOf(err) == backfill.InvalidLine:
			out = append(out, "invalid")
		case err != nil:
			return append(out, fault.ReasonOf(err))
		default:
			out = append(out, fmt.Sprintf("%d %d %d %s %s %s %s %s %s %s %s", row.Line, row.Start, row.End, row.Metric, row.Resource, row.MetricLabels,
				row.ResourceLabels, row.Value, row.Kind, row.ValueType, row.Unit))
		}
	}
}

func TestNDJSON(t *testing.T) {
	t.Parallel()
	f := func(text string, want ...string) {
		t.Helper()
		require.Equal(t, want, read(t, "ndjson", strings.NewReader(text)))
	}
	f("")
	f("\n\n")
	f(`{"end_time":"1970-01-02T00:00:00.5Z","metric":"m","value":1.50}`, "1 0 86400500 m    1.50   ")
	f("\r\n"+`{"start_time":"1970-01-01T00:00:00Z","end_time":"1970-01-02T01:00:00+01:00","metric":"m","resource":"r","metric_labels":{"a":"b"},"resource_labels":{},"value":true,"kind":"GAUGE","value_type":"BOOL","unit":"1","more":[1]}`+"\r\n",
		`2 0 86400000 m r {"a":"b"} {} true GAUGE BOOL 1`)
	good := `{"end_time":"1970-01-02T00:00:00Z","metric":"m","value":1}`
	f("x\n"+good+"\n[]\n{}\n"+good[1:], "invalid", "2 0 86400000 m    1   ", "invalid", "invalid", "invalid")
	f(strings.Repeat(" ", 3*backfill.MaxRow)+"\n"+good, "invalid", "2 0 86400000 m    1   ")
	f(strings.Replace(good, "1970", "70", 1)+"\n"+strings.Replace(good, `"m"`, `""`, 1)+"\n"+strings.Replace(good, `,"value":1`, "", 1), "invalid", "invalid", "invalid")
}

func TestCSV(t *testing.T) {
	t.Parallel()
	f := func(text string, want ...string) {
		t.Helper()
		require.Equal(t, want, read(t, "csv", strings.NewReader(text)))
	}
	f("")
	f("end_time,metric,value\n")
	f("end_time,metric\n", "NO_HEADS")
	f("\ufeffvalue,metric,extra,end_time,metric_labels\n1,m,x,1970-01-02T00:00:00Z,\"{\"\"a\"\":\"\"b\"\"}\"\n", `2 0 86400000 m  {"a":"b"}  1   `)
	const head, row = "end_time,metric,value\n", "1970-01-02T00:00:00Z,m,1\n"
	f(head+"a\n"+row+"1970-01-02T00:00:00Z,,1\nx,m,1\n1970-01-02T00:00:00Z,\"m\"x,1\n"+row,
		"invalid", "3 0 86400000 m    1   ", "invalid", "invalid", "invalid", "7 0 86400000 m    1   ")
	f(head+row+`1970-01-02T00:00:00Z,"`+strings.Repeat("long\n", backfill.MaxRow), "2 0 86400000 m    1   ", "ROW_TOO_LONG")
}

// What is exported is read as it was.
func TestReader_ReadsExports(t *testing.T) {
	t.Parallel()
	_, err := backfill.NewReader("parquet", nil)
	require.Equal(t, "UNKNOWN_FORMAT", fault.ReasonOf(err))
	rapid.Check(t, func(t *rapid.T) {
		s := &tsdb.Series{
			Metric: rapid.StringN(1, 10, -1).Draw(t, "metric"), Resource: rapid.String().Draw(t, "resource"), Kind: tsdb.Cumulative, ValueType: tsdb.Double,
			MetricLabels: tsdb.LabelsOf(rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "labels")), Unit: rapid.StringMatching("[a-z]*").Draw(t, "unit"),
		}
		points := tsdb.Points{Times: []tsdb.Millis{86_400_000, 86_460_001}, Values: []float64{rapid.Float64().Draw(t, "a"), 2}}
		var files [2][]string
		for i, name := range []string{"csv", "ndjson"} {
			format, err := export.FormatOf(name)
			require.NoError(t, err)
			var b bytes.Buffer
			w := format.New(&b)
			require.NoError(t, w.Write(s, 1000, points))
			require.NoError(t, w.Close())
			for _, row := range read(t, name, &b) {
				_, rest, _ := strings.Cut(row, " ")
				files[i] = append(files[i], rest)
			}
		}
		require.Len(t, files[0], 2)
		require.True(t, strings.HasPrefix(files[0][0], "86399000 86400000 "))
		if !strings.ContainsAny(s.Metric+s.Resource, "\r\ufeff\ufffd") { // CSV has \r\n for line ends
			require.Equal(t, files[0], files[1])
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add("csv", "end_time,metric,value\n1970-01-02T00:00:00Z,m,1\n")
	f.Add("ndjson", `{"end_time":"1970-01-02T00:00:00Z","metric":"m","value":1}`)
	f.Fuzz(func(t *testing.T, format, text string) {
		if format == "csv" || format == "ndjson" {
			read(t, format, strings.NewReader(text))
		}
	})
}
