package scale_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/local/cluster/serving/scale"
)

// settings are those of annotations, "name=value name=value", without their
// group, which must be right.
func settings(t testing.TB, concurrency int64, text string) scale.Settings {
	t.Helper()
	s, problems := scale.Parse(annotations(text), concurrency, scale.Defaults{})
	require.Empty(t, problems)
	return s
}

// annotations are "name=value name=value".
func annotations(text string) map[string]string {
	out := map[string]string{}
	for _, f := range strings.Fields(text) {
		name, value, _ := strings.Cut(f, "=")
		out[scale.Group+"/"+name] = value
	}
	return out
}

func TestParse_Defaults(t *testing.T) {
	t.Parallel()
	s := settings(t, 0, "")
	require.Equal(t, scale.Settings{
		Metric: "concurrency", Target: 100, Utilization: 70, Max: 10, Initial: 1, Window: time.Minute, PanicWindow: 10, PanicThreshold: 200, UpRate: 1000, DownRate: 2,
	}, s)
	require.InDelta(t, 5, settings(t, 5, "").Target, 0)
	require.InDelta(t, 5, settings(t, 5, "target=50").Target, 0, "no more than what is let in")
	require.InDelta(t, 200, settings(t, 5, "metric=rps").Target, 0)
	require.Equal(t, 3, settings(t, 0, "minScale=3").Min, "the names of earlier versions")
	require.Equal(t, 20, settings(t, 0, "min-scale=20").Max)
	require.Zero(t, settings(t, 0, "max-scale=0").Max, "no bound")
	require.Equal(t, s, settings(t, 0, "target-burst-capacity=-1 class=kpa.autoscaling.knative.dev metric-aggregation-algorithm=linear"), "no effect")
	require.Equal(t, 90*time.Second, settings(t, 0, "window=90s").Window)
}

func TestParse_Problems(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		_, problems := scale.Parse(annotations(text), 0, scale.Defaults{})
		require.Len(t, problems, 1, text)
		require.Contains(t, problems[0].Message, want)
		require.True(t, strings.HasPrefix(problems[0].Key, scale.Group+"/"))
	}
	f("class=hpa.autoscaling.knative.dev", "invalid value: hpa")
	f("metric=cpu", "invalid value: cpu")
	f("min-scale=-1", "expected 0 <= -1")
	f("min-scale=x", "invalid value: x")
	f("min-scale=3 max-scale=2", "max-scale=2 is less than min-scale=3")
	f("initial-scale=0", "not allowed")
	f("activation-scale=1", "activation-scale=1 must be greater than 1")
	f("activation-scale=2 min-scale=3", "min-scale=3 is greater than activation-scale=2")
	f("activation-scale=3 max-scale=2", "max-scale=2 is less than activation-scale=3")
	f("target=0", "target 0 should be at least 0.01")
	f("target=NaN", "invalid value: NaN")
	f("target-utilization-percentage=101", "expected 1 <= 101 <= 100")
	f("panic-window-percentage=0.5", "expected 1 <= 0.5 <= 100")
	f("panic-threshold-percentage=100", "expected 110 <= 100 <= 1000")
	f("window=5s", "expected 6s <= 5s <= 1h0m0s")
	f("window=6500ms", "second precision")
	f("window=x", "invalid value: x")
	f("scale-down-delay=2h", "expected 0s <= 2h")
	f("scale-to-zero-pod-retention-period=-1s", "expected 0s <= -1s")
	f("target-burst-capacity=-2", "invalid value: -2")
	f("metric-aggregation-algorithm=weighted-exponential", "invalid value")
}

// run decides for each second in which there were so many requests on average,
// with every decision carried out at once; it returns the decisions.
func run(s scale.Settings, reachable bool, load ...float64) []int {
	d := scale.New(s)
	now := time.Unix(0, 0)
	ready := 1
	out := make([]int, len(load))
	for i, x := range load {
		now = now.Add(time.Second)
		d.Record(now, scale.Sample{For: time.Second, Concurrency: x, Requests: int64(x)})
		ready = d.Decide(now, scale.Fleet{Ready: ready, Reachable: reachable})
		out[i] = ready
	}
	return out
}

// flat is n seconds of a load.
func flat(n int, load float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = load
	}
	return out
}

func TestDecide_FollowsTheLoad(t *testing.T) {
	t.Parallel()
	s := settings(t, 10, "window=10s")
	got := run(s, true, append(flat(20, 14), flat(20, 0)...)...) // 10 at 70% is 7 for each
	require.Equal(t, 2, got[0])
	require.Equal(t, 2, got[19])
	require.Equal(t, 0, got[39])
	require.NotZero(t, got[28], "the window is not over")
	require.Equal(t, 10, run(s, true, flat(3, 1000)...)[2], "the maximum")
	require.Equal(t, 143, run(settings(t, 10, "window=10s max-scale=0"), true, flat(3, 1000)...)[2])
}

