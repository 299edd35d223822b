package host

import (
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/sensors"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/edgeruntime"
)

// wellFormed is what the path of a figure looks like.
var wellFormed = regexp.MustCompile(`^[a-z0-9_]+(/[a-z0-9_]+)+$`)

// The machine that the test runs on has processors, memory, a root and no
// secrets from /proc.
func TestSensor_ThisMachine(t *testing.T) {
	t.Parallel()
	s := New()
	first := edgeruntime.Reading{}
	require.NoError(t, s.Read(t.Context(), first))
	require.NotContains(t, first, "cpu/utilization", "there is nothing to compare with yet")

	// A reading that comes too soon begins a new window, so here the clocks of
	// the processors are put back until they have moved enough.
	began, r := s.processors, edgeruntime.Reading{}
	for r["cpu/utilization"] == 0 {
		s.processors = began
		require.NoError(t, s.Read(t.Context(), r))
	}

	for p, v := range r {
		require.Regexp(t, wellFormed, p)
		require.GreaterOrEqual(t, v, 0.0, p)
		if strings.HasSuffix(p, "_ratio") || strings.HasSuffix(p, "utilization") {
			require.LessOrEqual(t, v, 1.0, p)
		}
	}
	require.GreaterOrEqual(t, r["cpu/count"], 1.0)
	require.Contains(t, r, "cpu/load_1m")
	require.Positive(t, r["memory/available_bytes"])
	require.InDelta(t, r["memory/total_bytes"], r["memory/used_bytes"]+r["memory/available_bytes"], 1)
	require.Positive(t, r["disk/root/used_bytes"])
	if runtime.GOOS == "linux" {
		require.InDelta(t, meminfo(t, "MemTotal"), r["memory/total_bytes"], 0.5)
	}
}

// meminfo is a value of /proc/meminfo in bytes.
func meminfo(t *testing.T, name string) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == name+":" {
			n, err := strconv.ParseFloat(f[1], 64)
			require.NoError(t, err)
			return n * 1024
		}
	}
	require.Fail(t, "no "+name)
	return 0
}

func TestSetUtilization(t *testing.T) {
	t.Parallel()
	f := func(name string, before, now []processor, want edgeruntime.Reading) {
		t.Helper()
		r := edgeruntime.Reading{}
		setUtilization(r, before, now)
		require.InDeltaMapValues(t, want, r, 1e-9, name)
	}
	f("half of one, all of the other",
		[]processor{{"cpu0", 10, 100}, {"cpu1", 20, 100}},
		[]processor{{"cpu0", 12, 104}, {"cpu1", 24, 104}},
		edgeruntime.Reading{"cpu/cores/0/utilization": 0.5, "cpu/cores/1/utilization": 1, "cpu/utilization": 0.75, "cpu/count": 2})
	f("the first time", nil, []processor{{"cpu0", 10, 100}}, edgeruntime.Reading{"cpu/count": 1})
	f("too soon", []processor{{"cpu0", 10, 100}}, []processor{{"cpu0", 10.05, 100.05}}, edgeruntime.Reading{"cpu/count": 1})
	f("one went, another came",
		[]processor{{"cpu0", 10, 100}, {"cpu1", 0, 0}},
		[]processor{{"cpu0", 11, 104}, {"cpu2", 50, 60}},
		edgeruntime.Reading{"cpu/cores/0/utilization": 0.25, "cpu/utilization": 0.25, "cpu/count": 2})
	f("a counter steps back", []processor{{"cpu0", 10, 100}}, []processor{{"cpu0", 9.99, 104}},
		edgeruntime.Reading{"cpu/cores/0/utilization": 0, "cpu/utilization": 0, "cpu/count": 1})
	f("all counters step back", []processor{{"cpu0", 10, 100}}, []processor{{"cpu0", 1, 10}}, edgeruntime.Reading{"cpu/count": 1})
}

func TestClockOf(t *testing.T) {
	t.Parallel()
	got := clockOf(cpu.TimesStat{CPU: "cpu0", User: 1, System: 2, Idle: 4, Nice: 8, Iowait: 16, Irq: 32, Softirq: 64, Steal: 128, Guest: 1, GuestNice: 8})
	require.Equal(t, processor{"cpu0", 1 + 2 + 8 + 32 + 64 + 128, 255}, got)
}

func TestSetUtilization_ManyProcessors(t *testing.T) {
	t.Parallel()
	var before, now []processor
	for i := range 100 {
		before = append(before, processor{name: strconv.Itoa(i)})
		now = append(now, processor{strconv.Itoa(i), 1, 2})
	}
	r := edgeruntime.Reading{}
	setUtilization(r, before, now)
	require.InDelta(t, 0.5, r["cpu/utilization"], 1e-9)
	require.InDelta(t, 36, r["cpu/cores_omitted"], 0.1)
	require.Contains(t, r, "cpu/cores/63/utilization")
	require.NotContains(t, r, "cpu/cores/64/utilization")
}

