package platform

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// either is a listener whose connections speak TLS or not, as their clients
// like: the first byte tells. Kubernetes' clients give their credentials away
// over TLS alone, and a device on the same machine need not know a certificate.
type either struct {
	net.Listener
	config *tls.Config
	conns  chan net.Conn
	failed chan struct{}
	err    error
	stop   sync.Once
	ended  chan struct{}
}

// The bounds of who has not said anything yet.
const (
	greetTime = 10 * time.Second
	maxGreets = 1024
)

// newEither serves both on l.
func newEither(l net.Listener, config *tls.Config) *either {
	e := &either{Listener: l, config: config, conns: make(chan net.Conn), failed: make(chan struct{}), ended: make(chan struct{})}
	go e.accept()
	return e
}

// accept takes connections and waits for their first byte.
func (e *either) accept() {
	places := make(chan struct{}, maxGreets)
	for {
		conn, err := e.Listener.Accept()
		if err != nil {
			var temporary net.Error
			if errors.As(err, &temporary) && temporary.Timeout() {
				continue
			}
			e.err = err
			close(e.failed)
			return
		}
		select {
		case places <- struct{}{}:
		case <-e.ended:
			_ = conn.Close() // nobody serves it
			continue
		}
		go func() {
			defer func() { <-places }()
			e.greet(conn)
		}()
	}
}

// tlsRecord is the first byte of a handshake; no method of HTTP begins so.
const tlsRecord = 0x16

// greet reads the first byte of a connection and hands it on.
func (e *either) greet(conn net.Conn) {
	first := make([]byte, 1)
	err := conn.SetReadDeadline(time.Now().Add(greetTime))
	if err == nil {
		_, err = conn.Read(first)
	}
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close() // it said nothing
		return
	}
	conn = &begun{Conn: conn, first: first}
	if first[0] == tlsRecord {
		conn = tls.Server(conn, e.config)
	}
	select {
	case e.conns <- conn:
	case <-e.ended:
		_ = conn.Close() // nobody serves it
	}
}

// Accept implements net.Listener.
func (e *either) Accept() (net.Conn, error) {
	select {
	case conn := <-e.conns:
		return conn, nil
	case <-e.failed:
		return nil, e.err
	}
}

// Close implements net.Listener.
func (e *either) Close() error {
	e.stop.Do(func() { close(e.ended) })
	if err := e.Listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// begun is a connection whose first bytes were read.
type begun struct {
	net.Conn
	first []byte

	// mu guards held, what is written and not sent yet, nil if all is sent at
	// once; see gather.
	mu   sync.Mutex
	held *[]byte
}

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 && len(p) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}
