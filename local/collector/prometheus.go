package collector

import (
	"errors"
	"mime"
	"net/http"
	"strconv"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb/ingest/wire"
)

// writtenHeader are the headers by which remote write 2.0 has the receiver say
// what it kept.
const writtenHeader = "X-Prometheus-Remote-Write-"

// remoteWrite handles POST /prometheus/api/v1/write. It answers 204 when all
// points are kept, and 400 when some were refused for good, as the
// specification has it: the client must not send them again.
func (s *Service) remoteWrite(w http.ResponseWriter, r *http.Request) {
	e := entry{encoding: wire.Snappy}
	var err error
	if e.format, err = writeVersion(r.Header.Get("Content-Type")); err != nil {
		fault.Write(w, err)
		return
	}
	if name := r.Header.Get("Content-Encoding"); name != "" && name != "snappy" {
		fault.Write(w, unsupported("Content-Encoding", "remote write is packed with snappy"))
		return
	}
	out, err := s.take(w, r, e)
	if e.format == wire.RemoteWrite2 {
		w.Header().Set(writtenHeader+"Samples-Written", strconv.Itoa(out.written))
		w.Header().Set(writtenHeader+"Histograms-Written", "0")
		w.Header().Set(writtenHeader+"Exemplars-Written", "0")
	}
	if err == nil && len(out.losses) > 0 {
		w.Header().Set(function.LossesHeader, function.FormatLosses(out.losses))
		err = out.partly()
	}
	if err != nil {
		fault.Write(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// writeVersion is the version of remote write that a content type names.
func writeVersion(contentType string) (wire.Format, error) {
	if contentType == "" {
		return wire.RemoteWrite1, nil // old clients
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err == nil && media == "application/x-protobuf" {
		switch params["proto"] {
		case "", "prometheus.WriteRequest":
			return wire.RemoteWrite1, nil
		case "io.prometheus.write.v2.Request":
			return wire.RemoteWrite2, nil
		}
	}
	return 0, unsupported("Content-Type", "want application/x-protobuf with proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request")
}

// unsupported is the error of a body in a form that a door does not take.
func unsupported(field, text string) error {
	return &fault.Error{Op: "collector", Kind: fault.Unsupported, Field: field, Err: errors.New(text)}
}
