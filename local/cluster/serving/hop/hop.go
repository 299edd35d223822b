// Package hop sends requests over HTTP to one process on this machine: the last
// hop of a request to a function.
//
// There are two ways. The short one is for what nearly every request is: one of
// HTTP/1.1 without a body, or with a small one of known length. The caller's own
// goroutine takes a kept connection, writes the request at once and reads the
// answer, so that nobody is waited for but the process. The long way, for all
// other requests, is the standard library's transport, which has two goroutines
// for each connection. Answers are parsed by the standard library on both, and a
// request that failed is sent again under the same rules.
//
// A small body is read before the process gets any of its request, which an
// answer therefore cannot come before.
//
// A Transport may be used concurrently. It has no goroutines of its own on the
// short way; kept connections end by a timer or with CloseIdleConnections.
package hop

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of both ways.
const (
	dialTimeout = 5 * time.Second
	// maxIdle is how many connections are kept, and idleTime for how long.
	maxIdle  = 256
	idleTime = time.Minute
	// maxHead is how long the head of an answer may be, with those of the interim
	// answers before it: more than a server lets through.
	maxHead = 1 << 20
)

// Transport reaches one process.
type Transport struct {
	address string
	// short is whether the process speaks HTTP/1.1.
	short bool
	long  *http.Transport

	mu sync.Mutex
	// idle are the kept connections, the one used last at the end.
	idle   []*conn
	closed bool
	// sweeper ends connections that are kept too long; nil when there are none.
	sweeper *time.Timer
}

// New reaches the process that listens on an address, and that speaks HTTP/2
// without TLS if h2c.
func New(address string, h2c bool) *Transport {
	t := &Transport{address: address, short: !h2c}
	t.long = &http.Transport{
		// Whatever host the request is for, it is this one that has the process.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
		},
		MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTime, DisableCompression: true, MaxResponseHeaderBytes: maxHead,
		WriteBufferSize: 16 << 10, ReadBufferSize: 16 << 10,
	}
	t.long.Protocols = new(http.Protocols)
	if h2c {
		t.long.Protocols.SetUnencryptedHTTP2(true)
	} else {
		t.long.Protocols.SetHTTP1(true)
	}
	return t
}

// unsent is the error of a request of which the process got nothing.
type unsent struct{ err error }

// Error is the cause.
func (u unsent) Error() string { return u.err.Error() }

// Unwrap is the cause.
func (u unsent) Unwrap() error { return u.err }

// Unsent reports whether an error of Send is of a request of which the process
// got nothing, so that another process may have it.
func Unsent(err error) bool {
	var u unsent
	return errors.As(err, &u)
}

// RoundTrip implements http.RoundTripper, but for closing the body.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	q, err := NewRequest(r)
	if err != nil {
		return nil, err
	}
	defer q.Free()
	return t.Send(q)
}

// Send sends a request and returns the answer as soon as its head is there. The
// body of the answer must be closed. A request may be sent again after an error
// that is Unsent. The error of a context that has ended is its cause.
func (t *Transport) Send(q *Request) (*http.Response, error) {
	var resp *http.Response
	var err error
	if t.short && q.wire != nil {
		resp, err = t.sendShort(q)
	} else {
		resp, err = t.sendLong(q.r)
	}
	if err == nil {
		return resp, nil
	}
	if cause := context.Cause(q.r.Context()); cause != nil {
		return nil, cause
	}
	return nil, err
}

// sendLong sends a request by the standard library's transport.
func (t *Transport) sendLong(r *http.Request) (*http.Response, error) {
	// The transport may send a GET once more by itself, so that its error alone
	// does not say that the process has not seen the request.
	var seen atomic.Bool
	out := r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{WroteHeaders: func() { seen.Store(true) }}))
	url := *r.URL
	url.Scheme, url.Host = "http", t.address
	out.URL = &url
	if r.Host == "" {
		out.Host = r.URL.Host
	}
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = kept{r.Body}
	}
	resp, err := t.long.RoundTrip(out)
	if err != nil && !seen.Load() {
		err = unsent{err}
	}
	return resp, err
}

// sendShort sends a request that is in one piece, on a kept connection if there is
// one. If that turns out to be closed, the request is sent again on one of its
// own, as far as the rules of HTTP let it.
func (t *Transport) sendShort(q *Request) (*http.Response, error) {
	ctx := q.r.Context()
	if c := t.take(); c != nil {
		resp, err := c.exchange(q)
		if err == nil || ctx.Err() != nil || !errors.As(err, new(stale)) || !(Unsent(err) || q.replayable()) {
			return resp, err
		}
		sent := !Unsent(err)
		if c, err = t.dial(ctx); err != nil {
			if sent {
				return nil, err
			}
			return nil, unsent{err}
		}
		resp, err = c.exchange(q)
		var u unsent
		if sent && errors.As(err, &u) {
			err = u.err
		}
		return resp, err
	}
	c, err := t.dial(ctx)
	if err != nil {
		return nil, unsent{err}
	}
	return c.exchange(q)
}

// dial is a new connection to the process.
func (t *Transport) dial(ctx context.Context) (*conn, error) {
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	return newConn(t, c), nil
}
