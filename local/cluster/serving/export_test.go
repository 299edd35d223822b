package serving

import (
	"context"
	"net/http"
)

// Proxies are a proxy that relays what it can, and one that leaves all requests to the
// standard library's, in front of whatever sends them on.
func (s *Serving) Proxies(send func(*http.Request) (*http.Response, error), prefix, caller string) (relays, reverses http.Handler) {
	c := call{prefix: prefix, caller: caller}
	reverse := newProxy(s).reverse
	reverse.Transport = roundTripper(send)
	reverses = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reverse.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
	})
	relays = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if relayed(r) {
			s.proxy.relay(w, r, c, send)
			return
		}
		reverses.ServeHTTP(w, r)
	})
	return relays, reverses
}
