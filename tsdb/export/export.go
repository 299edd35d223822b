// Package export writes the points of time series to files that other programs
// read: CSV, one JSON object per line, and Apache Parquet. A writer holds a
// bounded part of what it was given, however much that is.
//
// Each point is a row, in the order in which it was written. Its columns are
//
//	start_time       when the point's window began; none for points without one
//	end_time         the instant of the point, or the end of its window
//	metric           the metric type
//	resource         the monitored-resource type
//	metric_labels    the labels of the metric
//	resource_labels  the labels of the resource
//	value            the value: a number, a boolean of a BOOL metric; of a
//	                 DISTRIBUTION its JSON (Parquet: in the column distribution)
//	kind             the metric's kind, of what was written
//	value_type       the type of its values
//	unit             its unit, if it has one
//
// Times are UTC, with milliseconds. Labels are a JSON object in CSV and NDJSON
// and a map of strings in Parquet.
package export

import (
	"fmt"
	"io"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// Writer writes points. It is for one goroutine.
type Writer interface {
	// Write writes points of a series. Period is the width of the windows that
	// they are the ends of, 0 for points without one. A series may come several
	// times. It keeps neither of them.
	Write(s *tsdb.Series, period tsdb.Millis, points tsdb.Points) error
	// Close writes what is left. It does not close the file.
	Close() error
}

// Format is a format of files.
type Format struct {
	// Name is what it is asked for by.
	Name string
	// Type is its media type.
	Type string
	make func(io.Writer) Writer
}

// New makes a writer of the format.
func (f Format) New(w io.Writer) Writer { return f.make(w) }

// The formats.
var formats = []Format{
	{"csv", "text/csv; charset=utf-8; header=present", newCSV},
	{"ndjson", "application/x-ndjson", newNDJSON},
	{"parquet", "application/vnd.apache.parquet", newParquet},
}

// FormatOf finds a format by its name; another is an Invalid fault.
func FormatOf(name string) (Format, error) {
	for _, f := range formats {
		if f.Name == name {
			return f, nil
		}
	}
	return Format{}, &fault.Error{
		Op: "export.FormatOf", Kind: fault.Invalid, Reason: "UNKNOWN_FORMAT", Field: "format",
		Err: fmt.Errorf("%.40q is none of csv, ndjson and parquet", name),
	}
}

// instant is a time as text, RFC 3339.
func instant(dst []byte, t tsdb.Millis) []byte {
	return time.UnixMilli(int64(t)).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
}

// start is when the window of a point began, and whether it has one.
func start(end, period tsdb.Millis) (tsdb.Millis, bool) { return end - period, period > 0 }
