package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// withheld are the headers by which the platform and its doors prove something to
// functions, so that no caller may send them: a token of a door, one of the platform,
// and for whom a function with a key of its own is called.
var withheld = []string{iam.CallerHeader, iam.PlatformHeader, "Selvedge-Principal"}

const (
	// dialTimeout is how long a connection may take to come about.
	dialTimeout = 10 * time.Second
	// answerTimeout is how long an answer may take to begin: a watch begins at once,
	// a call within a minute, and Knative waits no longer than this.
	answerTimeout = 5 * time.Minute
	// continueTimeout is how long a body waits for the word that it is wanted, if its
	// caller asked for that.
	continueTimeout = time.Second
	// maxIdle bounds the connections to one target that wait for the next request,
	// and idleTimeout how long they do, which is less than targets wait.
	maxIdle     = 100
	idleTimeout = 25 * time.Second
)

// front hands requests on.
type front struct {
	routes *routes
	// platform takes what is of no service in services.
	platform  http.Handler
	services  map[string]http.Handler
	transport *http.Transport
}

// newFront makes a front.
func newFront(s settings, r *routes, log *slog.Logger) *front {
	f := &front{routes: r, services: map[string]http.Handler{}, transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: answerTimeout,
		ExpectContinueTimeout: continueTimeout,
		MaxIdleConnsPerHost:   maxIdle,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true, // what the caller takes is between him and who answers
	}}
	f.platform = f.proxy(&target{url: s.platform, log: log})
	for domain, u := range s.services {
		f.services[domain] = f.proxy(&target{domain: domain, url: u, log: log})
	}
	return f
}

// proxy is what hands requests on to a target.
func (f *front) proxy(t *target) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: t.rewrite, ErrorHandler: t.failed, Transport: f.transport, FlushInterval: -1,
		ErrorLog: slog.NewLogLogger(t.log.Handler(), slog.LevelWarn),
	}
}

// close closes the connections that nobody uses.
func (f *front) close() error {
	f.transport.CloseIdleConnections()
	return nil
}

// ServeHTTP hands one request on. How long it may take is for who answers it to say:
// the server's own limits are lifted, which would end watches.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{})  // a connection without deadlines needs no lifting
	_ = c.SetWriteDeadline(time.Time{}) // likewise
	to, elsewhere := f.services[f.routes.serviceOf(r.URL.Path)]
	if !elsewhere {
		to = f.platform
	}
	u := &upload{ReadCloser: r.Body}
	r = r.WithContext(context.WithValue(r.Context(), uploadKey{}, u))
	r.Body = u
	to.ServeHTTP(w, r)
}

// upload is the body of a request, which knows whether it could not be read.
type upload struct {
	io.ReadCloser
	broken atomic.Bool
}

// uploadKey finds the upload of a context.
type uploadKey struct{}

// Read implements [io.Reader].
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		u.broken.Store(true)
	}
	return n, err
}

// target is where requests go: the platform, or the service of a domain.
type target struct {
	domain string
	url    *url.URL
	log    *slog.Logger
}

// rewrite is the request that the target gets: that of the caller, with the target's
// host, by which Knative finds a function, and the word of this connection on where
// it comes from. To the platform it is then never one of its own machine.
func (t *target) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(t.url)
	r.Out.URL.RawQuery = r.In.URL.RawQuery // as it is: nothing here reads it
	r.SetXForwarded()
	for _, name := range withheld {
		r.Out.Header.Del(name)
	}
}

// failed answers a request that the target did not. Who went away, or sends what
// cannot be read, is no error of anybody else.
func (t *target) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody reads an answer, and none must look like one
	}
	if u, ok := r.Context().Value(uploadKey{}).(*upload); ok && u.broken.Load() {
		fault.Write(w, &fault.Error{Op: "gateway", Kind: fault.Invalid, Reason: "UNREADABLE_BODY", Err: errors.New("the body of the request cannot be read to its end")})
		return
	}
	who := cmp.Or(t.domain, "the platform")
	t.log.Error("no answer", slog.String("from", who), slog.Any("error", err))
	fault.Write(w, &fault.Error{Op: "gateway", Name: t.domain, Kind: fault.Unavailable, Reason: "SERVICE_UNREACHABLE", Err: fmt.Errorf("%s cannot be reached", who)})
}
