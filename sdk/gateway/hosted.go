package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"

	"selvedge.dev/sdk/fault"
)

// Hosted is a service whose port is somebody else's: a function's, which func
// listens at. A Function that embeds it has only to Open it as it starts. Its zero
// value answers that it has not started. It may be used concurrently.
type Hosted struct {
	open    atomic.Pointer[hosting]
	stopped atomic.Bool
}

// hosting is what answers, and what runs beside it.
type hosting struct {
	handler http.Handler
	// stop ends what runs beside the requests, ended is closed when that has ended.
	stop  func()
	ended chan struct{}
}

// Hosting says what is hosted.
type Hosting struct {
	// Handler answers requests.
	Handler http.Handler
	// End, if not nil, ends requests that last, as watches do.
	End func()
	// Run, if not nil, is what goes on beside requests, until its context ends.
	// While it has ended by itself the function is not alive.
	Run func(ctx context.Context) error
	// Close, if not nil, comes after Run.
	Close func() error
	// Logger is told of the errors of both; nil discards.
	Logger *slog.Logger
}

// Open begins to answer. It is called once, and what of ctx ends does not end it.
func (h *Hosted) Open(ctx context.Context, o Hosting) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	now := &hosting{handler: o.Handler, ended: make(chan struct{}), stop: func() {
		if o.End != nil {
			o.End()
		}
		cancel()
	}}
	go func() {
		defer close(now.ended)
		run, end := o.Run, o.Close
		if run == nil {
			run = func(ctx context.Context) error { <-ctx.Done(); return nil }
		}
		if end == nil {
			end = func() error { return nil }
		}
		if err := errors.Join(run(ctx), end()); err != nil && o.Logger != nil {
			o.Logger.Error("the service has ended", slog.Any("error", err))
		}
	}()
	h.open.Store(now)
}

// Stop ends what goes on, and waits for it. Requests are answered that it has
// stopped.
func (h *Hosted) Stop(ctx context.Context) error {
	now := h.open.Load()
	if now == nil || h.stopped.Swap(true) {
		return nil
	}
	now.stop()
	select {
	case <-now.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ready reports whether requests are answered.
func (h *Hosted) Ready(context.Context) (bool, error) {
	return h.open.Load() != nil && !h.stopped.Load(), nil
}

// Alive reports whether what goes on beside requests has not ended.
func (h *Hosted) Alive(context.Context) (bool, error) {
	now := h.open.Load()
	if now == nil {
		return true, nil
	}
	select {
	case <-now.ended:
		return false, nil
	default:
		return true, nil
	}
}

// ServeHTTP answers one request.
func (h *Hosted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := h.open.Load()
	if now == nil || h.stopped.Load() {
		fault.Write(w, &fault.Error{Op: "gateway.Hosted", Kind: fault.Unavailable, Reason: "NOT_STARTED", Err: errors.New("the service has not started or has stopped")})
		return
	}
	now.handler.ServeHTTP(w, r)
}
