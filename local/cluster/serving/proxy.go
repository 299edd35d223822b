package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// PrincipalHeader tells a function who calls: the name of the principal, absent
// for anonymous callers. What a caller sends under this name is removed.
const PrincipalHeader = "Selvedge-Principal"

// withheld reports whether a function never gets a header as the caller sent it:
// it has credentials of the platform, or is what only this proxy says.
func withheld(name string) bool {
	switch name {
	case "Authorization", "X-Api-Key", "Proxy-Authorization", PrincipalHeader, iam.CallerHeader, "X-Forwarded-Prefix":
		return true
	}
	return false
}

// errTimeout is that an answer took too long.
var errTimeout = errors.New("the revision's timeout is over")

// errSlowStart is that no answer began in time.
var errSlowStart = errors.New("the revision's timeout for the begin of an answer is over")

// call is one request on its way: found by the proxy in the request's context.
type call struct {
	unit *unit
	// prefix is what is cut off the path, "" if the host says where to go.
	prefix string
	// caller proves to the function who calls, "" if nothing does.
	caller string
}

// callKey finds the call of a context.
type callKey struct{}

// proxy sends requests to functions.
type proxy struct {
	s       *Serving
	buffers buffers
	// reverse is for the requests that relay does not take.
	reverse *httputil.ReverseProxy
}

// newProxy is the proxy of s.
func newProxy(s *Serving) *proxy {
	p := &proxy{s: s}
	p.reverse = &httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: roundTripper(p.send), ErrorHandler: p.failed, BufferPool: &p.buffers,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return p
}

// buffers are what answers are copied with; one whose length is not known is
// flushed with every part.
type buffers struct{ pool sync.Pool }

// bufferSize is that of the standard library's copy.
const bufferSize = 32 << 10

// Get is a buffer.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, bufferSize)
}

// Put gives it back.
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

// roundTripper is a function as a transport.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls the function.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// rewrite is the request that a function gets.
func (p *proxy) rewrite(r *httputil.ProxyRequest) {
	c, _ := r.In.Context().Value(callKey{}).(call)
	r.SetXForwarded()
	maps.DeleteFunc(r.Out.Header, func(name string, _ []string) bool { return withheld(name) })
	c.mark(r.In.Context(), r.Out.Header)
	c.point(r.Out, r.In)
}

// below is a path without its prefix.
func below(path, prefix string) string {
	if path = strings.TrimPrefix(path, prefix); path == "" {
		return "/"
	}
	return path
}

// answerTime is left to say that a revision took too long.
const answerTime = 5 * time.Second

// ServeHTTP sends a request to the function that its path or its host names.
func (s *Serving) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace, name, prefix, ok := s.split(r)
	if !ok {
		fault.Write(w, &fault.Error{Op: "serving", Kind: fault.NotFound, Err: errors.New("a function is at " + PathPrefix + "{namespace}/{service}")})
		return
	}
	u, service, found := s.find(namespace, name)
	if err := s.o.Authorize(r.Context(), namespace, service); err != nil {
		fault.Write(w, err)
		return
	}
	if found != nil {
		fault.Write(w, found)
		return
	}
	caller, err := s.caller(r.Context(), named{namespace, service})
	if err != nil {
		fault.Write(w, err)
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), u.timeout(), errTimeout)
	defer cancel()
	// The port's own bound of reading is shorter than what a function may take. Its
	// end also ends the request, so that it comes after the answer.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(u.timeout() + answerTime)) // a writer without it has no bound
	c := call{u, prefix, caller}
	if relayed(r) {
		s.proxy.relay(w, r.WithContext(ctx), c, u.send)
		return
	}
	s.proxy.reverse.ServeHTTP(w, r.WithContext(context.WithValue(ctx, callKey{}, c)))
}

// caller proves to a function who makes the request of ctx, unless that is nobody
// known.
func (s *Serving) caller(ctx context.Context, function named) (string, error) {
	if s.o.Caller == nil || iam.PrincipalOf(ctx).Name == "" {
		return "", nil
	}
	return s.o.Caller(iam.PrincipalOf(ctx), function.String())
}

// Serves reports whether a request is for a function by its host.
func (s *Serving) Serves(r *http.Request) bool {
	_, _, ok := s.host(r)
	return ok
}

