package iam

import (
	"net/http"
	"net/netip"

	"selvedge.dev/sdk/fault"
)

// Authenticate is the middleware that puts who calls into the context of a
// request, where [PrincipalOf] finds it. A request without credentials goes on
// as Anonymous; one whose credentials prove nothing ends here with 401, or with
// 429 when too many guesses came from its address.
//
// A guess is a wrong key that is neither of the made form nor a token. These
// cannot be guessed and are always checked, so that one bad device does not shut
// out the others behind its address. The address is that of the connection: behind a
// proxy everybody has the same one.
//
// Refuse answers who ends here; nil does as [fault.Write].
func Authenticate(a Authenticator, refuse Refuse) func(http.Handler) http.Handler {
	return middleware(a, newThrottle(), refuse)
}

// Refuse answers a request with a fault.
type Refuse func(w http.ResponseWriter, r *http.Request, err error)

// middleware is Authenticate with its throttle.
func middleware(a Authenticator, guesses *throttle, refuse Refuse) func(http.Handler) http.Handler {
	if refuse == nil {
		refuse = func(w http.ResponseWriter, _ *http.Request, err error) { fault.Write(w, err) }
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := authenticate(a, guesses, r)
			if err != nil {
				refuse(w, r, err)
				return
			}
			ctx := WithPrincipal(r.Context(), p)
			if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
				ctx = WithAddress(ctx, from.Addr())
			}
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// authenticate is who makes r.
func authenticate(a Authenticator, guesses *throttle, r *http.Request) (Principal, error) {
	if len(r.Header.Values("Authorization")) > 1 {
		return Principal{}, unauthenticated("MALFORMED_CREDENTIALS", "the header Authorization comes more than once")
	}
	value := credentials(r)
	guessable := false
	if key, ok := Bearer(value); ok {
		_, _, shaped := splitKey(key)
		guessable = !shaped && !isToken(key)
	}
	if guessable {
		if wait := guesses.wait(r.RemoteAddr); wait > 0 {
			return Principal{}, &fault.Error{Op: "iam.Authenticate", Kind: fault.Exhausted, Reason: "TOO_MANY_WRONG_KEYS", Err: throttled{wait}}
		}
	}
	p, err := a.Authenticate(r.Context(), value)
	if guessable && fault.KindOf(err) == fault.Unauthenticated {
		guesses.count(r.RemoteAddr)
	}
	return p, err
}
