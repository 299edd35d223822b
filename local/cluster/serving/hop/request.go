package hop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// maxWire is how long a request of the short way may be, head and body. The
// sockets of a connection take that much without anybody reading, so that a
// process may answer first and read later.
const maxWire = 32 << 10

// Request is a request that can be sent.
type Request struct {
	r *http.Request
	// wire is the request as it is sent, nil for one of the long way.
	wire *[]byte
}

// wires are buffers of requests.
var wires = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

// NewRequest makes a request ready to be sent, for which it reads a small body.
// The body stays open in any case. The error is of reading it, or the cause of a
// context that has ended meanwhile.
func NewRequest(r *http.Request) (*Request, error) {
	q := &Request{r: r}
	if !plain(r) {
		return q, nil
	}
	b, _ := wires.Get().(*[]byte)
	q.wire = b
	ok := false
	if *b, ok = appendHead((*b)[:0], r); !ok || int64(len(*b))+r.ContentLength > maxWire {
		q.Free()
		return q, nil
	}
	if err := q.read(); err != nil {
		q.Free()
		if cause := context.Cause(r.Context()); cause != nil {
			err = cause
		}
		return nil, err
	}
	return q, nil
}

// Free gives the memory of a request back, which is not sent any more.
func (q *Request) Free() {
	if q.wire != nil {
		wires.Put(q.wire)
		q.wire = nil
	}
}

// read appends the body, whose length is what the request says.
func (q *Request) read() error {
	n := int(q.r.ContentLength)
	if n == 0 {
		return nil
	}
	b := *q.wire
	head := len(b)
	b = append(b, make([]byte, n)...)
	*q.wire = b
	got, err := 0, error(nil)
	for got < n && err == nil {
		var k int
		k, err = q.r.Body.Read(b[head+got:])
		got += k
	}
	var more [1]byte
	for got == n && err == nil { // most bodies said already that this is their end
		var k int
		if k, err = q.r.Body.Read(more[:]); k > 0 {
			return fmt.Errorf("the body is longer than the %d bytes that it should have", n)
		}
	}
	switch {
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read the body: %w", err)
	case got < n:
		return fmt.Errorf("the body ends after %d of %d bytes: %w", got, n, io.ErrUnexpectedEOF)
	}
	return nil
}

// replayable reports whether the request may be sent again when it is not known
// whether the process has seen it: what the standard library's transport does
// by the same rule.
func (q *Request) replayable() bool {
	r := q.r
	if r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
		return false
	}
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return len(r.Header["Idempotency-Key"]) > 0 || len(r.Header["X-Idempotency-Key"]) > 0
}

// plain reports whether a request is one of the short way, as far as can be seen
// without its headers.
func plain(r *http.Request) bool {
	if r.Close || len(r.TransferEncoding) > 0 || len(r.Trailer) > 0 || r.URL == nil || r.URL.Opaque != "" {
		return false
	}
	if r.Body == nil || r.Body == http.NoBody {
		return r.ContentLength == 0
	}
	return r.ContentLength > 0 && r.ContentLength <= maxWire
}

// appendHead appends the head of a request. It is not ok if the request is not
// one of the short way, or none at all, which the long way has the words for.
func appendHead(b []byte, r *http.Request) (_ []byte, ok bool) {
	method := r.Method
	switch {
	case method == "":
		method = http.MethodGet
	case method == http.MethodConnect || !isToken(method):
		return b, false
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	if !isHost(host) {
		return b, false
	}
	b = append(append(b, method...), ' ')
	from := len(b)
	if path := r.URL.EscapedPath(); path != "" {
		b = append(b, path...)
	} else {
		b = append(b, '/')
	}
	if r.URL.ForceQuery || r.URL.RawQuery != "" {
		b = append(append(b, '?'), r.URL.RawQuery...)
	}
	if b[from] != '/' || slices.ContainsFunc(b[from:], func(c byte) bool { return c <= ' ' || c == 0x7f }) {
		return b, false
	}
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	b = append(b, "\r\n"...)
	if r.ContentLength > 0 || method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, r.ContentLength, 10), "\r\n"...)
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		b = append(b, "User-Agent: Go-http-client/1.1\r\n"...) // as the long way says it
	}
	return appendHeaders(b, r.Header)
}

// appendHeaders appends the headers that a request has, and the end of its head.
func appendHeaders(b []byte, headers http.Header) (_ []byte, ok bool) {
	for name, values := range headers {
		if !isToken(name) {
			return b, false
		}
		m := meaningOf(name)
		if m == another {
			return b, false
		}
		if m == agent {
			values = values[:min(1, len(values))]
		}
		for _, v := range values {
			v = strings.Trim(v, " \t")
			switch {
			case !isValue(v):
				return b, false
			case m == ours, m == agent && v == "": // that is how the standard library leaves it out
				continue
			}
			b = append(append(append(b, name...), ": "...), v...)
			b = append(b, "\r\n"...)
		}
		if len(b) > maxWire {
			return b, false
		}
	}
	return append(b, "\r\n"...), true
}

// meaning is what a header does to the way of a request.
type meaning int

// The meanings.
const (
	nothing meaning = iota
	// ours is said by the request itself, and never twice.
	ours
	// another is for the long way.
	another
	// agent is the header User-Agent.
	agent
)

// meaningOf is what a header does, however it is spelt.
func meaningOf(name string) meaning {
	switch len(name) { // of those below, so that most names need no look
	case 2, 4, 6, 7, 10, 14, 16, 17:
	default:
		return nothing
	}
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Transfer-Encoding":
		return ours
	case "Connection", "Upgrade", "Expect", "Te", "Trailer", "Keep-Alive", "Proxy-Connection":
		return another
	case "User-Agent":
		return agent
	}
	return nothing
}

// isToken reports whether s is a name as RFC 9110 5.6.2 has it.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			continue
		}
		if strings.IndexByte("-_.!#$%&'*+^`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isValue reports whether s may be the value of a header: without a character
// that could end it.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isHost reports whether s is a host as nearly all are, with or without a port.
func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			continue
		}
		if strings.IndexByte("-._:[]", c) < 0 {
			return false
		}
	}
	return s != ""
}
