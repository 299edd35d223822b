package gateway

import (
	"errors"
	"net/http"
	"time"

	"selvedge.dev/sdk/fault"
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
		select {
		case g.outside <- struct{}{}:
			defer func() { <-g.outside }()
		default:
			fault.Write(w, busy())
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
				fault.Write(w, busy())
				return
			case <-r.Context().Done():
				fault.Write(w, r.Context().Err())
				return
			}
		}
		defer func() { <-g.inside }()
		next.ServeHTTP(w, r)
	})
}

// busy is the fault of a request that found no place.
func busy() error {
	return &fault.Error{Op: "gateway", Kind: fault.Exhausted, Reason: "TOO_MANY_REQUESTS", Err: errors.New("too many requests at once")}
}
