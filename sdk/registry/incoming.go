package registry

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
)

// CallIDHeader has the id of a call, which those that are made because of it
// have too.
const CallIDHeader = "Selvedge-Call-Id"

// authorization is the header with credentials.
const authorization = "Authorization"

// maxCallID bounds the id of a call.
const maxCallID = 128

// incoming is what is forwarded of a call.
type incoming struct{ authorization, id string }

// incomingKey finds what is forwarded in a context.
type incomingKey struct{}

// Incoming is the middleware that keeps, for [Registry.DialForwarding], what is
// forwarded of a call: its credentials and its id. A call without an id, or with
// one that is none, gets one.
func Incoming(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := incoming{authorization: r.Header.Get(authorization), id: r.Header.Get(CallIDHeader)}
		if call.id == "" || len(call.id) > maxCallID || strings.ContainsFunc(call.id, func(c rune) bool { return c <= ' ' || c > '~' }) {
			call.id = rand.Text()
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), incomingKey{}, call)))
	})
}

// callOf is the call that a context is of.
func callOf(ctx context.Context) incoming {
	call, _ := ctx.Value(incomingKey{}).(incoming)
	return call
}

// CallID is the id of the call that a context is of, "" if it is of none.
func CallID(ctx context.Context) string { return callOf(ctx).id }
