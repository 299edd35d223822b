package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/shirou/gopsutil/v4/disk"

	"selvedge.dev/edgeruntime"
)

// images are the file systems of packed images: always full, never written.
var images = []string{"squashfs", "iso9660", "udf", "erofs", "cramfs"}

// readDisks sets space and traffic of every mounted file system that stands on
// a device of its own. Network file systems are not looked at: asking a server
// that is gone how much room it has can block for ever.
func readDisks(ctx context.Context, r edgeruntime.Reading) error {
	parts, err := disk.PartitionsWithContext(ctx, false)
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	// Without traffic figures space is still worth having.
	traffic, err := disk.IOCountersWithContext(ctx)
	var errs []error
	if err != nil {
		errs = append(errs, fmt.Errorf("read disk traffic: %w", err))
	}
	seen := newNames()
	mounts := mountsOf(parts, runtime.GOOS)
	for _, m := range mounts[:min(len(mounts), maxFamily)] {
		path := "disk/" + seen.element(cmp.Or(trimRoot(m.Mountpoint), "root"))
		u, err := disk.UsageWithContext(ctx, m.Mountpoint)
		if err != nil {
			errs = append(errs, fmt.Errorf("read mount: %w", err))
			continue
		}
		// Full is when nobody but the superuser can write: free is less than
		// total without used, by the blocks that are kept back.
		setSpace(r, path, u.Used, u.Free)
		r.Set(path+"/free_bytes", float64(u.Free))
		r.Set(path+"/total_bytes", float64(u.Total))
		if io, ok := traffic[filepath.Base(m.Device)]; ok {
			r.Set(path+"/read_bytes", float64(io.ReadBytes))
			r.Set(path+"/written_bytes", float64(io.WriteBytes))
		}
	}
	setOmitted(r, "disk/omitted", len(mounts))
	return errors.Join(errs...)
}

// trimRoot is the mount point without its leading separator, "" for the root.
func trimRoot(mount string) string {
	if mount == "/" {
		return ""
	}
	return mount
}

// mountsOf are the mounts to look at: one for each device, the one with the
// shortest path, in order of path. In a container the root stands on no device,
// and is what fills up all the same.
func mountsOf(parts []disk.PartitionStat, goos string) []disk.PartitionStat {
	parts = slices.DeleteFunc(slices.Clone(parts), func(p disk.PartitionStat) bool {
		return slices.Contains(images, p.Fstype)
	})
	slices.SortFunc(parts, func(a, b disk.PartitionStat) int {
		return cmp.Or(cmp.Compare(len(a.Mountpoint), len(b.Mountpoint)), cmp.Compare(a.Mountpoint, b.Mountpoint))
	})
	var mounts []disk.PartitionStat
	devices := map[string]bool{}
	for _, p := range parts {
		if !devices[p.Device] {
			devices[p.Device] = true
			mounts = append(mounts, p)
		}
	}
	isRoot := func(p disk.PartitionStat) bool { return p.Mountpoint == "/" }
	if goos != "windows" && !slices.ContainsFunc(mounts, isRoot) {
		mounts = append(mounts, disk.PartitionStat{Mountpoint: "/"})
	}
	slices.SortFunc(mounts, func(a, b disk.PartitionStat) int { return cmp.Compare(a.Mountpoint, b.Mountpoint) })
	return mounts
}
