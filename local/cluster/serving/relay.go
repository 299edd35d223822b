package serving

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"selvedge.dev/sdk/iam"
)

// relayed reports whether a request is one that relay sends as it is: nearly every
// one. The others need what the standard library's proxy does: their connection
// becomes another protocol, they have trailers, or a query that could be understood
// in more than one way.
func relayed(r *http.Request) bool {
	for _, name := range []string{"Upgrade", "Te", "Trailer", "Expect"} {
		if _, ok := r.Header[name]; ok {
			return false
		}
	}
	for _, v := range r.Header["Connection"] {
		if !strings.EqualFold(v, "keep-alive") && !strings.EqualFold(v, "close") {
			return false
		}
	}
	return !strings.ContainsAny(r.URL.RawQuery, ";%")
}

// relay sends a request to a function and its answer back.
func (p *proxy) relay(w http.ResponseWriter, r *http.Request, c call, send roundTripper) {
	out := r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		passHeaders(w.Header(), http.Header(h))
		w.WriteHeader(code)
		clear(w.Header()) // else the answer would have them too
		return nil
	}}))
	url := *r.URL
	out.URL, out.Header, out.Body, out.Close = &url, forwarded(r, c), nil, false
	c.point(out, r)
	if r.ContentLength != 0 && r.Body != nil {
		body := &lent{from: r.Body, interrupt: http.NewResponseController(w).SetReadDeadline}
		defer body.end()
		defer context.AfterFunc(r.Context(), body.late)()
		out.Body = body
	}
	resp, err := send(out)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		_ = resp.Body.Close() // nobody asked for it
		err = errors.New("the function speaks another protocol than it was asked for")
	}
	if err != nil {
		p.failed(w, out, err)
		return
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or nobody reads it
	if err := p.answer(w, resp); err != nil {
		p.s.log.Debug("answer not passed on", slog.Any("error", err))
		if r.Context().Value(http.ServerContextKey) != nil {
			panic(http.ErrAbortHandler) // so that the caller does not take a part for the whole
		}
	}
}

// forwarded are the headers of a request as a function gets them.
func forwarded(r *http.Request, c call) http.Header {
	h := make(http.Header, len(r.Header)+6)
	for k, v := range r.Header {
		switch k {
		case "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto":
		default:
			if !withheld(k) && !perHop(k) {
				h[k] = v
			}
		}
	}
	if ip, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		h["X-Forwarded-For"] = []string{ip}
	}
	h["X-Forwarded-Host"], h["X-Forwarded-Proto"] = []string{r.Host}, []string{"http"}
	if r.TLS != nil {
		h["X-Forwarded-Proto"] = []string{"https"}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // a caller who says nothing of it is no Go program
	}
	c.mark(r.Context(), h)
	return h
}

// perHop reports whether a header is of a connection, not of what it carries.
func perHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// passHeaders adds the headers of an answer to those that there are.
func passHeaders(to, from http.Header) {
	for _, v := range from["Connection"] { // which names others that end here
		for name := range strings.SplitSeq(v, ",") {
			from.Del(textproto.TrimString(name))
		}
	}
	for k, v := range from {
		switch {
		case perHop(k):
		case len(to[k]) == 0:
			to[k] = v
		default:
			to[k] = append(to[k], v...)
		}
	}
}

// answer passes an answer on. The error is that of its body or of the caller's
// connection.
func (p *proxy) answer(w http.ResponseWriter, resp *http.Response) error {
	passHeaders(w.Header(), resp.Header)
	announced := len(resp.Trailer)
	for k := range resp.Trailer {
		w.Header().Add("Trailer", k)
	}
	w.WriteHeader(resp.StatusCode)
	if resp.Body != http.NoBody {
		buffer := p.buffers.Get()
		defer p.buffers.Put(buffer)
		var err error
		if streams(resp) {
			err = stream(w, resp.Body, buffer)
		} else {
			err = pass(resp.Body, buffer, w.Write)
		}
		if err != nil {
			return err
		}
	}
	if len(resp.Trailer) == 0 {
		return nil
	}
	// The length of a short body is said otherwise, and then there are no trailers.
	_ = http.NewResponseController(w).Flush() // a writer without it has no trailers
	prefix := ""
	if len(resp.Trailer) != announced {
		prefix = http.TrailerPrefix
	}
	for k, v := range resp.Trailer {
		w.Header()[prefix+k] = v
	}
	return nil
}

// streams reports whether each part of an answer is for now: one whose length
// nobody knows, or of events.
func streams(resp *http.Response) bool {
	if resp.ContentLength < 0 {
		return true
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "text/event-stream")
}

// headDelay is how long the head of an answer waits for the first part, so that
// both are written at once.
const headDelay = time.Millisecond

// stream passes each part of a body on when it comes.
func stream(w http.ResponseWriter, from io.Reader, buffer []byte) error {
	var mu sync.Mutex
	begun := false
	flush := http.NewResponseController(w).Flush
	defer time.AfterFunc(headDelay, func() {
		mu.Lock()
		defer mu.Unlock()
		if !begun {
			_ = flush() // the next write says it too
		}
	}).Stop()
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		begun = true // nobody may write when this has returned
	}()
	return pass(from, buffer, func(part []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		begun = true
		n, err := w.Write(part)
		if err == nil {
			err = flush()
		}
		return n, err
	})
}

// pass reads to the end and writes each part.
func pass(from io.Reader, buffer []byte, write func([]byte) (int, error)) error {
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := write(buffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// lent is the body of a request, which nobody reads when its handler has ended.
type lent struct {
	from io.Reader
	// interrupt ends a read that waits.
	interrupt func(time.Time) error

	mu    sync.Mutex
	ended bool
}

// Read implements io.Reader.
func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	ended := l.ended
	l.mu.Unlock()
	if ended {
		return 0, http.ErrBodyReadAfterClose
	}
	return l.from.Read(p)
}

// Close leaves the body to the server, which has it open.
func (l *lent) Close() error { return nil }

// late has a body that does not come end with the time of its request.
func (l *lent) late() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		_ = l.interrupt(time.Now()) // a writer without it has no bound
	}
}

// end ends the reading.
func (l *lent) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// point has a request go to where its function sees it, without the prefix.
func (c call) point(out, in *http.Request) {
	out.Host = in.Host
	out.URL.Scheme, out.URL.Host = "http", in.Host
	if c.prefix == "" {
		return
	}
	out.URL.Path = below(in.URL.Path, c.prefix)
	out.URL.RawPath = ""
	if raw := in.URL.EscapedPath(); raw != in.URL.Path {
		out.URL.RawPath = below(raw, c.prefix)
	}
}

// mark says in the headers of a request who calls, and what was cut off its path.
func (c call) mark(ctx context.Context, h http.Header) {
	if who := iam.PrincipalOf(ctx).Name; who != "" {
		h[PrincipalHeader] = []string{who}
	}
	if c.caller != "" {
		h[iam.CallerHeader] = []string{c.caller}
	}
	if c.prefix != "" {
		h["X-Forwarded-Prefix"] = []string{c.prefix}
	}
}
