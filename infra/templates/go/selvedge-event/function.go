// Package function serves Handle of the package handle over HTTP, as Knative and
// Selvedge call it. There is nothing to change here.
package function

import (
	"errors"
	"log/slog"
	"net/http"

	"function/handle"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// maxEvent bounds an event.
const maxEvent = 1 << 20

// Function is the function.
type Function struct{}

// New makes the function.
func New() *Function { return &Function{} }

// Handle answers one event: 202, or 200 with the reply; 400 to what is no event
// or refused, which does not come again; 500 to an error, which does.
func (*Function) Handle(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxEvent)
	e, err := cehttp.NewEventFromHTTPRequest(r)
	if err == nil {
		err = e.Validate()
	}
	if err != nil {
		http.Error(w, "no CloudEvent: "+err.Error(), http.StatusBadRequest)
		return
	}
	reply, err := handle.Handle(r.Context(), *e)
	var refusal *handle.Refusal
	switch {
	case errors.As(err, &refusal):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err != nil:
		slog.Error("event failed", "id", e.ID(), "source", e.Source(), "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
	case reply == nil:
		w.WriteHeader(http.StatusAccepted)
	default:
		if err := cehttp.WriteResponseWriter(r.Context(), (*binding.EventMessage)(reply), http.StatusOK, w); err != nil {
			slog.Error("the reply is no event", "id", e.ID(), "error", err)
		}
	}
}
