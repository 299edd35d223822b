package kubeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
)

// answers are the status and the reason that clients of Kubernetes know for
// each kind of fault.
var answers = map[fault.Kind]struct {
	code   int
	reason string
}{
	fault.Internal:        {http.StatusInternalServerError, "InternalError"},
	fault.Invalid:         {http.StatusUnprocessableEntity, "Invalid"},
	fault.Unauthenticated: {http.StatusUnauthorized, "Unauthorized"},
	fault.Denied:          {http.StatusForbidden, "Forbidden"},
	fault.NotFound:        {http.StatusNotFound, "NotFound"},
	fault.Exists:          {http.StatusConflict, "AlreadyExists"},
	fault.Conflict:        {http.StatusConflict, "Conflict"},
	fault.Exhausted:       {http.StatusTooManyRequests, "TooManyRequests"},
	fault.Unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailable"},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, "RequestEntityTooLarge"},
	fault.Unsupported:     {http.StatusUnsupportedMediaType, "UnsupportedMediaType"},
	fault.Precondition:    {http.StatusConflict, "Conflict"},
}

// badRequest is the reason of faults of requests that cannot be read.
const badRequest = "BAD_REQUEST"

// status is an error as Kubernetes' Status, with its HTTP status.
func status(err error) (object.Object, int) {
	a := answers[fault.KindOf(err)]
	switch fault.ReasonOf(err) {
	case methodNotAllowed:
		a.code, a.reason = http.StatusMethodNotAllowed, "MethodNotAllowed"
	case badRequest:
		a.code, a.reason = http.StatusBadRequest, "BadRequest"
	case fault.ReasonOf(object.ErrExpired):
		a.code, a.reason = http.StatusGone, "Expired"
	}
	message, details := "internal error", map[string]any{}
	var e *fault.Error
	if errors.As(err, &e) && e.Kind != fault.Internal {
		message = e.Message()
		if e.Name != "" {
			details["name"] = e.Name
		}
		if e.Field != "" {
			details["causes"] = []any{map[string]any{"reason": "FieldValueInvalid", "field": e.Field, "message": message}}
		}
	}
	if wait := retryAfter(err); wait > 0 {
		details["retryAfterSeconds"] = int64(math.Ceil(wait.Seconds()))
	}
	return object.Object{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure",
		"message": message, "reason": a.reason, "details": details, "code": a.code,
	}, a.code
}

// retryAfter is when a client may come again, 0 if it may not.
func retryAfter(err error) time.Duration {
	switch fault.KindOf(err) {
	case fault.Exhausted, fault.Unavailable:
		return time.Second
	}
	return 0
}

// fail answers an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	body, code := status(err)
	if fault.KindOf(err) == fault.Internal {
		s.Logger.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", err))
	}
	if wait := retryAfter(err); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	_ = s.write(w, code, body) // it is JSON, and who went away needs no answer
}

// write answers with JSON.
func (s *Server) write(w http.ResponseWriter, code int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // a client that went away needs no answer
	return nil
}

// badRequestf is the error of a request that cannot be read.
func badRequestf(format string, args ...any) error {
	return &fault.Error{Op: "kubeapi", Kind: fault.Invalid, Reason: badRequest, Err: fmt.Errorf(format, args...)}
}
