package e2e

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// TestDisk_FullRefusesAndGoesOn fills the disk under the platform. Events are
// then refused with 429; what was accepted before waits, since the series
// store takes nothing on a disk that is nearly full, and is all there once the
// disk has room again.
func TestDisk_FullRefusesAndGoesOn(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("NOT RUN: a small disk needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	p := start(t, filepath.Join(disk, "data"))
	register(t, p, "d")

	padding := strings.Repeat("x", 100_000)
	accepted, refused := 0, 0
	for n := 0; refused < 3; n++ {
		require.Less(t, n, 2000, "the disk never fills")
		e := reading("d", fmt.Sprint(n), base.Add(time.Duration(n)*time.Millisecond), map[string]any{"n": n, "text": padding})
		switch status, body := postBatch(t.Context(), p, process.AdminKey, []map[string]any{e}); status {
		case 202:
			accepted++
			require.Zero(t, refused, "room does not come back by itself")
		case 429:
			refused++
			require.Contains(t, string(body), "DISK_FULL")
		default:
			require.FailNow(t, "unexpected answer", "%d %s", status, body)
		}
	}
	require.NoError(t, syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=2g"))
	drained(t, p)
	series := querySeries(t, p, url.Values{
		"filter":             {`metric.type = "com.example.climate/n"`},
		"interval.startTime": {base.Add(-time.Second).Format(time.RFC3339Nano)}, "interval.endTime": {base.Add(time.Hour).Format(time.RFC3339Nano)},
	})["com.example.climate/n d"]
	require.Len(t, series, accepted)
	require.Empty(t, losses(t, p))
	accept(t, p, reading("d", "after", base, map[string]any{"n": 1}))
	stop(t, p)
}
