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
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, body)
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Invalid, Err: err}
	}
	req.URL.RawQuery = query.Encode()
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	return c.do(op, req, out)
}

// do sends req and decodes the answer into out, unless nil.
func (c *Client) do(op string, req *http.Request, out any) error {
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	resp, err := h.Do(req)
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Unavailable, Reason: "NO_ANSWER", Err: err}
	}
	defer func() { _ = resp.Body.Close() }() // the answer was read as far as it is wanted
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
