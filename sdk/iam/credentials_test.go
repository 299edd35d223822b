package iam

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// A key comes as Google's clients send one, or as InfluxDB 1's do, and by the
// URL only where those do.
func TestAuthenticate_OtherWaysToSendAKey(t *testing.T) {
	t.Parallel()
	k, _, key, _ := made(t, "projects/p")
	h := Authenticate(k, nil)(whoami)
	f := func(target, name, value, want string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, target, nil)
		if name != "" {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Contains(t, w.Body.String(), want)
		require.NotContains(t, w.Body.String(), key)
	}
	const known, nobody, bad = `"projects/p"`, `""`, "UNAUTHENTICATED"
	f("/", "X-Goog-Api-Key", key, known)
	f("/", "X-Goog-Api-Key", "wrong-wrong-wrong", bad)
	p := url.QueryEscape(key)
	for _, path := range []string{"/write", "/query", "/influx/write", "/influx/query"} {
		f(path+"?db=x&u=any&p="+p, "", "", known)
		f(path+"?p="+p, "", "", known)
		f(path+"?p=wrong", "", "", bad)
		f(path+"?p=", "", "", bad)
		f(path+"?u=any", "", "", nobody)
		f(path+"?p="+p, "Authorization", "Bearer wrong", bad)
	}
	f("/v3/projects/p/timeSeries?key="+p, "", "", known)
	f("/v3/projects/p/timeSeries?key=wrong", "", "", bad)
	f("/v3/projects/p/timeSeries?key=", "", "", bad)
	f("/v3/projects/p/timeSeries?p="+p, "", "", nobody)
	f("/write?key="+p, "", "", nobody)
	f("/prometheus/api/v1/query?p="+p, "", "", nobody)
	f("/v1/events?u=any&p="+p, "", "", nobody)
}
