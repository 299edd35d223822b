package ingest

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/broker"
)

// traceVerb ends the path of a trace.
const traceVerb = ":trace"

// trace handles GET /v1/projects/P/events/ID:trace. The id is percent-encoded
// in the path, whatever it has.
func (s *Aftermath) trace(r *http.Request) (any, error) {
	text, ok := strings.CutSuffix(chi.URLParam(r, "event"), traceVerb)
	if !ok {
		return nil, &fault.Error{Op: "ingest.trace", Kind: fault.NotFound, Reason: "NO_SUCH_DOOR", Err: errors.New("an event is not read by its id; its trace is, by ID:trace")}
	}
	project, err := s.allowed(r, getTraces)
	if err != nil {
		return nil, err
	}
	id := text
	if r.URL.RawPath != "" { // chi matched the path as it was written
		if id, err = url.PathUnescape(text); err != nil {
			return nil, refused("id", "%q is not percent-encoded", text)
		}
	}
	if id == "" {
		return nil, refused("id", "the id of the event is empty")
	}
	for name, values := range r.URL.Query() {
		if name != "source" || len(values) > 1 {
			return nil, refused(name, "the one parameter is source")
		}
	}
	return s.Broker.Trace(r.Context(), broker.TraceQuery{Project: project, ID: id, Source: r.URL.Query().Get("source")})
}
