package pool

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// newTransport reaches one process. Connections are kept for the next request:
// a dial costs more than a warm request.
func newTransport(h2c bool) *http.Transport {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true,
		WriteBufferSize: 16 << 10, ReadBufferSize: 16 << 10,
	}
	t.Protocols = new(http.Protocols)
	if h2c {
		t.Protocols.SetUnencryptedHTTP2(true)
	} else {
		t.Protocols.SetHTTP1(true)
	}
	return t
}

// attempts is how many instances a request is tried on that have gone unnoticed.
const attempts = 3

// RoundTrip sends a request to the best instance, which it waits for as long as
// the request's context lasts. The instance has the request until the body of
// the answer is closed. An instance that cannot even be connected to gets none
// of the request, and another one is tried.
func (p *Pool) RoundTrip(r *http.Request) (*http.Response, error) {
	body := r.Body
	// The transport may send a GET once more by itself, so that its error alone
	// does not say that no instance has seen the request.
	var seen atomic.Bool
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{WroteHeaders: func() { seen.Store(true) }}))
	for n := 1; ; n++ {
		l, err := p.acquire(r.Context())
		if err != nil {
			return nil, closing(body, err)
		}
		resp, err := l.send(r)
		if err == nil {
			return resp, nil
		}
		gone := r.Context().Err() == nil
		if gone {
			p.suspect(l.i)
		}
		p.release(l)
		if gone && n < attempts && !seen.Load() {
			continue
		}
		return nil, closing(body, fmt.Errorf("%s: %w", l.i.name, err))
	}
}

// closing closes the body of a request that was not sent, as a RoundTripper must.
func closing(body io.Closer, err error) error {
	if body != nil {
		_ = body.Close() // the request failed already
	}
	return err
}

// suspect has an instance that gave no answer take no requests until it was
// asked how it is: most likely its process has ended.
func (p *Pool) suspect(i *instance) {
	select {
	case i.recheck <- struct{}{}:
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i.phase == Ready {
		i.phase = Unready
	}
}

// send sends the request to the instance. The lease is released with the body
// of the answer.
func (l Lease) send(r *http.Request) (*http.Response, error) {
	p := l.i.p
	p.mu.Lock()
	transport, address := l.i.transport, l.i.address
	p.mu.Unlock()
	out := *r
	url := *r.URL
	url.Scheme, url.Host = "http", address
	out.URL = &url
	if r.Host == "" {
		out.Host = r.URL.Host
	}
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = kept{r.Body}
	}
	resp, err := transport.RoundTrip(&out)
	if err != nil {
		if cause := context.Cause(r.Context()); cause != nil {
			err = cause
		}
		return nil, err
	}
	done := sync.OnceFunc(func() { p.release(l) })
	if rw, ok := resp.Body.(io.ReadWriteCloser); ok {
		resp.Body = &upgraded{rw, done}
	} else {
		resp.Body = &answer{resp.Body, done}
	}
	return resp, nil
}

// kept is a body that another attempt may need: the transport cannot close it.
type kept struct{ io.Reader }

// Close leaves the body to the caller of RoundTrip, who has it open.
func (kept) Close() error { return nil }

// answer is the body of an answer, which ends the request.
type answer struct {
	io.ReadCloser
	done func()
}

// Close ends the request.
func (a *answer) Close() error {
	defer a.done()
	return a.ReadCloser.Close()
}

// upgraded is the connection of a request that switched protocols.
type upgraded struct {
	io.ReadWriteCloser
	done func()
}

// Close ends the request.
func (u *upgraded) Close() error {
	defer u.done()
	return u.ReadWriteCloser.Close()
}