// host is the service that the host of a request names.
func (s *Serving) host(r *http.Request) (namespace, name string, ok bool) {
	if s.o.Domain == "" {
		return "", "", false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	rest, ok := strings.CutSuffix(strings.ToLower(host), "."+strings.ToLower(s.o.Domain))
	if !ok {
		return "", "", false
	}
	name, namespace, ok = strings.Cut(rest, ".")
	return namespace, name, ok && name != "" && namespace != "" && !strings.Contains(namespace, ".")
}

// split is the service that a request names, and the part of the path that does.
func (s *Serving) split(r *http.Request) (namespace, name, prefix string, ok bool) {
	if namespace, name, ok = s.host(r); ok {
		return namespace, name, "", true
	}
	rest, ok := strings.CutPrefix(r.URL.Path, PathPrefix)
	if !ok {
		return "", "", "", false
	}
	namespace, rest, _ = strings.Cut(rest, "/")
	name, _, _ = strings.Cut(rest, "/")
	if namespace == "" || name == "" {
		return "", "", "", false
	}
	return namespace, name, PathPrefix + namespace + "/" + name, true
}

// find is the unit of the next request for a name: a service's, or a tag's
// before the name of its service. The service is the one to ask the rights of,
// also when there is none.
func (s *Serving) find(namespace, name string) (u *unit, service string, err error) {
	asked := name
	s.mu.RLock()
	defer s.mu.RUnlock()
	var to named
	t, ok := s.routes[named{namespace, name}]
	if ok {
		if to, ok = t.pick(); !ok {
			return nil, name, &fault.Error{Op: "serving", Kind: fault.Unavailable, Reason: "NOT_READY", Name: name, Err: fmt.Errorf("the function %q has no revision that is ready", name)}
		}
	} else {
		for i := range name {
			if name[i] != '-' || i == 0 {
				continue
			}
			if t := s.routes[named{namespace, name[i+1:]}]; t != nil {
				if to, ok = t.tags[name[:i]]; ok {
					name = name[i+1:]
					break
				}
			}
		}
	}
	if !ok {
		return nil, name, &fault.Error{Op: "serving", Kind: fault.NotFound, Name: asked, Err: fmt.Errorf("there is no function %q in %q", asked, namespace)}
	}
	if u = s.units[to]; u == nil {
		return nil, name, &fault.Error{Op: "serving", Kind: fault.Unavailable, Reason: "NOT_READY", Name: name, Err: fmt.Errorf("the revision %q is not there", to.name)}
	}
	return u, name, nil
}

// send sends a request to an instance of the unit that the context names.
func (p *proxy) send(r *http.Request) (*http.Response, error) {
	c, ok := r.Context().Value(callKey{}).(call)
	if !ok {
		return nil, errors.New("BUG: a request without a revision")
	}
	return c.unit.send(r)
}

// send sends a request to an instance of the unit.
func (u *unit) send(r *http.Request) (*http.Response, error) {
	if seconds := value(u.spec.ResponseStartTimeoutSeconds); seconds > 0 {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer time.AfterFunc(time.Duration(seconds)*time.Second, func() { cancel(errSlowStart) }).Stop()
		r = r.WithContext(ctx)
	}
	return u.pool.RoundTrip(r)
}

// failed answers a request that no instance did.
func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadGateway
	switch kind := fault.KindOf(err); {
	case errors.Is(err, errTimeout), errors.Is(err, errSlowStart):
		status = http.StatusGatewayTimeout
		err = &fault.Error{Op: "serving", Kind: fault.Unavailable, Reason: "TIMEOUT", Err: err}
	case r.Context().Err() != nil:
		return // nobody reads the answer
	case kind == fault.Exhausted, kind == fault.Unavailable && !isNet(err):
		fault.Write(w, err)
		return
	default:
		p.s.log.Debug("request failed", slog.Any("error", err))
		err = &fault.Error{Op: "serving", Kind: fault.Unavailable, Reason: "NO_ANSWER", Err: errors.New("the function ended the connection without an answer")}
	}
	problem := fault.ProblemOf(err)
	problem.Error.Code = status
	fault.WriteProblem(w, problem)
}

// isNet reports whether an error is one of the connection to the instance.
func isNet(err error) bool {
	var e net.Error
	var u *url.Error
	return errors.As(err, &e) || errors.As(err, &u)
}
