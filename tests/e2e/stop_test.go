package e2e

import (
	"iter"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	devicesv1 "selvedge.dev/functions/devices/v1"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// TestStop_EndsWatches stops the platform as Ctrl-C does while somebody watches
// through every door: watches end, and hold up nothing.
func TestStop_EndsWatches(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	var open []func() (*devicesv1.WatchDevicesResponse, error, bool)
	for _, d := range doors(t, p, adminKey) {
		next, end := iter.Pull2(d.watch(bounded(t), &devicesv1.WatchDevicesRequest{Parent: "projects/p", Type: resourcev1.WatchType_STATELESS}))
		t.Cleanup(end)
		m, err, ok := next()
		require.True(t, ok)
		require.NoError(t, err)
		require.True(t, m.GetIsCurrent())
		open = append(open, next)
	}
	stop(t, p)
	for _, next := range open {
		_, err, _ := next()
		refused(t, err, codes.Unavailable, "STOPPING")
	}
}
