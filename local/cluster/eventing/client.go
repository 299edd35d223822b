package eventing

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// errInside is what a delivery to the inside of the platform's machine ends
// with.
var errInside = errors.New("a trigger's subscriber must not be on the platform's own machine or link: name a Service instead, or run the platform with --local-subscribers")

// NewClient is a client for the URLs of triggers. Unless local, it connects to
// no loopback, link-local or unspecified address, whatever a name resolves to:
// functions of other projects and the metadata of clouds are there.
func NewClient(local bool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if !local {
		dialer.Control = func(_, address string, _ syscall.RawConn) error { return outside(address) }
	}
	transport := &http.Transport{
		DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: lanes, MaxIdleConns: 1000,
		IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 10 * time.Minute,
	}
	return &http.Client{
		Transport: transport,
		// A redirect is an answer: Knative's dispatcher does not follow it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// outside refuses an address inside.
func outside(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	a := to.Addr().Unmap()
	if a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast() {
		return errInside
	}
	return nil
}
