// Package rpc has the platform's gateway call services whose functions run as
// processes of their own, such as on Knative: a [Remote] is the end at the
// gateway, a [Function] the one in the process.
package rpc

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	gatewayrpc "selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/triggers/delivery"
)

// Remote is a server of sdk/gateway/rpc whose function runs as a process of its own, such as on
// Knative: each call is a CloudEvent that is posted to it, and its reply the
// answer. Watches are streams to the same place. [Function] is the other end.
type Remote struct {
	// Service describes it.
	Service *schema.Service
	// URL is where it is, Key proves that it is the gateway who calls.
	URL, Key string
	// Transport makes the requests; nil is http.DefaultTransport.
	Transport http.RoundTripper
}

var _ gatewayrpc.Server = Remote{}

// callTimeout bounds a call: a gateway in front of it gives up after as long.
const callTimeout = 60 * time.Second

// Schema implements Server.
func (r Remote) Schema() *schema.Service { return r.Service }

// Call implements Server.
func (r Remote) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	e, err := service.Event(m, req, rand.Text())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sink := delivery.HTTP{URL: r.URL, Client: &http.Client{Transport: iam.Delegate(r.Key, r.Transport)}}
	result := sink.Deliver(ctx, e)
	switch {
	case result.Err == nil:
		return service.Reply(m, result.Reply)
	case fault.KindOf(result.Err) == fault.Unauthenticated, fault.KindOf(result.Err) == fault.Denied:
		// The function does not believe the gateway: its caller cannot help it.
		return nil, &fault.Error{Op: string(m.Name), Kind: fault.Unavailable, Reason: "GATEWAY_REFUSED", Err: result.Err}
	}
	return nil, result.Err
}

// Stream implements Server.
func (r Remote) Stream(ctx context.Context, m *schema.Method, req proto.Message, send func(proto.Message) error) error {
	c := rpc.Client{URL: r.URL, HTTP: &http.Client{Transport: iam.Delegate(r.Key, r.Transport)}}
	return c.Watch(ctx, m, req, send)
}

// Function serves a service as a function of its own: calls come as events,
// watches as streams, both from who has the key and on behalf of the principal
// that he names.
func Function(s *service.Service, key string) (http.Handler, error) {
	h, err := gatewayrpc.New(gatewayrpc.Options{Servers: []gatewayrpc.Server{s}, Next: function.HTTP(s.Handler(), function.Options{})})
	if err != nil {
		return nil, err
	}
	return iam.Delegated(key, h), nil
}
