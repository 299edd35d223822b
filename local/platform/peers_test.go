package platform

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

func TestPeers_Configured(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	const secret = "a-key-of-another-platform"
	key, empty, two := file("key", secret+"\n"), file("empty", "\n"), file("two", secret+"\nb\n")
	open := func(region string, peer Peer) (log string, err error) {
		var b bytes.Buffer
		p := &Platform{config: Config{Peers: map[string]Peer{region: peer}}, log: slog.New(slog.NewTextHandler(&b, nil))}
		_, err = p.openPeers("eu")
		return b.String(), err
	}
	f := func(region string, peer Peer, want string) {
		t.Helper()
		log, err := open(region, peer)
		require.ErrorContains(t, err, want)
		require.NotContains(t, log+err.Error(), secret)
	}
	f("eu", Peer{"https://eu.example.com", key}, "the region of this platform itself")
	f("", Peer{"https://us.example.com", key}, `the peer ""`)
	f("u/s", Peer{"https://us.example.com", key}, `the peer "u/s"`)
	f("us", Peer{"us.example.com", key}, "is no address")
	f("us", Peer{"ftp://us.example.com", key}, "is no address")
	f("us", Peer{"https://", key}, "is no address")
	f("us", Peer{"https://me:" + secret + "@us.example.com", key}, "is no address")
	f("us", Peer{"https://us.example.com", filepath.Join(dir, "none")}, "no such file")
	f("us", Peer{"https://us.example.com", empty}, "has no key")
	f("us", Peer{"https://us.example.com", two}, "more than one")
	p := &Platform{config: Config{RenewPeers: []string{"mars"}}}
	_, err := p.openPeers("eu")
	require.ErrorContains(t, err, `the peer "mars" is to be renewed`)
	p = &Platform{config: Config{Primary: "mars"}}
	_, err = p.openPeers("eu")
	require.ErrorContains(t, err, `the primary region is to be "mars"`)

	for url, warned := range map[string]bool{
		"https://us.example.com": false, "http://127.0.0.1:8080": false, "http://localhost:8080": false, "http://us.example.com": true, "http://10.0.0.1": true,
	} {
		log, err := open("us", Peer{url, key})
		require.NoError(t, err)
		require.Equal(t, warned, log != "", url)
		require.NotContains(t, log, secret)
	}
}

func TestPeers_WrongRegion(t *testing.T) {
	t.Parallel()
	p := &Platform{config: Config{Peers: map[string]Peer{"us": {}}}}
	require.NoError(t, p.newAccess(new(schema.Registry)))
	require.Equal(t, []string{"eu", "us"}, p.regions("eu"))
	admin := iam.WithPrincipal(context.Background(), iam.Principal{Kind: iam.Admin, Name: "admin"})
	f := func(name resource.Name, reason string) {
		t.Helper()
		err := p.authorize(admin, "devices.devices.get", name)
		if reason == "" {
			require.NoError(t, err)
			return
		}
		require.Equal(t, reason, fault.ReasonOf(err))
		require.ErrorContains(t, err, "the region us")
	}
	f("projects/p/devices/d", "")
	f("projects/p/regions/eu/devices/d", "")
	f("projects/p/regions/mars/devices/d", "")
	f("projects/us", "")
	f("regions/us", "") // the region itself is no one region's
	f("", "")
	f("projects/p/regions/us/devices/d", "WRONG_REGION")
	f("projects/p/regions/us", "WRONG_REGION") // the parent of what is created there
	require.Equal(t, fault.Unauthenticated, fault.KindOf(p.authorize(context.Background(), "devices.devices.get", "projects/p/regions/us/devices/d")))
}
