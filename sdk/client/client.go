// Package client speaks to a platform over its REST doors: JSON in, JSON out,
// and errors as faults of the kind that the platform gave them. The command
// line and functions in processes of their own stand on it.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"selvedge.dev/sdk/fault"
)

// Client calls one platform as one principal. It may be used concurrently.
type Client struct {
	// URL is where the platform is: "http://127.0.0.1:8080".
	URL string
	// Key is the API key, "" to call anonymously.
	Key string
	// HTTP is the client to use; http.DefaultClient when nil.
	HTTP *http.Client
}

// maxAnswer bounds an answer. A page of time series may be large; an answer
// beyond this is not one of ours.
const maxAnswer = 64 << 20

// Call makes a request with in as its JSON body, unless nil, and decodes the
// answer into out, unless nil. An answer that is no 2xx is an error with the
// platform's kind, reason and text; no answer is Unavailable.
func (c *Client) Call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	op := method + " " + path
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		body = bytes.NewReader(b)
	}
	resp, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // the answer was read as far as it is wanted
	return read(op, resp, out)
}

// Open makes a GET request and returns the body of the answer as it comes, of
// any length, which the caller must close. Errors are those of Call; one that
// comes later is that of Read.
func (c *Client) Open(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	resp, err := c.send(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer func() { _ = resp.Body.Close() }()
		return nil, read("GET "+path, resp, nil)
	}
	return resp.Body, nil
}

// send makes a request, with a body in JSON unless it is nil.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	return c.sendAs(ctx, method, path, query, Body{"application/json", body})
}

// sendAs makes a request.
func (c *Client) sendAs(ctx context.Context, method, path string, query url.Values, body Body) (*http.Response, error) {
	op := method + " " + path
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, body.In)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Invalid, Err: err}
	}
	req.URL.RawQuery = query.Encode()
	if body.In != nil && body.Type != "" {
		req.Header.Set("Content-Type", body.Type)
	}
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	resp, err := h.Do(req)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Unavailable, Reason: "NO_ANSWER", Err: err}
	}
	return resp, nil
}

// read decodes an answer into out, unless nil.
func read(op string, resp *http.Response, out any) error {
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Unavailable, Reason: "ANSWER_CUT_SHORT", Err: err}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fault.Parse(op, resp.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	if raw, ok := out.(*json.RawMessage); ok {
		*raw = answer
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: answer: %w", op, err)
	}
	return nil
}
