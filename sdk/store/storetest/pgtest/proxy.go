package pgtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// Cut is what a [Proxy] does to a connection when its client has sent a request
// and waits for the answer.
type Cut int

// The cuts.
const (
	// Pass lets it go on.
	Pass Cut = iota
	// Before cuts both ends: the server has not seen the request.
	Before
	// After cuts both ends when the server has answered: it did what was asked,
	// and the client does not know.
	After
	// Middle sends the request and cuts both ends at once.
	Middle
	// Silent is Before, but the server's end stays: to the server the client is
	// just slow.
	Silent
)

// Proxy stands between clients and a server, and cuts connections.
type Proxy struct {
	t        testing.TB
	config   *pgconn.Config
	listener net.Listener

	mu      sync.Mutex
	who     []byte
	after   int
	cut     Cut
	conns   []net.Conn
	refuses bool
}

// NewProxy starts a proxy to a server, which ends with the test.
func NewProxy(t testing.TB, dsn string) *Proxy {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{t: t, config: &config.Config, listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.CutAll()
		all.Wait()
	})
	return p
}

// DSN is how to reach the server through the proxy.
func (p *Proxy) DSN() string {
	port := strconv.Itoa(p.listener.Addr().(*net.TCPAddr).Port)
	dsn := fmt.Sprintf("host=127.0.0.1 port=%s user=%s dbname=%s sslmode=disable", port, p.config.User, p.config.Database)
	if p.config.Password != "" {
		dsn += " password='" + p.config.Password + "'"
	}
	return dsn
}

// Arm cuts the nth request from now on, from 1, of connections whose first
// message has this in it.
func (p *Proxy) Arm(who string, n int, cut Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.who, p.after, p.cut = []byte(who), n, cut
}

// Armed is whether the cut has not come yet.
func (p *Proxy) Armed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.after > 0
}

// CutAll cuts all connections.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// Refuse cuts all connections, and has new ones refused until it is called
// again.
func (p *Proxy) Refuse(yes bool) {
	p.mu.Lock()
	p.refuses = yes
	p.mu.Unlock()
	if yes {
		p.CutAll()
	}
}

// next is what to do at a request of a connection that began so.
func (p *Proxy) next(first []byte) Cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after == 0 || !bytes.Contains(first, p.who) {
		return Pass
	}
	if p.after--; p.after > 0 {
		return Pass
	}
	return p.cut
}

// serve serves one client.
func (p *Proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	network, address := pgconn.NetworkAddress(p.config.Host, p.config.Port)
	server, err := net.Dial(network, address)
	if err != nil {
		return
	}
	p.mu.Lock()
	refuses := p.refuses
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	if refuses {
		_ = server.Close()
		return
	}
	first, err := message(client, false)
	if err != nil {
		_ = server.Close()
		return
	}
	if _, err := server.Write(first); err != nil {
		return
	}
	swallow := make(chan bool, 1)
	var back sync.WaitGroup
	back.Go(func() { answers(client, server, swallow) })
	if silent := p.requests(client, server, first, swallow); !silent {
		back.Wait()
		_ = server.Close()
	}
}

// requests sends requests on until one is cut.
func (p *Proxy) requests(client, server net.Conn, first []byte, swallow chan bool) (silent bool) {
	var request []byte
	for {
		m, err := message(client, true)
		if err != nil {
			_ = server.Close()
			return false
		}
		request = append(request, m...)
		cut := Pass
		if m[0] == 'S' || m[0] == 'Q' { // Sync and Query wait for an answer
			cut = p.next(first)
		}
		switch cut {
		case Before:
			_ = client.Close()
			_ = server.Close()
			return false
		case Silent:
			_ = client.Close()
			return true
		case After:
			swallow <- true
		}
		if _, err := server.Write(request); err != nil {
			return false
		}
		request = request[:0]
		switch cut {
		case Middle:
			_ = client.Close()
			_ = server.Close()
			return false
		case After:
			return false // the answers end it
		}
	}
}

// answers sends answers on, but swallows one if it is told to, and then ends.
func answers(client, server net.Conn, swallow chan bool) {
	lost := false
	for {
		m, err := message(server, true)
		if err != nil {
			_ = client.Close()
			return
		}
		select {
		case lost = <-swallow:
		default:
		}
		switch {
		case !lost:
			if _, err := client.Write(m); err != nil {
				return
			}
		case m[0] == 'Z': // ReadyForQuery ends an answer
			_ = client.Close()
			_ = server.Close()
			return
		}
	}
}

// message reads one message, with its type unless it is the first of a
// connection.
func message(r io.Reader, typed bool) ([]byte, error) {
	n := 4
	if typed {
		n = 5
	}
	m := make([]byte, n)
	if _, err := io.ReadFull(r, m); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(m[n-4:])) - 4
	m = append(m, make([]byte, size)...)
	_, err := io.ReadFull(r, m[n:])
	return m, err
}
