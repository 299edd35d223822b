// Package gateway is the one port that a program listens on: it knows who
// calls, bounds what is in hand at once, and passes the request to the service
// whose route it is. Every error that it answers has an AIP-193 body.
//
// It decides nothing about permissions: each service asks iam for what its own
// methods need, and what asks for nothing does not exist.
package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/rpc"
)

// Service adds its doors to a router. A request that reaches them has an
// iam.Principal in its context.
type Service interface {
	Routes(r chi.Router)
}

// Options configures the gateway.
type Options struct {
	// Authenticator tells who calls.
	Authenticator iam.Authenticator
	// Services are what is behind the port.
	Services []Service
	// Calls answers what is no route of a service, behind the same middleware:
	// the services that are described in proto. Nil answers that there is none.
	Calls http.Handler
	// Watcher, if not nil, is a middleware that sees every request and its answer
	// before it is known who calls: that of an audit, which records who was
	// refused.
	Watcher func(http.Handler) http.Handler
	// Ready says why requests should go elsewhere now; nil when they should
	// not. It is what /readyz answers.
	Ready func() error
	// MaxInFlight bounds the requests in hand; others wait for their turn.
	// 256 by default: at 4 MiB a body that is 1 GiB in the worst case.
	MaxInFlight int
	// Logger is told of panics; nil discards.
	Logger *slog.Logger
}

// The defaults of Options.
const (
	defaultInFlight = 256
	// waiting bounds the requests that wait for their turn, and patience how
	// long they do, before they are told to come back.
	waiting  = 4096
	patience = 20 * time.Second
)

// New is the gateway's handler.
func New(o Options) http.Handler {
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = defaultInFlight
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := chi.NewRouter()
	r.NotFound(NotFound)
	r.MethodNotAllowed(methodNotAllowed(r))
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, "alive") })
	r.Get("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			fault.Write(w, err)
			return
		}
		answer(w, "ready")
	})
	r.Group(func(r chi.Router) {
		r.Use(recoverer(o.Logger), newGate(o.MaxInFlight, waiting).middleware)
		if o.Watcher != nil {
			r.Use(o.Watcher)
		}
		r.Use(iam.Authenticate(o.Authenticator, rpc.Refuse))
		for _, s := range o.Services {
			s.Routes(r)
		}
		if o.Calls != nil {
			r.NotFound(o.Calls.ServeHTTP)
		}
	})
	return r
}

// NotFound answers a path that nothing answers to.
func NotFound(w http.ResponseWriter, r *http.Request) {
	fault.Write(w, &fault.Error{Kind: fault.NotFound, Reason: "NO_SUCH_DOOR", Err: fmt.Errorf("nothing answers to %s", r.URL.Path)})
}

// answer is a short text for people and probes.
func answer(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text + "\n")) // a probe that went away has its answer
}

// methods are the methods that a door may take.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// methodNotAllowed answers a path of routes with a method that it has not, and
// says which it has.
func methodNotAllowed(routes chi.Routes) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, m := range methods {
			if routes.Match(chi.NewRouteContext(), m, r.URL.Path) {
				w.Header().Add("Allow", m)
			}
		}
		p := fault.ProblemOf(&fault.Error{Kind: fault.Invalid, Reason: "METHOD_NOT_ALLOWED", Err: fmt.Errorf("%s does not take %s", r.URL.Path, r.Method)})
		p.Error.Code = http.StatusMethodNotAllowed
		fault.WriteProblem(w, p)
	}
}

// recoverer answers 500 when a service panics, so that one request cannot end
// the process. http.ErrAbortHandler passes, as it must.
func recoverer(log *slog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				p := recover()
				if p == nil {
					return
				}
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				log.Error("request panicked", slog.String("method", r.Method), slog.String("path", r.URL.Path),
					slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
				fault.Write(w, fmt.Errorf("panic: %v", p))
			}()
			next.ServeHTTP(w, r)
		})
	}
}
