// Package remote appends samples to the series store of a platform in another
// process, over HTTP: POST /v3/projects/P/timeSeries with Google Cloud
// Monitoring's JSON. What was answered with 2xx is durable there; the same
// again changes nothing, so an append that failed in the middle may be
// repeated.
//
// It keeps no descriptors: the platform makes them, and judges every point by
// them. The points that it can never store it reports in
// function.LossesHeader, whatever the status, when all others are durable;
// they are passed on to function.Drop. An Appender may be used concurrently.
// It does not read.
package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
)

const (
	// maxPoints bounds the points of a request: a few hundred kilobytes of
	// JSON, well below the body that a platform takes.
	maxPoints = 1000
	// maxAnswer bounds what is read of an answer: a problem body is short.
	maxAnswer = 64 << 10
	// timeout bounds one request, from dialling to the last byte. An append
	// waits for a disk, and for the appends before it.
	timeout = 10 * time.Second
	// maxIdle is how many connections are kept for events that are handled
	// at the same time.
	maxIdle = 64
)

// Appender appends to one platform; make it with New.
type Appender struct {
	url, key string
	http     *http.Client
}

// New makes an Appender to the platform at url ("http://HOST:PORT"), which
// proves itself with an API key.
func New(url, key string) *Appender {
	return &Appender{url: strings.TrimRight(url, "/"), key: key, http: &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: time.Minute},
		// A platform does not redirect; who does is somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Ensure returns d as it is. A kind or value type that d leaves out stays
// open, and the platform decides about it.
func (*Appender) Ensure(_ context.Context, d tsdb.Descriptor) (tsdb.Descriptor, error) { return d, nil }

// Sync has nothing to do: what Append returned for is durable.
func (*Appender) Sync(context.Context) error { return nil }

// Append makes the samples durable. On an error some of them may be, and all
// may be appended again. The error is Invalid or TooLarge when the platform
// will never take them, Exhausted when it says so, and else Unavailable: also
// when it does not know the key, since that is not the fault of the samples.
func (a *Appender) Append(ctx context.Context, samples []tsdb.Sample) error {
	for len(samples) > 0 {
		n := 0
		for n < len(samples) && n < maxPoints && samples[n].Series.Project == samples[0].Series.Project {
			n++
		}
		if err := a.post(ctx, samples[0].Series.Project, samples[:n]); err != nil {
			return err
		}
		samples = samples[n:]
	}
	return nil
}

// post sends samples of one project in one request.
func (a *Appender) post(ctx context.Context, project string, samples []tsdb.Sample) error {
	const op = "tsdb/remote.Append"
	unavailable := func(err error) error { return &fault.Error{Op: op, Kind: fault.Unavailable, Err: err} }
	body, err := json.Marshal(encode(project, samples))
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Invalid, Err: fmt.Errorf("encode: %w", err)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/v3/projects/"+project+"/timeSeries", bytes.NewReader(body))
	if err != nil {
		return unavailable(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+a.key)
	resp, err := a.http.Do(req)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read; nothing hangs on it
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return unavailable(fmt.Errorf("read answer: %w", err))
	}
	losses, err := function.ParseLosses(resp.Header.Get(function.LossesHeader))
	switch {
	case err != nil:
		return unavailable(err)
	case resp.StatusCode/100 != 2 && len(losses) == 0:
		refusal := fault.Parse(op, resp.StatusCode, answer)
		switch refusal.Kind {
		case fault.Invalid, fault.TooLarge, fault.Exhausted:
			return refusal
		}
		return unavailable(refusal)
	}
	for _, l := range losses {
		function.Drop(ctx, l.Reason, l.Count)
	}
	return nil
}
