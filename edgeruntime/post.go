package edgeruntime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

const (
	// postTimeout is how long one batch may take until its answer is read. A
	// link that takes longer for 1 MiB is slower than 280 kbit/s, or dead
	// without having said so.
	postTimeout = 30 * time.Second
	// connectTimeout bounds each step of making a connection, within that.
	connectTimeout = 10 * time.Second
	// idleTimeout is how long a connection is kept between posts: longer than
	// the usual interval, shorter than most gateways remember one.
	idleTimeout = time.Minute
	// maxAnswer bounds what is read of an answer: 8 KiB for every event.
	maxAnswer = 8 << 10 * maxBatchEvents
	// maxRetryAfter bounds the wait that a platform can ask for, so that one
	// wrong header does not silence a device for good.
	maxRetryAfter = time.Hour
)

// endpoint is where batches go.
type endpoint struct {
	url    string
	key    func() (string, error)
	client *http.Client
	now    func() time.Time
}

// newEndpoint is the events endpoint of the platform in c.
func newEndpoint(c Config) *endpoint {
	return &endpoint{
		url: c.URL + "/v1/events",
		key: c.key,
		now: c.Now,
		client: &http.Client{
			Transport: c.Transport,
			// A redirected POST loses its body or its key on the way.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// newTransport is one connection with one request at a time. HTTP/1.1 on
// purpose: a request that times out then takes its connection with it, while
// HTTP/2 would try the next one on the same dead connection.
func newTransport() http.RoundTripper {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment, // as all clients of the machine
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout: connectTimeout,
		MaxIdleConns:        1,
		IdleConnTimeout:     idleTimeout,
		Protocols:           new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t
}

// refusal is an answer that settles no event.
type refusal struct {
	// fault says what to do by its Kind.
	fault *fault.Error
	after time.Duration
}

// Error implements error.
func (r *refusal) Error() string { return r.fault.Error() }

// Unwrap returns the fault.
func (r *refusal) Unwrap() error { return r.fault }

// RetryAfter is how long the platform asked to be left alone, 0 if it did not.
func (r *refusal) RetryAfter() time.Duration { return r.after }

// post sends a batch, which is a JSON list of events, and returns the verdicts
// in whatever order they came. Every error is a *refusal or a *fault.Error,
// and its Kind says what to do:
//
//   - Unauthenticated, Denied: the key is not good for this;
//   - TooLarge: send less at a time;
//   - Invalid: the platform itself says that the batch can never succeed;
//   - all others: there was no answer, or not one of the platform.
func (e *endpoint) post(ctx context.Context, batch []byte) ([]verdict, error) {
	const op = "edgeruntime.post"
	unavailable := func(err error) error { return &fault.Error{Op: op, Kind: fault.Unavailable, Err: err} }
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	key, err := e.key()
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Unauthenticated, Err: fmt.Errorf("read key: %w", err)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(batch))
	if err != nil {
		return nil, unavailable(err)
	}
	req.Header.Set("Content-Type", event.MediaBatch)
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, unavailable(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, unavailable(fmt.Errorf("read answer: %w", err))
	}
	if resp.StatusCode/100 != 2 {
		return nil, &refusal{fault: refusalOf(op, resp.StatusCode, body), after: e.retryAfter(resp.Header)}
	}
	var vs []verdict
	if err := json.Unmarshal(body, &vs); err != nil {
		return nil, unavailable(fmt.Errorf("answer is no list of verdicts: %w", err))
	}
	return vs, nil
}

// reasonCutShort is the platform's reason for a batch that did not arrive whole.
const reasonCutShort = "BODY_CUT_SHORT"

// refusalOf is what an answer other than success stands for. "The batch can
// never succeed" is believed only if the platform signed it with its error
// domain: a proxy, or the login page of a hotel, answers 400 too, and that must
// not empty a queue. Neither must a link that breaks in the middle of batches.
func refusalOf(op string, status int, body []byte) *fault.Error {
	f := fault.Parse(op, status, body)
	var p fault.Problem
	signed := json.Unmarshal(body, &p) == nil &&
		slices.ContainsFunc(p.Error.Details, func(d fault.Detail) bool { return d.Domain == fault.Domain })
	if f.Kind == fault.Invalid && (!signed || f.Reason == reasonCutShort) {
		f.Kind = fault.Unavailable
	}
	return f
}

// retryAfter is the wait that the answer asks for: seconds, or a date.
func (e *endpoint) retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil {
		return min(max(time.Duration(s), 0), maxRetryAfter/time.Second) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(e.now()), 0), maxRetryAfter)
	}
	return 0
}
