package iam

import (
	"crypto/subtle"
	"errors"
	"net/http"

	"selvedge.dev/sdk/fault"
)

// principalHeader has the name of the principal on whose behalf a gateway calls
// a function that runs as a process of its own. Only who has the function's key
// is believed.
const principalHeader = "Selvedge-Principal"

// Delegate returns a transport that makes requests with the function's key on
// behalf of the principal of each request's context. Next makes the requests;
// nil is http.DefaultTransport.
func Delegate(key string, next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return delegate{key, next}
}

// delegate is the transport of Delegate.
type delegate struct {
	key  string
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (d delegate) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+d.key)
	r.Header.Set(principalHeader, PrincipalOf(r.Context()).Name)
	return d.next.RoundTrip(r)
}

// Delegated is the other end of [Delegate]: it lets in who has the key, as the
// principal that he names. Without a key nobody gets in.
func Delegated(key string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, ok := Bearer(r.Header.Get("Authorization"))
		if key == "" || !ok || subtle.ConstantTimeCompare([]byte(got), []byte(key)) != 1 {
			fault.Write(w, &fault.Error{
				Op: "iam.Delegated", Kind: fault.Unauthenticated, Reason: "UNAUTHENTICATED", Err: errors.New("the function's key is needed"),
			})
			return
		}
		var p Principal
		if name := r.Header.Get(principalHeader); name != "" {
			var err error
			if p, err = ParsePrincipal(name); err != nil {
				fault.Write(w, err)
				return
			}
		}
		next.ServeHTTP(w, r.WithContext(WithPrincipal(r.Context(), p)))
	})
}
