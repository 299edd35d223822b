package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/promql"
)

// writeData answers with data.
func writeData(w http.ResponseWriter, data []byte) {
	begin(w, http.StatusOK)
	// What cannot be written has no reader.
	_, _ = w.Write([]byte(`{"status":"success","data":`))
	_, _ = w.Write(data)
	_, _ = w.Write([]byte("}\n"))
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
	switch reason := fault.ReasonOf(err); {
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

// appendResult appends a result; of more than limit series the first are taken,
// all for 0.
func appendResult(b []byte, r promql.Result, limit int) []byte {
	b = append(append(append(b, `{"resultType":"`...), r.Type...), `","result":`...)
	switch r.Type {
	case promql.Scalar:
		b = appendPoint(b, r.Time, r.Value)
	case promql.String:
		b = append(appendTime(append(b, '['), r.Time), ',')
		b = append(appendText(b, r.Text), ']')
	default:
		b = append(b, '[')
		for i, s := range r.Series {
			if limit > 0 && i >= limit {
				break
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = appendSeries(b, r.Type, s)
		}
		b = append(b, ']')
	}
	return append(b, '}')
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
