package platform

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// connKey finds the connection of a request in its context.
type connKey struct{}

// withConn is http.Server's ConnContext: it keeps the connection for gather.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = t.NetConn()
	}
	if b, ok := conn.(*begun); ok {
		return context.WithValue(ctx, connKey{}, b)
	}
	return ctx
}

// gather holds back what is written to the connection of r until send is called,
// and then writes it at once. The server writes in pieces of 4 KB, each of which
// is a call of the system and wakes who waits for the answer. It is for answers
// that are known whole, and flushed before send. The streams of HTTP/2 share their
// connection, which is left as it is.
func gather(r *http.Request) (send func()) {
	b, ok := r.Context().Value(connKey{}).(*begun)
	if !ok || r.ProtoMajor != 1 {
		return func() {}
	}
	buffer, ok := heldBuffers.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = buffer
	return b.send
}

// heldBuffers are buffers for what is held back.
var heldBuffers sync.Pool

// keptHeld bounds the buffers that are kept for other answers, in bytes.
const keptHeld = 128 << 10

// send writes what is held, before anything else is written: while a handler is at
// work, TLS may have to say something too. What cannot be written has no reader:
// the connection is closed, which the server notices.
func (b *begun) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.held
	b.held = nil
	if _, err := b.Conn.Write(*held); err != nil {
		_ = b.Conn.Close()
	}
	if *held = (*held)[:0]; cap(*held) <= keptHeld {
		heldBuffers.Put(held)
	}
}

// Write implements net.Conn.
func (b *begun) Write(p []byte) (int, error) {
	if b.hold(p) {
		return len(p), nil
	}
	return b.Conn.Write(p)
}

// hold holds p back, if that is to be.
func (b *begun) hold(p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held == nil {
		return false
	}
	*b.held = append(*b.held, p...)
	return true
}
