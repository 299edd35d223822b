package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	devicesv1 "selvedge.dev/functions/devices/v1"
)

// Who comes with wrong credentials is told so in the words of his protocol, before
// anybody knows which method he wants, and is in the trail.
func TestRefusal_InTheWordsOfWhoAsks(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	wrong, err := p.Key(t.Context(), "projects/default")
	require.NoError(t, err)
	wrong = wrong[:len(wrong)-8] + strings.Repeat("a", 8) // what nobody guesses
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2c.CloseIdleConnections)
	c := func(h http.RoundTripper, options ...connect.ClientOption) door {
		return connectDoor{url: p.URL, key: wrong, http: &http.Client{Transport: h}, options: options}
	}
	all := map[string]door{
		"REST":            restDoor{url: p.URL, key: wrong, http: http.DefaultClient},
		"gRPC":            dialGRPC(t, p.URL, wrong, nil),
		"gRPC-Web":        c(http.DefaultTransport, connect.WithGRPCWeb()),
		"Connect":         c(http.DefaultTransport),
		"Connect JSON":    c(http.DefaultTransport, connect.WithProtoJSON()),
		"gRPC of Connect": c(h2c, connect.WithGRPC()),
	}
	for name, d := range all {
		err := d.call(bounded(t), "DeviceService/GetDevice", &devicesv1.GetDeviceRequest{Name: "projects/p/devices/d"}, new(devicesv1.Device))
		require.Contains(t, refused(t, err, codes.Unauthenticated, "UNKNOWN_KEY").message, "key", name)
		for _, err := range d.watch(bounded(t), &devicesv1.WatchDevicesRequest{Parent: "projects/p"}) {
			var r *refusal
			require.ErrorAs(t, err, &r, name)
			require.Equal(t, codes.Unauthenticated, r.code, name)
		}
	}
	require.Eventually(t, func() bool {
		var page struct{ ActivityLogs []struct{ Method string } }
		call(t, p, http.MethodGet, "/v1/activityLogs", url.Values{"filter": {"jsonPayload.category=REJECTED"}}, nil, &page)
		return len(page.ActivityLogs) == 2*len(all)
	}, time.Minute, 200*time.Millisecond, "all are in the trail")
	stop(t, p)
}
