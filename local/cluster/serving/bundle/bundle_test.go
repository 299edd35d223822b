package bundle_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/sdk/fault"
)

// configOf is a configuration with an entry point and arguments.
func configOf(entry, cmd []string) image.Config {
	var c image.Config
	c.Config.Entrypoint, c.Config.Cmd = entry, cmd
	return c
}

func TestArguments_AsKubernetesReadsThem(t *testing.T) {
	t.Parallel()
	c := configOf([]string{"/e", "x"}, []string{"a"})
	f := func(command, args []string, want ...string) {
		t.Helper()
		require.Equal(t, want, bundle.Arguments(c, command, args))
	}
	f(nil, nil, "/e", "x", "a")
	f(nil, []string{"b"}, "/e", "x", "b")
	f(nil, []string{}, "/e", "x")
	f([]string{"/c"}, nil, "/c")
	f([]string{"/c"}, []string{"b"}, "/c", "b")
	require.Equal(t, configOf([]string{"/e", "x"}, []string{"a"}), c, "the image stays as it is")
}

func TestEnvironment_TheLastCounts(t *testing.T) {
	t.Parallel()
	var c image.Config
	require.Equal(t, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, bundle.Environment(c))
	c.Config.Env = []string{"PATH=/own", "A=1", "B=1"}
	require.Equal(t, []string{"PATH=/own", "A=3", "B=2", "C="}, bundle.Environment(c, []string{"B=2", "A=2"}, []string{"A=3", "C="}))
}

func TestUser_IsNeverRoot(t *testing.T) {
	t.Parallel()
	n := func(v int64) *int64 { return &v }
	f := func(i pool.Instance, uid, gid, wantUID, wantGID uint32) {
		t.Helper()
		u, g, err := bundle.User(i, uid, gid)
		require.NoError(t, err)
		require.Equal(t, []uint32{wantUID, wantGID}, []uint32{u, g})
	}
	f(pool.Instance{}, 1000, 2000, 1000, 2000)
	f(pool.Instance{}, 1000, 0, 1000, 1000)
	f(pool.Instance{}, 0, 0, 65532, 65532)
	f(pool.Instance{User: n(0)}, 1000, 1000, 65532, 1000)
	f(pool.Instance{User: n(5), Group: n(6), NonRoot: true}, 1000, 2000, 5, 6)
	_, _, err := bundle.User(pool.Instance{User: n(0), NonRoot: true}, 1000, 1000)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
