package registry_test

import (
	"context"
	"io"
	"net/http"
	"strings"
)

// newRequest is a request whose path is taken as it is.
func newRequest(ctx context.Context, method, url, path, body string) (*http.Request, error) {
	if !strings.HasPrefix(path, "/") {
		path = "/v2/" + path
	}
	return http.NewRequestWithContext(ctx, method, url+path, strings.NewReader(body))
}

// send makes a request and reads its answer.
func send(req *http.Request) (int, error) {
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	if closeErr := res.Body.Close(); err == nil {
		err = closeErr
	}
	return res.StatusCode, err
}
