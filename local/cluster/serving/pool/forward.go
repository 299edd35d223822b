package pool

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"selvedge.dev/local/cluster/serving/hop"
)

// attempts is how many instances a request is tried on that have gone unnoticed.
const attempts = 3

// RoundTrip sends a request to the best instance, which it waits for as long as
// the request's context lasts. The instance has the request until the body of
// the answer is closed. An instance that cannot even be connected to gets none
// of the request, and another one is tried.
func (p *Pool) RoundTrip(r *http.Request) (*http.Response, error) {
	q, err := hop.NewRequest(r)
	if err != nil {
		return nil, closing(r.Body, err)
	}
	defer q.Free()
	for n := 1; ; n++ {
		l, err := p.acquire(r.Context())
		if err != nil {
			return nil, closing(r.Body, err)
		}
		resp, err := l.send(q)
		if err == nil {
			return resp, nil
		}
		gone := r.Context().Err() == nil
		if gone {
			p.suspect(l.i)
		}
		p.release(l)
		if gone && n < attempts && hop.Unsent(err) {
			continue
		}
		return nil, closing(r.Body, fmt.Errorf("%s: %w", l.i.name, err))
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
func (l Lease) send(q *hop.Request) (*http.Response, error) {
	p := l.i.p
	p.mu.Lock()
	transport := l.i.transport
	p.mu.Unlock()
	resp, err := transport.Send(q)
	if err != nil {
		return nil, err
	}
	body := &answer{ReadCloser: resp.Body, lease: l}
	if w, ok := resp.Body.(io.Writer); ok {
		resp.Body = upgraded{body, w}
	} else {
		resp.Body = body
	}
	return resp, nil
}

// answer is the body of an answer, which ends the request.
type answer struct {
	io.ReadCloser
	lease    Lease
	released atomic.Bool
}

// Close ends the request.
func (a *answer) Close() error {
	defer func() {
		if !a.released.Swap(true) {
			a.lease.i.p.release(a.lease)
		}
	}()
	return a.ReadCloser.Close()
}

// upgraded is the connection of a request that switched protocols.
type upgraded struct {
	*answer
	io.Writer
}
