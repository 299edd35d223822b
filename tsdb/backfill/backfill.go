// Package backfill reads the files that tsdb/export writes, CSV and one JSON
// object per line: a row is a point. A reader holds one row at a time, however
// long the file is, and a row that cannot be read loses no other.
//
// The columns, or the fields, are those of tsdb/export. Required are end_time,
// metric and value; columns that are not known are ignored.
package backfill

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// MaxRow bounds a row, in bytes: a series' labels are at most some 60 kilobytes,
// and a distribution may have a thousand buckets.
const MaxRow = 1 << 20

// Row is a row. Its text is valid until the next one is read.
type Row struct {
	// Line is the number of the line that the row begins on, from 1. It is also
	// there when Next says InvalidLine.
	Line int
	// Start is when the window of the point began, 0 for none; End is its time.
	Start, End tsdb.Millis
	// Metric and Resource are the types, and their labels JSON objects of
	// strings, as they were written; none is "".
	Metric, Resource             string
	MetricLabels, ResourceLabels []byte
	// Value is the value in JSON.
	Value []byte
	// Kind, ValueType and Unit are those of the metric, "" when the file does
	// not say.
	Kind, ValueType, Unit string
}

// Reader reads rows. It is for one goroutine.
type Reader interface {
	// Next reads the next row. The error is io.EOF behind the last one; one of
	// kind Invalid with the reason InvalidLine is of this row alone, and the
	// next can be read; every other ends the file.
	Next(*Row) error
}

// InvalidLine is the reason of a row that is none.
const InvalidLine = "INVALID_LINE"

// badLine is the error of a row that is none.
func badLine(line int, format string, args ...any) error {
	return &fault.Error{
		Op: "tsdb/backfill.Next", Kind: fault.Invalid, Reason: InvalidLine, Field: "line " + strconv.Itoa(line),
		Err: fmt.Errorf(format, args...),
	}
}

// NewReader makes a reader of a format, "csv" or "ndjson"; another is an Invalid
// fault.
func NewReader(format string, in io.Reader) (Reader, error) {
	switch format {
	case "csv":
		return newCSV(in), nil
	case "ndjson":
		return &ndjson{in: bufio.NewReaderSize(in, MaxRow)}, nil
	}
	return nil, &fault.Error{
		Op: "tsdb/backfill.NewReader", Kind: fault.Invalid, Reason: "UNKNOWN_FORMAT", Field: "format",
		Err: fmt.Errorf("%.40q is none of csv, ndjson and influx", format),
	}
}

// instant reads a time, RFC 3339.
func instant(text string) (tsdb.Millis, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no time in RFC 3339", text)
	}
	return tsdb.Millis(t.UnixMilli()), nil
}

// ndjson reads one JSON object per line. Empty lines are passed over.
type ndjson struct {
	in   *bufio.Reader
	line int
}

// object is a row in JSON.
type object struct {
	Start          string          `json:"start_time"`
	End            string          `json:"end_time"`
	Metric         string          `json:"metric"`
	Resource       string          `json:"resource"`
	MetricLabels   json.RawMessage `json:"metric_labels"`
	ResourceLabels json.RawMessage `json:"resource_labels"`
	Value          json.RawMessage `json:"value"`
	Kind           string          `json:"kind"`
	ValueType      string          `json:"value_type"`
	Unit           string          `json:"unit"`
}

// Next implements [Reader].
func (n *ndjson) Next(row *Row) error {
	for {
		line, err := n.in.ReadSlice('\n')
		if len(line) > 0 {
			n.line++
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = n.in.ReadSlice('\n')
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			row.Line = n.line
			return badLine(n.line, "it is longer than %d bytes", MaxRow)
		case err != nil && !errors.Is(err, io.EOF):
			return err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return n.parse(row, line)
		}
		if err != nil {
			return io.EOF
		}
	}
}

