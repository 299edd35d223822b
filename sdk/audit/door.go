package audit

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// Door is what is called that is no method of a service.
type Door struct {
	// Service is whose it is, "events.selvedge.dev".
	Service string
	// Called is what is called: "POST /v1/events".
	Called string
	// About is what it is about, "" if nobody knows.
	About resource.Name
	// Writes says that it changes something: its record is an operation's, and
	// durable when End returns.
	Writes bool
}

// Enter begins the record of a call by a door that is always recorded.
func (r *Recorder) Enter(ctx context.Context, st *store.Store, d Door) (context.Context, *Call) {
	if r == nil {
		return ctx, nil
	}
	c := &Call{
		rec: r, store: st, begun: r.o.Now(), called: d.Called, serves: d.Service, about: d.About, read: !d.Writes,
		by: principalOf(ctx), known: true,
	}
	if outer := Of(ctx); outer != nil {
		outer.mu.Lock()
		outer.taken = true
		outer.mu.Unlock()
	}
	return context.WithValue(ctx, callKey{}, c), c
}

// Doors is the middleware of doors whose traffic is too much to record one by
// one, such as those of events and series: what is refused with 401 or 403, or
// with the statuses of gRPC that say so, is recorded as rejected, and nothing
// else. Calls of services behind it are recorded by themselves. It belongs
// outside of [iam.Authenticate], whose refusals are recorded too. Which region passed a call
// on is seen here.
func (r *Recorder) Doors(st *store.Store, service string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if r == nil {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			c := &Call{rec: r, store: st, begun: r.o.Now(), serves: service, quiet: true, via: clip(req.Header.Get(iam.RegionHeader), maxRegion)}
			seen := &watched{ResponseWriter: w}
			req = req.WithContext(context.WithValue(req.Context(), callKey{}, c))
			next.ServeHTTP(seen, req)
			if kind, rejected := seen.rejected(); rejected {
				c.called = req.Method + " " + pathOf(req)
				c.End(fromAddress(req), &fault.Error{Op: "audit.Doors", Kind: kind})
			}
		})
	}
}

// maxRegion bounds what is taken for the name of a region.
const maxRegion = 63

// maxPath bounds the path in a record, which anybody may make up.
const maxPath = 256

// pathOf is what was called: the pattern of the route if it has one, else the
// path, without the query, which may have a key in it.
func pathOf(req *http.Request) string {
	if req.Pattern != "" {
		return req.Pattern
	}
	return clip(req.URL.Path, maxPath)
}

// fromAddress is a context with the address of a request.
func fromAddress(req *http.Request) context.Context {
	ctx := req.Context()
	if a, ok := addressOf(req.RemoteAddr); ok {
		ctx = iam.WithAddress(ctx, a)
	}
	return ctx
}

// watched sees how a request is answered.
type watched struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *watched) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *watched) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher, of which streams make sure by its type.
func (w *watched) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() } // who cannot flush does not

// Unwrap is for http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// rejected is as what the request was rejected, by its status or by that of
// gRPC, which is in the trailer.
func (w *watched) rejected() (fault.Kind, bool) {
	header := w.Header()
	codes := slices.Concat(header["Grpc-Status"], header[http.TrailerPrefix+"Grpc-Status"])
	for _, kind := range []fault.Kind{fault.Denied, fault.Unauthenticated} {
		if w.status == kind.HTTPStatus() || len(codes) > 0 && slices.Contains(codes, fmt.Sprint(kind.Code())) {
			return kind, true
		}
	}
	return 0, false
}
