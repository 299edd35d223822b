package hop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"syscall"
	"time"
)

// conn is a connection to the process, which has one request at a time.
type conn struct {
	net.Conn
	t   *Transport
	raw syscall.RawConn
	in  *bufio.Reader
	// left is how much may still be read of the head of an answer.
	left int64
	// reused is whether it had a request before; since is when it was kept.
	reused bool
	since  time.Time
	// peek is what quiet has done with the socket, and heard what that found.
	peek  func(fd uintptr) bool
	heard bool
}

// inSize is that of the buffer that answers are read by; more is read past it.
const inSize = 4 << 10

// newConn is a connection that has had no request.
func newConn(t *Transport, under net.Conn) *conn {
	c := &conn{Conn: under, t: t}
	c.in = bufio.NewReaderSize(c, inSize)
	if s, ok := under.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn() // one without is asked and found closed
	}
	c.peek = func(fd uintptr) bool {
		var b [1]byte
		_, err := syscall.Read(int(fd), b[:])
		c.heard = !errors.Is(err, syscall.EAGAIN)
		return true
	}
	return c
}

// errHead is that the head of an answer has no end.
var errHead = errors.New("the head of the answer is too long")

// Read reads what the process says, but no more than the head may have.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errHead
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// quiet reports whether the process has neither closed the connection nor said
// anything since the last answer. It does not wait.
func (c *conn) quiet() bool {
	return c.raw != nil && c.raw.Read(c.peek) == nil && !c.heard
}

// end ends the connection.
func (c *conn) end() {
	_ = c.Close() // it is of no use either way
}

// stale is that a kept connection turned out to be closed: nothing of an answer
// came.
type stale struct{ err error }

// Error is the cause.
func (s stale) Error() string { return s.err.Error() }

// Unwrap is the cause.
func (s stale) Unwrap() error { return s.err }

// lateAnswer is how long an answer is waited for of a process that does not take
// the whole request: it may have answered first.
const lateAnswer = 50 * time.Millisecond

// exchange sends a request and reads the head of the answer, whose body gives the
// connection back. After an error the connection has ended.
func (c *conn) exchange(q *Request) (*http.Response, error) {
	ctx := q.r.Context()
	forget := func() bool { return true }
	if ctx.Done() != nil {
		forget = context.AfterFunc(ctx, c.end)
	}
	fail := func(err error) (*http.Response, error) {
		forget()
		c.end()
		return nil, err
	}
	n, wrote := c.Write(*q.wire)
	switch {
	case wrote != nil && n == 0:
		return fail(unsent{stale{fmt.Errorf("write the request: %w", wrote)}})
	case wrote != nil:
		_ = c.SetReadDeadline(time.Now().Add(lateAnswer)) // one that fails has no answer either
	}
	c.left = maxHead
	if _, err := c.in.Peek(1); err != nil {
		err = fmt.Errorf("read the answer: %w", errors.Join(err, wrote))
		if c.reused && wrote == nil {
			err = stale{err}
		}
		return fail(err)
	}
	resp, err := c.answer(q.r)
	if err != nil {
		return fail(fmt.Errorf("read the answer: %w", err))
	}
	c.left = math.MaxInt64
	if wrote != nil {
		_ = c.SetReadDeadline(time.Time{}) // the rest of the answer may take its time
	}
	b := &body{c: c, ctx: ctx, forget: forget, from: resp.Body, keep: !resp.Close && wrote == nil}
	if resp.Body == http.NoBody || resp.ContentLength == 0 || q.r.Method == http.MethodHead {
		b.finish(true)
		resp.Body = http.NoBody
		return resp, nil
	}
	resp.Body = b
	return resp, nil
}

// answer is the head of the answer to a request. Those that come before it are
// told to who wants to know them.
func (c *conn) answer(r *http.Request) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(c.in, r)
		if err != nil {
			return nil, err
		}
		switch {
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the process speaks another protocol, which nobody asked it to")
		case resp.StatusCode >= http.StatusOK || resp.StatusCode < http.StatusContinue:
			return resp, nil
		}
		if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(resp.StatusCode, textproto.MIMEHeader(resp.Header)); err != nil {
				return nil, err
			}
			c.left = maxHead // whoever is told bounds how many there are
		}
	}
}
