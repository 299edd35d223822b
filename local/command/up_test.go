package command

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/platform"
)

func TestUp_Peers(t *testing.T) {
	t.Parallel()
	got, err := readPeers([]string{"us=https://us.example.com:8443/?a=b", "ap=http://127.0.0.1:1"}, []string{"ap=/etc/ap.key", "us=us.key"})
	require.NoError(t, err)
	require.Equal(t, map[string]platform.Peer{
		"us": {URL: "https://us.example.com:8443/?a=b", KeyFile: "us.key"}, "ap": {URL: "http://127.0.0.1:1", KeyFile: "/etc/ap.key"},
	}, got)
	got, err = readPeers(nil, nil)
	require.NoError(t, err)
	require.Empty(t, got)

	f := func(peers, keys []string, want string) {
		t.Helper()
		_, err := readPeers(peers, keys)
		require.ErrorAs(t, err, new(usageError))
		require.ErrorContains(t, err, want)
	}
	f([]string{"us"}, nil, `--peer "us": want REGION=`)
	f([]string{"=https://us.example.com"}, nil, "want REGION=")
	f([]string{"us="}, nil, "want REGION=")
	f([]string{"us=https://a"}, nil, "go together")
	f(nil, []string{"us=key"}, "go together")
	f([]string{"us=https://a", "us=https://b"}, []string{"us=key"}, "--peer us=… is there twice")
	f([]string{"us=https://a"}, []string{"us=key", "us=key2"}, "--peer-key-file us=… is there twice")
}
