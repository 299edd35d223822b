package serving

import (
	"context"
	"net/http"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/delivery"
)

// Sink is where the broker delivers the events for a service: the same way as a
// request from outside, but for the platform's own port, and without asking
// anybody, since the one who made the trigger was asked.
func (s *Serving) Sink(namespace, service string) delivery.Sink {
	return sink{s: s, namespace: namespace, service: service}
}

// sink is one service.
type sink struct {
	s                  *Serving
	namespace, service string
}

// Deliver posts the event to a revision of the service. A service that is not
// there is a 404, which is tried again.
func (k sink) Deliver(ctx context.Context, e event.Event) delivery.Result {
	u, _, err := k.s.find(k.namespace, k.service)
	if err != nil {
		return delivery.Result{Status: fault.KindOf(err).HTTPStatus(), Err: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, u.timeout(), errTimeout)
	defer cancel()
	client := &http.Client{
		Transport:     roundTripper(k.s.proxy.send),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ctx = context.WithValue(ctx, callKey{}, call{unit: u})
	return delivery.HTTP{URL: "http://" + k.service + "." + k.namespace + ".svc.cluster.local/", Client: client, Namespace: k.namespace}.Deliver(ctx, e)
}
