package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
)

// Body is what a request has to say: a media type, "" for none, and the bytes
// of it, as they come and of any length.
type Body struct {
	Type string
	In   io.Reader
}

// Stream makes a POST request with a body of any length, and returns the body
// of the answer as it comes, which the caller must close; it may begin before
// the request has ended. Errors are those of Call; one that comes later is that
// of Read.
func (c *Client) Stream(ctx context.Context, path string, query url.Values, body Body) (io.ReadCloser, error) {
	resp, err := c.sendAs(ctx, http.MethodPost, path, query, body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer func() { _ = resp.Body.Close() }()
		return nil, read("POST "+path, resp, nil)
	}
	return resp.Body, nil
}
