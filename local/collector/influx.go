package collector

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb/ingest/wire"
)

// influx handles POST /influx/write and POST /influx/api/v2/write. It answers
// 204 when all points are kept, and else as InfluxDB 1 and 2 do, of which
// clients know that they must not send a partial write again.
func (s *Service) influx(w http.ResponseWriter, r *http.Request) {
	out, err := outcome{}, error(nil)
	e := entry{format: wire.Influx}
	var ok bool
	precision := r.URL.Query().Get("precision")
	if e.unit, ok = wire.UnitOf(precision); !ok {
		err = &fault.Error{Op: "collector.influx", Kind: fault.Invalid, Field: "precision", Err: fmt.Errorf("%q is not ns, us, ms, s, m or h", precision)}
	} else if e.encoding, ok = wire.EncodingOf(r.Header.Get("Content-Encoding")); !ok || e.encoding == wire.Snappy {
		err = unsupported("Content-Encoding", "lines are plain or packed with gzip")
	} else {
		out, err = s.take(w, r, e)
	}
	second := strings.HasSuffix(r.URL.Path, "/api/v2/write")
	switch {
	case err != nil:
		status := fault.KindOf(err).HTTPStatus()
		p := fault.ProblemOf(err)
		if k := fault.KindOf(err); k == fault.Exhausted || k == fault.Unavailable {
			w.Header().Set("Retry-After", strconv.Itoa(fault.RetryAfterSeconds(err)))
		}
		answerInflux(w, second, status, p.Error.Message)
	case len(out.losses) > 0:
		w.Header().Set(function.LossesHeader, function.FormatLosses(out.losses))
		status := http.StatusBadRequest
		if second {
			status = http.StatusUnprocessableEntity
		}
		answerInflux(w, second, status, fmt.Sprintf("partial write: %s dropped=%d", function.FormatLosses(out.losses), out.lost()))
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// influxCodes are the codes of errors of version 2 by status.
var influxCodes = map[int]string{
	http.StatusBadRequest: "invalid", http.StatusUnauthorized: "unauthorized", http.StatusForbidden: "forbidden",
	http.StatusNotFound: "not found", http.StatusRequestEntityTooLarge: "request too large",
	http.StatusUnprocessableEntity: "unprocessable entity", http.StatusTooManyRequests: "too many requests",
	http.StatusServiceUnavailable: "unavailable",
}

// answerInflux answers with an error in the form of InfluxDB 1, or of 2.
func answerInflux(w http.ResponseWriter, second bool, status int, text string) {
	answer := map[string]string{"error": text}
	if second {
		code, ok := influxCodes[status]
		if !ok {
			code = "internal error"
		}
		answer = map[string]string{"code": code, "message": text}
	} else {
		w.Header().Set("X-Influxdb-Error", text)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="selvedge"`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client went away
}
