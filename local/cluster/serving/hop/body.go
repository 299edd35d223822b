package hop

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// body is the body of an answer. At its end the connection is kept for the next
// request; one that is closed before ends the connection.
type body struct {
	c    *conn
	ctx  context.Context // of the request: its end is that of the body
	from io.Reader
	// forget has the end of the context leave the connection alone; it is false if
	// that has come already.
	forget func() bool
	// keep is whether the connection can have another request.
	keep bool
	// over is set by whoever has the connection first, Read or Close.
	over   atomic.Bool
	closed atomic.Bool
	// err is what Read says once it is over.
	err error
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.from.Read(p)
	if err == nil {
		return n, nil
	}
	b.err = err
	if errors.Is(err, io.EOF) {
		b.finish(true)
		return n, err
	}
	b.finish(false)
	if cause := context.Cause(b.ctx); cause != nil {
		b.err = cause
	}
	return n, b.err
}

// Close ends an answer that nobody reads on.
func (b *body) Close() error {
	b.closed.Store(true)
	b.finish(false)
	return nil
}

// finish gives the connection back, or ends it; the first time counts.
func (b *body) finish(whole bool) {
	if b.over.Swap(true) {
		return
	}
	forgot := b.forget()
	if whole && forgot && b.keep && b.c.in.Buffered() == 0 {
		b.c.t.put(b.c)
		return
	}
	b.c.end()
}

// kept is a body that another attempt may need: the transport cannot close it.
type kept struct{ io.Reader }

// Close leaves the body to the one who has it open.
func (kept) Close() error { return nil }