// parse reads a line.
func (n *ndjson) parse(row *Row, line []byte) error {
	var o object
	row.Line = n.line
	if err := json.Unmarshal(line, &o); err != nil {
		return badLine(n.line, "%w", err)
	}
	*row = Row{
		Line: n.line, Metric: o.Metric, Resource: o.Resource, MetricLabels: o.MetricLabels, ResourceLabels: o.ResourceLabels,
		Value: o.Value, Kind: o.Kind, ValueType: o.ValueType, Unit: o.Unit,
	}
	return row.finish(o.Start, o.End)
}

// finish reads the times, and checks that what is required is there.
func (row *Row) finish(start, end string) (err error) {
	switch {
	case row.Metric == "":
		return badLine(row.Line, "it has no metric")
	case len(row.Value) == 0:
		return badLine(row.Line, "it has no value")
	}
	if row.End, err = instant(end); err != nil {
		return badLine(row.Line, "end_time: %w", err)
	}
	if start == "" {
		return nil
	}
	if row.Start, err = instant(start); err != nil {
		return badLine(row.Line, "start_time: %w", err)
	}
	return nil
}

// csvReader reads CSV (RFC 4180) with a line of heads.
type csvReader struct {
	in     *csv.Reader
	source *bounded
	// columns are the places of the columns by name, nil before the heads were
	// read.
	columns map[string]int
}

// newCSV makes one.
func newCSV(in io.Reader) *csvReader {
	source := &bounded{in: in}
	c := &csvReader{in: csv.NewReader(source), source: source}
	c.in.ReuseRecord = true
	return c
}

// bounded is a reader that fails when more is read for one row than one may
// have: a quote that does not end must not take the memory.
type bounded struct {
	in   io.Reader
	read int
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.read > MaxRow+len(p) {
		return 0, &fault.Error{Op: "tsdb/backfill.Next", Kind: fault.TooLarge, Reason: "ROW_TOO_LONG", Err: fmt.Errorf("a row is longer than %d bytes: a quote may not end", MaxRow)}
	}
	n, err := b.in.Read(p)
	b.read += n
	return n, err
}

// Next implements [Reader].
func (c *csvReader) Next(row *Row) error {
	if c.columns == nil {
		if err := c.heads(); err != nil {
			return err
		}
	}
	c.source.read = 0
	record, err := c.in.Read()
	var bad *csv.ParseError
	if errors.As(err, &bad) {
		row.Line = bad.StartLine
		return badLine(bad.StartLine, "%w", bad.Err)
	}
	if err != nil {
		return err
	}
	line, _ := c.in.FieldPos(0)
	of := func(name string) string {
		if i, ok := c.columns[name]; ok {
			return record[i]
		}
		return ""
	}
	*row = Row{
		Line: line, Metric: of("metric"), Resource: of("resource"),
		MetricLabels: []byte(of("metric_labels")), ResourceLabels: []byte(of("resource_labels")),
		Value: []byte(of("value")), Kind: of("kind"), ValueType: of("value_type"), Unit: of("unit"),
	}
	return row.finish(of("start_time"), of("end_time"))
}

// heads reads the line of heads.
func (c *csvReader) heads() error {
	record, err := c.in.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return err
		}
		return &fault.Error{Op: "tsdb/backfill.Next", Kind: fault.Invalid, Reason: "NO_HEADS", Field: "line 1", Err: fmt.Errorf("read the heads: %w", err)}
	}
	c.columns = map[string]int{}
	for i, name := range record {
		c.columns[string(bytes.TrimPrefix([]byte(name), []byte("\ufeff")))] = i
	}
	for _, name := range []string{"end_time", "metric", "value"} {
		if _, ok := c.columns[name]; !ok {
			return &fault.Error{
				Op: "tsdb/backfill.Next", Kind: fault.Invalid, Reason: "NO_HEADS", Field: "line 1",
				Err: fmt.Errorf("the heads have no %s: they must be those of an export", name),
			}
		}
	}
	return nil
}
