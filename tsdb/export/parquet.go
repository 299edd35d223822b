package export

import (
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// The sizes of a Parquet file: how many rows make a group, which is held in
// memory, and how many are handed over at once.
const (
	rowsOfGroup = 64 << 10
	rowsAtOnce  = 1024
)

// row is a row of a Parquet file. A BOOL is 0 or 1: a column has one type. For the
// same reason distributions have a column of their own, and 0 as their value. A Start
// of 0 is none.
type row struct {
	Start          int64             `parquet:"start_time,optional,timestamp(millisecond)"`
	End            int64             `parquet:"end_time,timestamp(millisecond),delta"`
	Metric         string            `parquet:"metric,dict"`
	Resource       string            `parquet:"resource,dict"`
	MetricLabels   map[string]string `parquet:"metric_labels"`
	ResourceLabels map[string]string `parquet:"resource_labels"`
	Value          float64           `parquet:"value"`
	Distribution   string            `parquet:"distribution,optional"`
	Kind           string            `parquet:"kind,dict"`
	ValueType      string            `parquet:"value_type,dict"`
	Unit           string            `parquet:"unit,dict"`
}

// parquetWriter writes Apache Parquet, compressed by Zstandard.
type parquetWriter struct {
	w    *parquet.GenericWriter[row]
	rows []row
	// grouped is how many rows the group has that is being filled.
	grouped int
}

// newParquet makes one.
func newParquet(w io.Writer) Writer {
	return &parquetWriter{w: parquet.NewGenericWriter[row](w, parquet.Compression(&zstd.Codec{}), parquet.CreatedBy("selvedge", "", ""))}
}

// Write implements [Writer].
func (p *parquetWriter) Write(s *tsdb.Series, period tsdb.Millis, points tsdb.Points) error {
	metric, resource := mapOf(s.MetricLabels), mapOf(s.ResourceLabels)
	for i, end := range points.Times {
		r := row{End: int64(end), Metric: s.Metric, Resource: s.Resource, MetricLabels: metric, ResourceLabels: resource, Kind: string(s.Kind), ValueType: string(s.ValueType), Unit: s.Unit}
		if points.Distributions != nil {
			r.Distribution = string(distribution.AppendJSON(nil, points.Distributions[i]))
		} else {
			r.Value = points.Values[i]
		}
		if from, ok := start(end, period); ok {
			r.Start = int64(from)
		}
		if p.rows = append(p.rows, r); len(p.rows) == rowsAtOnce {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush hands over the rows.
func (p *parquetWriter) flush() error {
	n, err := p.w.Write(p.rows)
	p.rows = p.rows[:0]
	if p.grouped += n; err == nil && p.grouped >= rowsOfGroup {
		p.grouped = 0
		err = p.w.Flush()
	}
	return err
}

// Close implements [Writer].
func (p *parquetWriter) Close() error {
	if err := p.flush(); err != nil {
		return err
	}
	return p.w.Close()
}

// mapOf are labels as a map.
func mapOf(ls tsdb.Labels) map[string]string {
	m := make(map[string]string, len(ls))
	for _, l := range ls {
		m[l.Name] = l.Value
	}
	return m
}
