package iam

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// call sends a request with these Authorization headers from an address
// through the middleware, to a handler that says who calls.
func call(h http.Handler, address string, authorization ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = address
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// whoami answers with the principal's name.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%q", PrincipalOf(r.Context()).Name)
})

func TestAuthenticate_PutsThePrincipalIntoTheContext(t *testing.T) {
	t.Parallel()
	k, store, key, _ := made(t, "projects/p")
	h := Authenticate(k, nil)(whoami)
	require.Equal(t, `"projects/p"`, call(h, "192.0.2.1:1", "Bearer "+key).Body.String())
	require.Equal(t, `""`, call(h, "192.0.2.1:1").Body.String())

	for _, headers := range [][]string{{"Bearer nonsense"}, {"Basic x"}, {"Bearer " + key, "Bearer " + key}} {
		w := call(h, "192.0.2.1:1", headers...)
		require.Equal(t, http.StatusUnauthorized, w.Code)
		require.Contains(t, w.Header().Get("WWW-Authenticate"), "Bearer")
		require.Contains(t, w.Body.String(), "UNAUTHENTICATED")
	}
	store.err = errStore
	require.Equal(t, http.StatusInternalServerError, call(h, "192.0.2.1:1", "Bearer "+formatKey(newKey())).Code)
}

func TestAuthenticate_ThrottlesGuesses(t *testing.T) {
	t.Parallel()
	k, _, key, _ := made(t, "projects/p")
	synctest.Test(t, func(t *testing.T) {
		guesses := newThrottle()
		h := middleware(k, guesses, nil)(whoami)
		const bad, good = "Bearer wrong-wrong-wrong", http.StatusOK
		other := "198.51.100.0:1"
		for i := 1; guesses.slot(other) == guesses.slot("192.0.2.1:1"); i++ {
			other = fmt.Sprintf("198.51.100.%d:1", i)
		}
		for i := range guessBurst {
			require.Equal(t, http.StatusUnauthorized, call(h, "192.0.2.1:1", bad).Code, i)
		}
		w := call(h, "192.0.2.1:2", bad)
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		// Others, and keys that cannot be guessed, are not concerned.
		require.Equal(t, http.StatusUnauthorized, call(h, other, bad).Code)
		require.Equal(t, good, call(h, "192.0.2.1:1", "Bearer "+key).Code)
		require.Equal(t, good, call(h, "192.0.2.1:1").Code)
		require.Equal(t, http.StatusUnauthorized, call(h, "192.0.2.1:1", "Bearer "+formatKey(newKey())).Code)

		time.Sleep(guessEvery)
		require.Equal(t, http.StatusUnauthorized, call(h, "192.0.2.1:1", bad).Code)
		require.Equal(t, http.StatusTooManyRequests, call(h, "192.0.2.1:1", bad).Code)
		time.Sleep(time.Hour)
		for i := range guessBurst {
			require.Equal(t, http.StatusUnauthorized, call(h, "192.0.2.1:1", bad).Code, i)
		}
		require.Equal(t, http.StatusTooManyRequests, call(h, "192.0.2.1:1", bad).Code)
	})
}

func TestThrottle_Slots(t *testing.T) {
	t.Parallel()
	th := newThrottle()
	require.Same(t, th.slot("[2001:db8::1]:1"), th.slot("[2001:db8::ffff]:2"), "one subscriber")
	require.Same(t, th.slot("[::ffff:192.0.2.1]:1"), th.slot("192.0.2.1:9"), "one host")
	require.Same(t, th.slot("[fe80::1%eth0]:1"), th.slot("[fe80::2%eth1]:1"))
	//lint:ignore testifylint two calls must agree
	require.Same(t, th.slot("@"), th.slot("@"))
}
