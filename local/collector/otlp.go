package collector

import (
	"encoding/json"
	"mime"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb/ingest/wire"
)

// The media types of OTLP. What is asked in one is answered in it.
const (
	otlpType     = "application/x-protobuf"
	otlpJSONType = "application/json"
)

// otlp handles POST /v1/metrics. It answers 200 with an
// ExportMetricsServiceResponse, which tells of points that were refused, and
// errors as a google.rpc.Status.
func (s *Service) otlp(w http.ResponseWriter, r *http.Request) {
	e := entry{format: wire.OTLP}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && media == otlpType:
	case err == nil && media == otlpJSONType:
		e.format = wire.OTLPInJSON
	default:
		fault.Write(w, unsupported("Content-Type", "OTLP is taken as "+otlpType+" or "+otlpJSONType))
		return
	}
	var out outcome
	var ok bool
	if e.encoding, ok = wire.EncodingOf(r.Header.Get("Content-Encoding")); ok {
		out, err = s.take(w, r, e)
	} else {
		err = unsupported("Content-Encoding", "want gzip, snappy or none")
	}
	answer := exportResponse
	if media == otlpJSONType {
		answer = exportResponseJSON
	}
	switch {
	case err == nil:
		w.Header().Set("Content-Type", media)
		// What cannot be written has no reader.
		_, _ = w.Write(answer(&out))
	case media == otlpJSONType:
		answerStatusJSON(w, err)
	default:
		answerStatus(w, err)
	}
}

// exportResponse is an ExportMetricsServiceResponse:
//
//	1 partial_success: 1 rejected_data_points: int64  2 error_message: string
func exportResponse(out *outcome) []byte {
	if len(out.losses) == 0 {
		return nil
	}
	var partial []byte
	partial = protowire.AppendTag(partial, 1, protowire.VarintType)
	partial = protowire.AppendVarint(partial, uint64(out.lost()))
	partial = protowire.AppendTag(partial, 2, protowire.BytesType)
	partial = protowire.AppendString(partial, function.FormatLosses(out.losses))
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), partial)
}

// exportResponseJSON is exportResponse in JSON, in which an int64 is text.
func exportResponseJSON(out *outcome) []byte {
	if len(out.losses) == 0 {
		return []byte("{}")
	}
	text, _ := json.Marshal(map[string]any{"partialSuccess": map[string]string{ // strings cannot fail
		"rejectedDataPoints": strconv.Itoa(out.lost()), "errorMessage": function.FormatLosses(out.losses),
	}})
	return text
}

// answerStatusJSON is answerStatus in JSON.
func answerStatusJSON(w http.ResponseWriter, err error) {
	kind := fault.KindOf(err)
	if kind == fault.Exhausted || kind == fault.Unavailable {
		w.Header().Set("Retry-After", strconv.Itoa(fault.RetryAfterSeconds(err)))
	}
	w.Header().Set("Content-Type", otlpJSONType)
	w.WriteHeader(kind.HTTPStatus())
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client went away
		"code": kind.Code(), "message": fault.ProblemOf(err).Error.Message,
	})
}

// answerStatus answers with an error as OTLP has it: a google.rpc.Status in
// protobuf.
func answerStatus(w http.ResponseWriter, err error) {
	kind := fault.KindOf(err)
	if kind == fault.Exhausted || kind == fault.Unavailable {
		w.Header().Set("Retry-After", strconv.Itoa(fault.RetryAfterSeconds(err)))
	}
	if kind == fault.Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="selvedge"`)
	}
	var status []byte
	status = protowire.AppendVarint(protowire.AppendTag(status, 1, protowire.VarintType), uint64(kind.Code()))
	status = protowire.AppendString(protowire.AppendTag(status, 2, protowire.BytesType), fault.ProblemOf(err).Error.Message)
	w.Header().Set("Content-Type", otlpType)
	w.WriteHeader(kind.HTTPStatus())
	_, _ = w.Write(status)
}
