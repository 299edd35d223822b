package export

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"strconv"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// labels are labels as a JSON object, in their order.
func labels(dst []byte, ls tsdb.Labels) []byte {
	dst = append(dst, '{')
	for i, l := range ls {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(text(dst, l.Name), ':')
		dst = text(dst, l.Value)
	}
	return append(dst, '}')
}

// text is a JSON string.
func text(dst []byte, s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a Buffer takes everything, and every string can be encoded
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// value is a value in the shortest text that is read back as the same.
func value(dst []byte, typ tsdb.ValueType, v float64) []byte {
	switch {
	case typ == tsdb.Bool:
		return strconv.AppendBool(dst, v != 0)
	case typ == tsdb.Int64 && v == math.Trunc(v) && math.Abs(v) < 1<<63:
		return strconv.AppendInt(dst, int64(v), 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// csvWriter writes CSV (RFC 4180) with a line of heads.
type csvWriter struct {
	w    *csv.Writer
	head bool
}

// newCSV makes one.
func newCSV(w io.Writer) Writer { return &csvWriter{w: csv.NewWriter(w)} }

// Write implements [Writer].
func (c *csvWriter) Write(s *tsdb.Series, period tsdb.Millis, points tsdb.Points) error {
	if err := c.begin(); err != nil {
		return err
	}
	row := []string{"", "", s.Metric, s.Resource, string(labels(nil, s.MetricLabels)), string(labels(nil, s.ResourceLabels)), "", string(s.Kind), string(s.ValueType), s.Unit}
	var b []byte
	for i, end := range points.Times {
		row[0] = ""
		if from, ok := start(end, period); ok {
			b = instant(b[:0], from)
			row[0] = string(b)
		}
		b = instant(b[:0], end)
		row[1] = string(b)
		if points.Distributions != nil {
			b = distribution.AppendJSON(b[:0], points.Distributions[i])
		} else {
			b = value(b[:0], s.ValueType, points.Values[i])
		}
		row[6] = string(b)
		if err := c.w.Write(row); err != nil {
			return err
		}
	}
	return nil
}

// begin writes the heads.
func (c *csvWriter) begin() error {
	if c.head {
		return nil
	}
	c.head = true
	return c.w.Write([]string{"start_time", "end_time", "metric", "resource", "metric_labels", "resource_labels", "value", "kind", "value_type", "unit"})
}

// Close implements [Writer].
func (c *csvWriter) Close() error {
	if err := c.begin(); err != nil {
		return err
	}
	c.w.Flush()
	return c.w.Error()
}

// ndjsonWriter writes one JSON object per line.
type ndjsonWriter struct {
	w    *bufio.Writer
	line []byte
}

// newNDJSON makes one.
func newNDJSON(w io.Writer) Writer { return &ndjsonWriter{w: bufio.NewWriterSize(w, 64<<10)} }

// Write implements [Writer].
func (n *ndjsonWriter) Write(s *tsdb.Series, period tsdb.Millis, points tsdb.Points) error {
	same := text([]byte(`,"metric":`), s.Metric)
	same = text(append(same, `,"resource":`...), s.Resource)
	same = labels(append(same, `,"metric_labels":`...), s.MetricLabels)
	same = labels(append(same, `,"resource_labels":`...), s.ResourceLabels)
	for _, field := range [...]struct{ name, value string }{{"kind", string(s.Kind)}, {"value_type", string(s.ValueType)}, {"unit", s.Unit}} {
		if field.value != "" {
			same = text(append(append(append(same, `,"`...), field.name...), `":`...), field.value)
		}
	}
	same = append(same, `,"value":`...)
	for i, end := range points.Times {
		b := append(n.line[:0], '{')
		if from, ok := start(end, period); ok {
			b = append(instant(append(b, `"start_time":"`...), from), `",`...)
		}
		b = append(instant(append(b, `"end_time":"`...), end), '"')
		b = append(b, same...)
		if points.Distributions != nil {
			b = distribution.AppendJSON(b, points.Distributions[i])
		} else if v := points.Values[i]; math.IsInf(v, 0) || math.IsNaN(v) { // JSON has no such numbers
			b = text(b, string(value(nil, s.ValueType, v)))
		} else {
			b = value(b, s.ValueType, v)
		}
		n.line = append(b, "}\n"...)
		if _, err := n.w.Write(n.line); err != nil {
			return err
		}
	}
	return nil
}

// Close implements [Writer].
func (n *ndjsonWriter) Close() error { return n.w.Flush() }
