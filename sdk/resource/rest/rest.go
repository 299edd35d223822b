// Package rest is what every REST service of resources does alike
// (google.aip.dev): it bounds and strictly decodes JSON bodies, answers with
// JSON or with the problem body of a fault, and reads page parameters and
// update masks.
//
// Strict means that nothing a caller wrote is ignored: an unknown field, a
// field in the wrong case, a field written twice and text after the value are
// all refused by name.
package rest

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"selvedge.dev/sdk/fault"
)

// MaxBody bounds the body of a request that [Handler] serves.
const MaxBody = 1 << 20

// Empty is the answer of a method that has nothing to say.
type Empty struct{}

// Handler answers with what h returns, as JSON, or with its fault. Internal
// errors are logged, since their text is kept from the caller; a nil log
// discards them.
func Handler(log *slog.Logger, h func(*http.Request) (any, error)) http.HandlerFunc {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		v, err := h(r)
		if err != nil {
			if fault.KindOf(err) == fault.Internal {
				log.ErrorContext(r.Context(), "request ended with an internal error", slog.String("method", r.Method), slog.Any("error", err))
			}
			fault.Write(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		// Answers are about names and credentials; no cache on the way may
		// hand one to somebody else.
		w.Header().Set("Cache-Control", "no-store")
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			// Either the caller is gone, or v cannot be JSON, which is a bug.
			log.WarnContext(r.Context(), "answer not written", slog.String("method", r.Method), slog.Any("error", err))
		}
	}
}

// invalid is the fault of a request whose field is wrong.
func invalid(field, reason string, err error) error {
	return &fault.Error{Op: "rest.Request", Kind: fault.Invalid, Reason: reason, Field: field, Err: err}
}
