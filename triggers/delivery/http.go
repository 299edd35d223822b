package delivery

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// HTTP is a function behind a URL: a Knative service, a process on this
// machine, or anybody's CloudEvents receiver. Events go out in binary mode.
type HTTP struct {
	// URL is where events are posted.
	URL string
	// Client is the client to use; http.DefaultClient when nil.
	Client *http.Client
	// Limits bounds the reply.
	Limits event.Limits
	// Namespace is what the subscriber is told to be the namespace of its
	// trigger, as on Knative; "" tells none.
	Namespace string
}

var _ Sink = HTTP{}

// maxProblem bounds what is read of an answer that is an error.
const maxProblem = 16 << 10

// Deliver posts the event and reads the answer. A 2xx answer with a body that
// is no event is a failure, 502, as on Knative: the subscriber meant to say
// something that would be lost.
func (s HTTP) Deliver(ctx context.Context, e event.Event) Result {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(e.Data()))
	if err != nil {
		return failed(http.StatusBadRequest, fmt.Errorf("deliver: %w", err), nil)
	}
	if err := event.SetHeaders(req.Header, &e); err != nil {
		return failed(http.StatusBadRequest, fmt.Errorf("deliver: %w", err), nil)
	}
	req.Header.Set("Prefer", "reply")
	if s.Namespace != "" {
		req.Header.Set("Kn-Namespace", s.Namespace)
	}
	client := s.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return failed(0, &fault.Error{Op: "delivery.HTTP", Kind: fault.Unavailable, Reason: "NO_ANSWER", Err: err}, nil)
	}
	defer func() { _ = resp.Body.Close() }() // the answer was read as far as it is wanted
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
		if err != nil {
			return failed(resp.StatusCode, fmt.Errorf("deliver: read answer: %w", err), nil)
		}
		return failed(resp.StatusCode, fault.Parse("delivery.HTTP", resp.StatusCode, body), body)
	}
	reply, err := event.FromResponse(resp, s.Limits)
	if err != nil {
		return failed(http.StatusBadGateway, fmt.Errorf("deliver: reply: %w", err), nil)
	}
	losses, err := function.ParseLosses(resp.Header.Get(function.LossesHeader))
	if err != nil {
		return failed(http.StatusBadGateway, fmt.Errorf("deliver: reply: %w", err), nil)
	}
	return succeeded(reply, losses)
}
