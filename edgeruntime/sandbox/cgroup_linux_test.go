package sandbox

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCgroup_IsFoundWhereverItIs(t *testing.T) {
	t.Parallel()
	f := func(groups, mounts string, want hierarchies) {
		t.Helper()
		if want.v1 == nil {
			want.v1 = map[string]string{}
		}
		got, err := readCgroups(fstest.MapFS{"proc/self/cgroup": {Data: []byte(groups)}, "proc/self/mountinfo": {Data: []byte(mounts)}})
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	const v2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	f("0::/user.slice/app.scope\n", v2, hierarchies{v2: "/sys/fs/cgroup/user.slice/app.scope"})
	f("0::/\n", v2, hierarchies{v2: "/sys/fs/cgroup"})
	// A container whose mount is not of the root, and one that sees names of
	// outside.
	f("0::/docker/1/x\n", "1 2 0:30 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n", hierarchies{v2: "/sys/fs/cgroup/x"})
	f("0::/elsewhere\n", "1 2 0:30 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n", hierarchies{v2: "/sys/fs/cgroup"})
	const v1 = "1 2 0:31 / /cg/memory rw - cgroup cgroup rw,memory\n2 2 0:32 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n3 2 0:33 / /cg/blkio rw - cgroup cgroup rw,blkio\n"
	f("4:memory:/a\n2:cpu,cpuacct:/\n0::/\nbroken\n", v1+"short\n", hierarchies{v1: map[string]string{"memory": "/cg/memory/a", "cpu": "/cg/cpu", "cpuacct": "/cg/cpu"}})
	_, err := readCgroups(fstest.MapFS{})
	require.Error(t, err)
	_, missing := findCgroups(fstest.MapFS{"proc/self/cgroup": {}, "proc/self/mountinfo": {}}, "x")
	require.Equal(t, []string{"control groups: none is mounted"}, missing)
}

func TestCgroup_Settings(t *testing.T) {
	t.Parallel()
	l := Limits{Memory: 1 << 20, CPU: 250, Processes: 7}
	require.Equal(t, []setting{
		{"memory", "memory.max", "1048576", false},
		{"memory", "memory.swap.max", "0", true},
		{"memory", "memory.oom.group", "1", true},
		{"pids", "pids.max", "7", false},
		{"cpu", "cpu.max", "25000 100000", false},
	}, (&cgroup{unified: true}).settings(l))
	l.CPU = 1
	require.Contains(t, (&cgroup{}).settings(l), setting{"cpu", "cpu.cfs_quota_us", "1000", false})
	l.CPU = 0
	require.Contains(t, (&cgroup{}).settings(l), setting{"cpu", "cpu.cfs_quota_us", "", false})
	require.Contains(t, (&cgroup{unified: true}).settings(l), setting{"cpu", "cpu.max", "", false})
}

// TestCgroup_Version2 has a folder with files like those of the kernel.
func TestCgroup_Version2(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"memory.current": "4096\n", "pids.current": "3\n", "cpu.stat": "usage_usec 1500\nuser_usec 9\n",
		"memory.events": "low 0\noom 1\noom_kill 1\n", "memory.max": "", "pids.max": "", "cpu.max": "", "cgroup.procs": "", "cgroup.kill": "",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	g := &cgroup{dirs: map[string]string{"memory": dir, "pids": dir, "cpu": dir}, unified: true}
	require.Equal(t, []int64{4096, 3}, []int64{g.memory(), g.processes()})
	require.Equal(t, 1500*time.Microsecond, g.cpu())
	require.True(t, g.outOfMemory())
	require.NoError(t, g.add(42))
	g.kill()
	for name, want := range map[string]string{"cgroup.procs": "42", "cgroup.kill": "1"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	got, err := parseStat("12 (a) b) c) S 1 12 12 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 100 1000000 3 18446744073709551615 0\n")
	require.NoError(t, err)
	require.Equal(t, Stats{Memory: 3 * int64(os.Getpagesize()), CPU: 2 * time.Second, Processes: 9}, got)
	_, err = parseStat("12 (a) S 1")
	require.Error(t, err)
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (a) S 1 12 12 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 100 1000000 3")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = parseStat(text) // must only not panic
	})
}
