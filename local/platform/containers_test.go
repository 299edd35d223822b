package platform

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRunner_IsOneThatThereIs(t *testing.T) {
	t.Parallel()
	f := func(c Config, want string) {
		t.Helper()
		c.Data, c.Listen, c.AdminKey = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", testKey
		_, err := Open(t.Context(), c)
		require.ErrorContains(t, err, want)
	}
	f(Config{Runner: "docker"}, `runner "docker": want process, containerd, or containerd=/PATH`)
	f(Config{Runner: "containerd=c.sock"}, `runner "containerd=c.sock": want`)
	f(Config{Runner: "containerd", RunnerNetwork: "/nothing.conflist"}, "open network: ")
	f(Config{RunnerNetwork: "/nothing.conflist"}, "is of containers")
}