func TestDecide_ByRequestsPerSecond(t *testing.T) {
	t.Parallel()
	require.Equal(t, 3, run(settings(t, 0, "metric=rps target=100 window=10s"), true, flat(10, 200)...)[9])
}

func TestDecide_PanicsInABurst(t *testing.T) {
	t.Parallel()
	s := settings(t, 10, "window=20s panic-window-percentage=10 max-scale=0")
	got := run(s, true, append(append(flat(20, 7), flat(2, 70)...), flat(40, 7)...)...)
	require.Equal(t, 1, got[19])
	require.Equal(t, 10, got[21], "by the panic window; the stable one has seen little of it")
	for _, n := range got[22:40] {
		require.Equal(t, 10, n, "no less while the panic lasts")
	}
	require.Equal(t, 1, got[61])
}

func TestDecide_KeepsTheMinimum(t *testing.T) {
	t.Parallel()
	s := settings(t, 0, "window=6s min-scale=2")
	require.Equal(t, 2, run(s, true, flat(30, 0)...)[29])
	require.Equal(t, 0, run(s, false, flat(30, 0)...)[29], "not of what no route leads to")
}

func TestDecide_ActivationScale(t *testing.T) {
	t.Parallel()
	got := run(settings(t, 0, "window=6s activation-scale=3"), true, append(flat(1, 1), flat(20, 0)...)...)
	require.Equal(t, 3, got[0])
	require.Equal(t, 0, got[20])
}

func TestDecide_ScaleDownDelay(t *testing.T) {
	t.Parallel()
	load := append(flat(10, 14), flat(30, 0)...)
	s := settings(t, 10, "window=6s scale-down-delay=10s")
	require.Equal(t, 2, run(s, true, load...)[20])
	require.Equal(t, 0, run(s, true, load...)[39])
	require.Less(t, run(settings(t, 10, "window=6s"), true, load...)[20], 2)
}

func TestDecide_LastInstanceLingers(t *testing.T) {
	t.Parallel()
	gone := func(s scale.Settings) int {
		for i, n := range run(s, true, append(flat(10, 1), flat(60, 0)...)...) {
			if n == 0 {
				return i
			}
		}
		return -1
	}
	plain := gone(settings(t, 0, "window=6s"))
	require.Equal(t, plain+10, gone(settings(t, 0, "window=6s scale-to-zero-pod-retention-period=10s")))
	s, _ := scale.Parse(annotations("window=6s"), 0, scale.Defaults{Grace: 5 * time.Second})
	require.Equal(t, plain+5, gone(s))
	young := run(settings(t, 0, "window=6s"), true, flat(10, 0)...)
	require.Equal(t, 1, young[5], "a new instance has a window to be used")
	require.Equal(t, 0, young[9])
}

// TestDecide_Laws has whatever load is within the bounds, and no less for more.
func TestDecide_Laws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lowest := rapid.IntRange(0, 5).Draw(t, "min")
		highest := rapid.IntRange(max(1, lowest), 20).Draw(t, "max")
		s, problems := scale.Parse(annotations("window=6s min-scale="+strconv.Itoa(lowest)+" max-scale="+strconv.Itoa(highest)), rapid.Int64Range(0, 100).Draw(t, "concurrency"), scale.Defaults{})
		require.Empty(t, problems)
		load := rapid.SliceOfN(rapid.Float64Range(0, 1e6), 1, 40).Draw(t, "load")
		more := make([]float64, len(load))
		for i, x := range load {
			more[i] = 2 * x
		}
		few, many := run(s, true, load...), run(s, true, more...)
		for i := range few {
			require.GreaterOrEqual(t, few[i], lowest)
			require.LessOrEqual(t, few[i], highest)
		}
		// From the same fleet more load wants no fewer. Later on the fleets differ: what
		// is a burst to a small one is none to one that has grown.
		require.GreaterOrEqual(t, many[0], few[0])
	})
}

// FuzzParse reads any annotation.
func FuzzParse(f *testing.F) {
	f.Add("window", "6s", int64(1))
	f.Add("max-scale", "3", int64(0))
	f.Fuzz(func(t *testing.T, name, value string, concurrency int64) {
		s, _ := scale.Parse(map[string]string{scale.Group + "/" + name: value}, concurrency%1001, scale.Defaults{})
		require.NotZero(t, s.Window)
		require.Positive(t, s.Initial)
	})
}