func TestMountsOf(t *testing.T) {
	t.Parallel()
	f := func(name, goos string, parts []disk.PartitionStat, want ...string) {
		t.Helper()
		var got []string
		for _, m := range mountsOf(parts, goos) {
			got = append(got, m.Device+" "+m.Mountpoint)
		}
		require.Equal(t, want, got, name)
	}
	part := func(device, mount, fstype string) disk.PartitionStat {
		return disk.PartitionStat{Device: device, Mountpoint: mount, Fstype: fstype}
	}
	f("one for each device, the shortest", "linux",
		[]disk.PartitionStat{part("/dev/sda1", "/var/lib/docker", "ext4"), part("/dev/sda1", "/", "ext4"), part("/dev/sdb1", "/data", "xfs")},
		"/dev/sda1 /", "/dev/sdb1 /data")
	f("no packed images", "linux",
		[]disk.PartitionStat{part("/dev/sda1", "/", "ext4"), part("/dev/loop0", "/snap/core/1", "squashfs"), part("/dev/sr0", "/media", "iso9660")},
		"/dev/sda1 /")
	f("the root of a container", "linux", []disk.PartitionStat{part("/dev/sda1", "/etc/hosts", "ext4")}, " /", "/dev/sda1 /etc/hosts")
	f("nothing at all", "linux", nil, " /")
	f("drives", "windows", []disk.PartitionStat{part("D:", "D:", "NTFS"), part("C:", "C:", "NTFS")}, "C: C:", "D: D:")
}

func TestSetNetwork(t *testing.T) {
	t.Parallel()
	r := edgeruntime.Reading{}
	setNetwork(r, []net.IOCountersStat{
		{Name: "lo", BytesRecv: 1},
		{Name: "lo0", BytesRecv: 1},
		{Name: "veth12ab", BytesRecv: 1},
		{Name: "wlp3s0", BytesRecv: 1, BytesSent: 2, PacketsRecv: 3, PacketsSent: 4, Errin: 5, Errout: 6, Dropin: 7, Dropout: 8},
		{Name: "low-power.0", BytesSent: 9},
	})
	want := edgeruntime.Reading{
		"network/wlp3s0/received_bytes": 1, "network/wlp3s0/sent_bytes": 2,
		"network/wlp3s0/received_packets": 3, "network/wlp3s0/sent_packets": 4,
		"network/wlp3s0/receive_errors": 5, "network/wlp3s0/send_errors": 6,
		"network/wlp3s0/receive_drops": 7, "network/wlp3s0/send_drops": 8,
		"network/low_power_0/sent_bytes": 9,
	}
	require.Len(t, r, 16)
	maps.DeleteFunc(r, func(_ string, v float64) bool { return v == 0 })
	require.Equal(t, want, r)
}

func TestSetTemperatures(t *testing.T) {
	t.Parallel()
	var all []sensors.TemperatureStat
	for range 70 {
		all = append(all, sensors.TemperatureStat{SensorKey: "nvme Composite", Temperature: 41.5})
	}
	r := edgeruntime.Reading{}
	setTemperatures(r, all)
	require.Len(t, r, maxFamily+1)
	require.InDelta(t, 41.5, r["temperature/nvme_composite/celsius"], 1e-9)
	require.InDelta(t, 41.5, r["temperature/nvme_composite_64/celsius"], 1e-9)
	require.InDelta(t, 6, r["temperature/omitted"], 1e-9)
}

func TestNames_Element(t *testing.T) {
	t.Parallel()
	n := newNames()
	for _, c := range [][2]string{
		{"/var/lib", "var_lib"},
		{"/var-lib", "var_lib_2"},
		{"var_lib_2", "var_lib_2_2"},
		{"C:", "c"},
		{"Wi-Fi", "wi_fi"},
		{"", "unnamed"},
		{"温度", "unnamed_2"},
		{"/omitted", "omitted_2"},
	} {
		require.Equal(t, c[1], n.element(c[0]))
	}
}

// Whatever the names of a family are, their elements are words, and no two
// members share one.
func TestNames_Property(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.StringMatching(`[aA_.-]{0,3}(_[23])?`))).Draw(t, "names")
		n := newNames()
		var all []string
		for _, r := range raw {
			e := n.element(r)
			if !regexp.MustCompile(`^[a-z0-9]([a-z0-9_]*[a-z0-9])?$`).MatchString(e) {
				t.Fatalf("%q became %q", r, e)
			}
			all = append(all, e)
		}
		slices.Sort(all)
		if len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Fatalf("two of %q share an element: %q", raw, all)
		}
	})
}
