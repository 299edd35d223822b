package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/rpc"
)

// gate lets a bounded number of requests in at once, lets a bounded number
// wait, and tells the others to come back.
type gate struct {
	inside, outside chan struct{}
}

// newGate admits inFlight requests and lets waiting more wait.
func newGate(inFlight, waiting int) *gate {
	return &gate{inside: make(chan struct{}, inFlight), outside: make(chan struct{}, inFlight+waiting)}
}

// middleware puts the gate before next.
func (g *gate) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := &ticket{gate: g}
		select {
		case g.outside <- struct{}{}:
			defer t.leave()
		default:
			rpc.Refuse(w, r, busy())
			return
		}
		select {
		case g.inside <- struct{}{}: // without a timer in the usual case
		default:
			timer := time.NewTimer(patience)
			defer timer.Stop()
			select {
			case g.inside <- struct{}{}:
			case <-timer.C:
				rpc.Refuse(w, r, busy())
				return
			case <-r.Context().Done():
				rpc.Refuse(w, r, r.Context().Err())
				return
			}
		}
		t.inside = true
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ticketKey{}, t)))
	})
}

// ticket is a request's place.
type ticket struct {
	gate *gate
	// inside is whether it has a place inside too.
	inside bool
	once   sync.Once
}

// leave gives the places back, once.
func (t *ticket) leave() {
	t.once.Do(func() {
		if t.inside {
			<-t.gate.inside
		}
		<-t.gate.outside
	})
}

// ticketKey finds the ticket of a request's context.
type ticketKey struct{}

// Leave gives a request's place in the gateway to the next one, for requests
// that last and are bounded otherwise. Calling it again does nothing.
func Leave(ctx context.Context) {
	if t, ok := ctx.Value(ticketKey{}).(*ticket); ok {
		t.leave()
	}
}

// busy is the fault of a request that found no place.
func busy() error {
	return &fault.Error{Op: "gateway", Kind: fault.Exhausted, Reason: "TOO_MANY_REQUESTS", Err: errors.New("too many requests at once")}
}
