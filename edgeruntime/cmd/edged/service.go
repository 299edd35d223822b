package main

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const (
	// ingressTimeout bounds how long a program may take to send a post, and then
	// to read the answer.
	ingressTimeout = 30 * time.Second
	// maxHeader bounds the headers of a post.
	maxHeader = 16 << 10
)

// checkLoopback checks the address of --listen. Only a literal loopback address
// will do: there is no other protection, and a name can change its meaning.
func checkLoopback(address string) error {
	if address == "" {
		return nil
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil || !a.Addr().IsLoopback() {
		return usageError{"--listen: want a loopback address and a port, such as 127.0.0.1:8070"}
	}
	return nil
}

// service is an HTTP server that is running.
type service struct {
	address net.Addr
	server  *http.Server
	done    chan error
}

// String is where it answers.
func (s *service) String() string { return s.address.Network() + ":" + s.address.String() }

// serve begins to answer on l with h.
func serve(l net.Listener, h http.Handler, timeout time.Duration) *service {
	s := &service{
		address: l.Addr(),
		server:  &http.Server{Handler: h, ReadTimeout: timeout, WriteTimeout: timeout, MaxHeaderBytes: maxHeader},
		done:    make(chan error, 1),
	}
	go func() { s.done <- s.server.Serve(l) }()
	return s
}

// close stops answering and closes the listener.
func (s *service) close() error {
	err := s.server.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
