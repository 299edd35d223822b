package devicesv1

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
)

// answers is a transport that gives answers without a network.
type answers func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reply is an HTTP answer with that status and body.
func reply(status int, body string) answers {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

// problem is the body of a fault.
func problem(kind fault.Kind) string {
	w := httptest.NewRecorder()
	fault.Write(w, &fault.Error{Kind: kind})
	return w.Body.String()
}

// with is a client over a transport.
func with(transport http.RoundTripper) *Client {
	return NewClientOver(transport, "http://platform.example", "svk_secret")
}

const deviceName = "projects/p/devices/d"

// Only the registry's own word that there is no such device is NotFound.
func TestClient_KindsOfAnswers(t *testing.T) {
	t.Parallel()
	f := func(want fault.Kind, status int, body string) {
		t.Helper()
		d, err := with(reply(status, body)).Device(t.Context(), deviceName)
		require.Nil(t, d)
		require.Equal(t, want, fault.KindOf(err), "%v", err)
		require.NotContains(t, err.Error(), "svk_secret")
	}
	f(fault.NotFound, 404, problem(fault.NotFound))
	f(fault.Exhausted, 429, problem(fault.Exhausted))
	f(fault.Unavailable, 404, "404 page not found\n")
	f(fault.Unavailable, 404, "")
	f(fault.Unavailable, 404, `{"error":{"message":"no such route"}}`)
	f(fault.Unavailable, 400, problem(fault.Invalid))
	f(fault.Unavailable, 401, problem(fault.Unauthenticated))
	f(fault.Unavailable, 403, problem(fault.Denied))
	f(fault.Unavailable, 500, problem(fault.Internal))
	f(fault.Unavailable, 503, problem(fault.Unavailable))
	f(fault.Unavailable, 302, "")
	f(fault.Unavailable, 200, "<html>sign in</html>")
	f(fault.Unavailable, 200, "{}")
	f(fault.Unavailable, 200, `{"name":"projects/p/devices/other"}`)
	f(fault.Unavailable, 200, `{"name":"projects/p/devices/d"`)
}

func TestClient_UnreachableIsUnavailable(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // Nothing listens there now.
	for _, base := range []string{server.URL, "", "http://[::1", "ftp://platform.example"} {
		c := NewClient(base, "k")
		_, err := c.Device(t.Context(), deviceName)
		require.Equal(t, fault.Unavailable, fault.KindOf(err), "%q: %v", base, err)
		_, err = c.Resolve(t.Context(), "p", External{"n", "k", "v"})
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		_, err = c.Blueprint(t.Context(), "projects/p/blueprints/b")
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := NewClient("http://platform.example", "k").Device(ctx, deviceName)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

// The key stays with the platform that it is for.
func TestClient_FollowsNoRedirect(t *testing.T) {
	t.Parallel()
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer server.Close()
	_, err := NewClient(server.URL, "k").Device(t.Context(), deviceName)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.False(t, reached)
}

func TestClient_TimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := with(answers(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		began := time.Now()
		_, err := c.Device(t.Context(), deviceName)
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		require.Equal(t, clientTimeout, time.Since(began))
	})
}

// An answer counts for five seconds, and so does an absence; a failure does not
// count at all.
func TestClient_KeepsAnswersForATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		now := reply(404, problem(fault.NotFound))
		c := with(answers(func(r *http.Request) (*http.Response, error) {
			requests++
			require.Equal(t, "Bearer svk_secret", r.Header.Get("Authorization"))
			return now(r)
		}))
		f := func(want fault.Kind, sent int) {
			t.Helper()
			_, err := c.Device(t.Context(), deviceName)
			if want == fault.Internal {
				require.NoError(t, err)
			} else {
				require.Equal(t, want, fault.KindOf(err))
			}
			require.Equal(t, sent, requests)
		}
		f(fault.NotFound, 1)
		f(fault.NotFound, 1)
		now = reply(503, "")
		time.Sleep(clientTTL - time.Nanosecond)
		f(fault.NotFound, 1)
		time.Sleep(time.Nanosecond)
		f(fault.Unavailable, 2)
		f(fault.Unavailable, 3)
		now = reply(200, `{"name":"projects/p/devices/d","newField":1}`)
		f(fault.Internal, 4)
		now = reply(503, "")
		f(fault.Internal, 4)
		time.Sleep(clientTTL)
		f(fault.Unavailable, 5)
	})
}

func TestClient_WritesTheQuestionIntoTheURL(t *testing.T) {
	t.Parallel()
	var asked []string
	c := with(answers(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.Method+" "+r.URL.String())
		return reply(200, `{"name":"projects/p/devices/d"}`)(r)
	}))
	_, err := c.Device(t.Context(), deviceName)
	require.NoError(t, err)
	_, err = c.Resolve(t.Context(), "p", External{"a b", "k&x=1", "v/#?"})
	require.NoError(t, err)
	_, err = c.Device(t.Context(), "projects/p/devices/../../q")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.Equal(t, []string{
		"GET http://platform.example/v1/projects/p/devices/d",
		"GET http://platform.example/v1/projects/p/devices:resolve?key=k%26x%3D1&network=a+b&value=v%2F%23%3F",
	}, asked)
}
