package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"connectrpc.com/connect"

	"selvedge.dev/sdk/fault"
)

// problems turns the error bodies of REST answers, which are google.rpc.Status
// in JSON, into those of google.aip.dev/193, with the status of the fault's
// kind. Answers of the other protocols pass.
func problems(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v") {
			next.ServeHTTP(w, r)
			return
		}
		p := &problemWriter{ResponseWriter: w}
		next.ServeHTTP(p, r.WithContext(context.WithValue(r.Context(), problemKey{}, p)))
		p.end()
	})
}

// problemKey finds the problemWriter of a context.
type problemKey struct{}

// refused reports whether the request of the context was answered with an error
// already. Vanguard does that when it cannot read a body, and then calls the
// handler with an empty one all the same, which must not do anything.
func refused(ctx context.Context) bool {
	p, ok := ctx.Value(problemKey{}).(*problemWriter)
	return ok && p.status >= http.StatusBadRequest
}

// maxProblem bounds the error body that is kept to be turned.
const maxProblem = 64 << 10

// problemWriter holds back the body of an error.
type problemWriter struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

// Unwrap is for http.ResponseController.
func (p *problemWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Flush implements http.Flusher, for who asks for it.
func (p *problemWriter) Flush() {
	if p.status < http.StatusBadRequest {
		_ = http.NewResponseController(p.ResponseWriter).Flush() // a connection that is gone is noticed by writes
	}
}

// WriteHeader implements http.ResponseWriter.
func (p *problemWriter) WriteHeader(status int) {
	if p.status != 0 {
		return
	}
	p.status = status
	if status < http.StatusBadRequest {
		p.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (p *problemWriter) Write(b []byte) (int, error) {
	if p.status == 0 {
		p.WriteHeader(http.StatusOK)
	}
	if p.status < http.StatusBadRequest {
		return p.ResponseWriter.Write(b)
	}
	if p.body.Len() < maxProblem {
		p.body.Write(b)
	}
	return len(b), nil
}

// rpcStatus is google.rpc.Status in JSON, as much as is needed of it.
type rpcStatus struct {
	Code    int            `json:"code"`
	Message string         `json:"message"`
	Details []fault.Detail `json:"details"`
}

// unknown is the code of requests that Vanguard cannot read. A server's own
// error always says what it is.
const unknown = int(connect.CodeUnknown)

// unknownField finds the field in what proto's JSON decoder says.
var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

// unreadable is the status of a request that does not fit its type.
func unreadable(text string) rpcStatus {
	detail := fault.Detail{Type: "type.googleapis.com/google.rpc.ErrorInfo", Reason: "INVALID_REQUEST", Domain: fault.Domain}
	text = strings.TrimPrefix(text, "proto:")
	if m := unknownField.FindStringSubmatch(text); m != nil {
		detail.Reason, detail.Metadata = "UNKNOWN_FIELD", map[string]string{"field": m[1]}
	}
	// The decoder puts a space of either kind there, so that nobody relies on it.
	return rpcStatus{Code: fault.Invalid.Code(), Message: strings.TrimLeft(text, "\u00a0 "), Details: []fault.Detail{detail}}
}

// end writes the answer of an error.
func (p *problemWriter) end() {
	if p.status < http.StatusBadRequest {
		return
	}
	var s rpcStatus
	h := p.Header()
	if err := json.Unmarshal(p.body.Bytes(), &s); err != nil || s.Code == 0 {
		if strings.HasPrefix(h.Get("Content-Type"), "application/json") && json.Valid(p.body.Bytes()) { // one of ours
			p.ResponseWriter.WriteHeader(p.status)
			_, _ = p.ResponseWriter.Write(p.body.Bytes()) // a caller who went away needs no answer
			return
		}
		s = rpcStatus{Code: fault.OfStatus(p.status).Code(), Message: strings.TrimSpace(p.body.String())}
		if s.Message == "" {
			s.Message = http.StatusText(p.status)
		}
	}
	if s.Code == unknown {
		s = unreadable(s.Message)
	}
	kind := fault.OfCode(s.Code)
	out := fault.Problem{Error: fault.Status{Code: kind.HTTPStatus(), Status: kind.String(), Message: s.Message, Details: s.Details}}
	if len(s.Details) == 0 {
		out.Error.Details = []fault.Detail{{Type: "type.googleapis.com/google.rpc.ErrorInfo", Reason: kind.String(), Domain: fault.Domain}}
	}
	switch p.status {
	case http.StatusMethodNotAllowed:
		out.Error.Code, out.Error.Details[0].Reason = p.status, "METHOD_NOT_ALLOWED"
	case http.StatusUnsupportedMediaType:
		out.Error.Message = "the body must be JSON, with Content-Type: application/json"
	}
	h.Del("Content-Length")
	h.Del("Content-Encoding")
	fault.WriteProblem(p.ResponseWriter, out)
}
