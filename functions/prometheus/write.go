package prometheus

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/promql"
)

// gzipFrom is the least length of an answer that is worth packing.
const gzipFrom = 4 << 10

// writeReply answers with a reply, packed if the client takes that.
func writeReply(w http.ResponseWriter, r *http.Request, made reply) {
	var out io.Writer = w
	if w.Header().Add("Vary", "Accept-Encoding"); made.size() >= gzipFrom && takesGzip(r.Header.Get("Accept-Encoding")) {
		w.Header().Set("Content-Encoding", "gzip")
		// The fastest level: it saves most of what there is to save.
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			panic("BUG: prometheus: " + err.Error())
		}
		defer func() { _ = z.Close() }() // as below
		out = z
	}
	begin(w, http.StatusOK)
	// What cannot be written has no reader.
	_, _ = io.WriteString(out, `{"status":"success","data":`)
	if made.result != nil {
		writeResult(out, made.result)
	} else {
		_, _ = out.Write(made.data)
	}
	if len(made.warnings) > 0 {
		_, _ = out.Write(append([]byte(`,"warnings":`), list(made.warnings, nil).data...))
	}
	if len(made.infos) > 0 {
		_, _ = out.Write(append([]byte(`,"infos":`), list(made.infos, nil).data...))
	}
	_, _ = io.WriteString(out, "}\n")
}

// size is about how long the answer is.
func (m *reply) size() int {
	n := len(m.data)
	if m.result != nil {
		for _, s := range m.result.Series {
			n += 32 * (len(s.Labels) + s.Points.Len())
		}
	}
	return n
}

// takesGzip reports whether the header Accept-Encoding has gzip, and does not
// refuse it.
func takesGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, quality, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) == "gzip" {
			return strings.ReplaceAll(quality, " ", "") != "q=0"
		}
	}
	return false
}

// begin sends the header of an answer.
func begin(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
}

// problem is the body of an error, as Prometheus has it.
type problem struct {
	Status    string `json:"status"`
	ErrorType string `json:"errorType"`
	Error     string `json:"error"`
}

// writeError answers with err.
func writeError(w http.ResponseWriter, err error) {
	status, kind := classify(err)
	p := problem{Status: "error", ErrorType: kind, Error: fault.ProblemOf(err).Error.Message}
	var f *fault.Error
	if errors.As(err, &f) && f.Reason == promql.ReasonBadData && f.Field != "" {
		p.Error = fmt.Sprintf("invalid parameter %q: %s", f.Field, p.Error)
	}
	switch kind {
	case "timeout":
		p.Error = "query timed out in expression evaluation"
	case "canceled":
		p.Error = "query was canceled"
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(fault.RetryAfterSeconds(err)))
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="selvedge"`)
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic("BUG: prometheus: " + err.Error())
	}
	begin(w, status)
	_, _ = w.Write(append(body, '\n'))
}

// statusClosed is what a request is logged with whose client went.
const statusClosed = 499

// classify is the status of an error and Prometheus' word for it.
func classify(err error) (status int, kind string) {
	var later fault.RetryAfter
	switch reason := fault.ReasonOf(err); {
	case errors.As(err, &later): // others have what it needs now
		return http.StatusServiceUnavailable, "unavailable"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "timeout"
	case errors.Is(err, context.Canceled):
		return statusClosed, "canceled"
	case reason == promql.ReasonExecution || reason == promql.ReasonTooMuch:
		return http.StatusUnprocessableEntity, "execution"
	}
	switch k := fault.KindOf(err); k {
	case fault.Invalid, fault.TooLarge, fault.Unsupported:
		return k.HTTPStatus(), "bad_data"
	case fault.Unauthenticated:
		return k.HTTPStatus(), "unauthorized"
	case fault.Denied:
		return k.HTTPStatus(), "forbidden"
	case fault.NotFound:
		return k.HTTPStatus(), "not_found"
	case fault.Exhausted:
		return http.StatusUnprocessableEntity, "execution"
	case fault.Unavailable:
		return k.HTTPStatus(), "unavailable"
	default:
		return http.StatusInternalServerError, "internal"
	}
}

// writeEvery is how much of a result is encoded before it is written.
const writeEvery = 32 << 10

// writeResult writes a result. What cannot be written has no reader.
func writeResult(w io.Writer, r *promql.Result) {
	b := append(append(append([]byte(nil), `{"resultType":"`...), r.Type...), `","result":`...)
	switch r.Type {
	case promql.Scalar:
		b = appendPoint(b, r.Time, r.Value)
	case promql.String:
		b = append(appendTime(append(b, '['), r.Time), ',')
		b = append(appendText(b, r.Text), ']')
	default:
		b = append(b, '[')
		for i, s := range r.Series {
			if i > 0 {
				b = append(b, ',')
			}
			if b = appendSeries(b, r.Type, s); len(b) > writeEvery {
				_, _ = w.Write(b)
				b = b[:0]
			}
		}
		b = append(b, ']')
	}
	_, _ = w.Write(append(b, '}'))
}

// appendSeries appends one series of a vector or a matrix.
func appendSeries(b []byte, t promql.Type, s promql.Series) []byte {
	b = appendLabels(append(b, `{"metric":`...), s.Labels)
	if t == promql.Vector {
		b = append(b, `,"value":`...)
		return append(appendPoint(b, s.Points.Times[0], s.Points.Values[0]), '}')
	}
	b = append(b, `,"values":[`...)
	for i, at := range s.Points.Times {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendPoint(b, at, s.Points.Values[i])
	}
	return append(b, "]}"...)
}

// appendPoint appends [seconds, "value"].
func appendPoint(b []byte, at tsdb.Millis, v float64) []byte {
	b = append(appendTime(append(b, '['), at), `,"`...)
	switch {
	case math.IsInf(v, 1):
		b = append(b, "+Inf"...)
	case math.Abs(v) != 0 && (math.Abs(v) < 1e-6 || math.Abs(v) >= 1e21):
		b = strconv.AppendFloat(b, v, 'e', -1, 64)
	default:
		b = strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	return append(b, `"]`...)
}

// appendTime appends seconds, with thousandths if there are any.
func appendTime(b []byte, at tsdb.Millis) []byte {
	return strconv.AppendFloat(b, float64(at)/1000, 'f', -1, 64)
}

// appendLabels appends labels as an object.
func appendLabels(b []byte, ls tsdb.Labels) []byte {
	b = append(b, '{')
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, l.Name), ':')
		b = appendText(b, l.Value)
	}
	return append(b, '}')
}

// appendText appends a JSON string.
func appendText(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic("BUG: prometheus: " + err.Error())
	}
	return append(b, text...)
}
