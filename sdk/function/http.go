package function

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// The paths that a platform asks about a function's health. Every other path
// takes events.
const (
	ReadinessPath = "/health/readiness"
	LivenessPath  = "/health/liveness"
)

// Options configure [HTTP]. The zero value is ready to use.
type Options struct {
	// Limits bound the request. A body has one event here, so that Body is
	// event.DefaultEventLimit by default.
	Limits event.Limits
	// Logger gets what the broker is not told: panics, and the causes of
	// errors of kind Internal. Nil discards it.
	Logger *slog.Logger
}

// Server serves one function over HTTP. It has the optional interfaces of this
// package, and answers for those that the function lacks, so that whatever
// runs it, such as Knative's middleware, need not ask. It is safe for
// concurrent use and starts no goroutines.
type Server struct {
	handler Handler
	limits  event.Limits
	log     *slog.Logger
	// open is whether events are taken: from the end of Start to the begin of
	// Stop, or always when the function has no Start.
	open atomic.Bool
}

var (
	_ http.Handler      = (*Server)(nil)
	_ Starter           = (*Server)(nil)
	_ Stopper           = (*Server)(nil)
	_ ReadinessReporter = (*Server)(nil)
	_ LivenessReporter  = (*Server)(nil)
)

// HTTP returns the server of h as a process of its own.
//
// A POST to any path is one event in binary or structured mode. The answer is
// 202, or 200 with the reply in binary mode; an error is its kind's
// EventStatus with a problem body. Losses are reported in LossesHeader, of a
// success only: an event that failed is delivered again, or lost as a whole.
// A Syncer is synced before its success is answered.
func HTTP(h Handler, o Options) *Server {
	s := &Server{handler: h, limits: o.Limits, log: o.Logger}
	if s.limits.Body <= 0 {
		s.limits.Body = event.DefaultEventLimit
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	_, starts := h.(Starter)
	s.open.Store(!starts)
	return s
}

// ServeHTTP answers one event or one question about health.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case ReadinessPath:
		s.probe(w, r, s.Ready)
		return
	case LivenessPath:
		s.probe(w, r, s.Alive)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "events are posted", http.StatusMethodNotAllowed)
		return
	}
	e, err := s.decode(r)
	if err != nil {
		fault.WriteEvent(w, err)
		return
	}
	var drops Drops
	reply, err := s.call(WithDrops(r.Context(), &drops), *e)
	if err == nil {
		err = s.answer(w, reply, drops.Losses())
	}
	if err == nil {
		return
	}
	if fault.KindOf(err) == fault.Internal {
		s.log.LogAttrs(r.Context(), slog.LevelError, "event failed",
			slog.String("event_source", e.Source()), slog.String("event_id", e.ID()), slog.Any("error", err))
	}
	fault.WriteEvent(w, err)
}

// decode reads the one event of the request.
func (s *Server) decode(r *http.Request) (*event.Event, error) {
	if !s.open.Load() {
		return nil, &fault.Error{Op: "function.HTTP", Kind: fault.Unavailable, Err: errors.New("the function has not started or has stopped")}
	}
	items, mode, err := event.FromRequest(r, s.limits)
	if err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	if mode == event.Batch {
		return nil, &fault.Error{
			Op: "function.HTTP", Kind: fault.Unsupported, Reason: "UNSUPPORTED_MEDIA_TYPE", Field: "content-type",
			Err: errors.New("a function takes one event at a time, not a batch"),
		}
	}
	return &items[0].Event, nil
}

// call handles e, and returns once what it did is durable. A panic is an error
// of kind Internal.
func (s *Server) call(ctx context.Context, e event.Event) (reply *event.Event, err error) {
	defer func() {
		if p := recover(); p != nil {
			reply, err = nil, fmt.Errorf("function panicked: %v\n%s", p, debug.Stack())
		}
	}()
	reply, err = s.handler.Handle(ctx, e)
	if err != nil {
		return nil, err
	}
	if y, ok := s.handler.(Syncer); ok {
		if err := y.Sync(ctx); err != nil {
			return nil, fmt.Errorf("sync: %w", err)
		}
	}
	return reply, nil
}

// answer writes a success. An error is a reply that is no event; then nothing
// was written.
func (s *Server) answer(w http.ResponseWriter, reply *event.Event, losses []Loss) error {
	if reply == nil {
		setLosses(w.Header(), losses)
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	if err := reply.Validate(); err != nil {
		return fmt.Errorf("the reply is no event: %w", err)
	}
	h := http.Header{}
	if err := event.SetHeaders(h, reply); err != nil {
		return fmt.Errorf("the reply is no event: %w", err)
	}
	// Without this line net/http would make up a content type.
	w.Header()["Content-Type"] = nil
	for name, values := range h {
		w.Header()[name] = values
	}
	setLosses(w.Header(), losses)
	w.Header().Set("Content-Length", strconv.Itoa(len(reply.Data())))
	w.WriteHeader(http.StatusOK)
	// The status line is out: a body that cannot be written has no reader, who
	// will deliver the event again.
	_, _ = w.Write(reply.Data())
	return nil
}

// setLosses reports losses, if there are any.
func setLosses(h http.Header, losses []Loss) {
	if len(losses) > 0 {
		h.Set(LossesHeader, FormatLosses(losses))
	}
}

// probe answers a question about health: 200, 503, or 500 when there is no
// telling.
func (s *Server) probe(w http.ResponseWriter, r *http.Request, ask func(context.Context) (bool, error)) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "health is read", http.StatusMethodNotAllowed)
		return
	}
	switch ok, err := ask(r.Context()); {
	case err != nil:
		s.log.LogAttrs(r.Context(), slog.LevelError, "health unknown", slog.String("path", r.URL.Path), slog.Any("error", err))
		http.Error(w, "unknown", http.StatusInternalServerError)
	case !ok:
		http.Error(w, "no", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n")) // a caller that is gone needs no answer
	}
}

// Start starts the function; events are taken from then on.
func (s *Server) Start(ctx context.Context, env map[string]string) error {
	if f, ok := s.handler.(Starter); ok {
		if err := f.Start(ctx, env); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	s.open.Store(true)
	return nil
}

// Stop stops the function; events are refused from the begin of it on.
func (s *Server) Stop(ctx context.Context) error {
	s.open.Store(false)
	if f, ok := s.handler.(Stopper); ok {
		if err := f.Stop(ctx); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	}
	return nil
}

// Ready reports whether events are taken and the function says so too.
func (s *Server) Ready(ctx context.Context) (bool, error) {
	if !s.open.Load() {
		return false, nil
	}
	if f, ok := s.handler.(ReadinessReporter); ok {
		return f.Ready(ctx)
	}
	return true, nil
}

// Alive reports whether the function works.
func (s *Server) Alive(ctx context.Context) (bool, error) {
	if f, ok := s.handler.(LivenessReporter); ok {
		return f.Alive(ctx)
	}
	return true, nil
}
