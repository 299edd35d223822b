package backends

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tests/process"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/tsdbtest"
	"selvedge.dev/tsdb/vm"
)

// program builds the stock VictoriaMetrics once for all tests.
var program = sync.OnceValues(func() (string, error) { return process.BuildVictoria(context.Background(), folder) })

// folder is where the program is built.
var folder string

// TestMain gives the program a folder.
func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "selvedge-backends-"); err != nil {
		panic(err)
	}
	// A sync of a server takes a second of waiting, so there are fewer of the draws
	// that are also made for the store in the process, and more tests wait at a
	// time; the command line may say otherwise.
	if err := errors.Join(flag.Set("rapid.checks", "15"), flag.Set("test.parallel", "8")); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(folder); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// decades is a retention that reaches back to every instant of the suites.
const decades = 50 * 365 * 24 * time.Hour

// startVictoria runs the stock server.
func startVictoria(t *testing.T, dir string) *process.Victoria {
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	server, err := process.StartVictoria(t.Context(), path, dir)
	require.NoError(t, err)
	return server
}

// onVictoria is a store over a server of its own, which is killed right after
// the store is closed: what the next server finds in the folder was synced.
type onVictoria struct {
	*vm.Remote

	server *process.Victoria
}

// Close closes the store and kills the server, the first time.
func (s *onVictoria) Close() error {
	err := s.Remote.Close()
	if s.server == nil {
		return err
	}
	server := s.server
	s.server = nil
	return errors.Join(err, server.Kill())
}

// openVictoria opens a store over a server in the folder, with descriptors.
func openVictoria(t *testing.T, dir string, ds tsdb.Descriptors) tsdb.Store {
	t.Helper()
	server := startVictoria(t, dir)
	options := vm.Options{Retention: decades}
	if ds != nil {
		options.Describe = func(project, metric string) (tsdb.Descriptor, bool) {
			d, err := ds.Descriptor(context.Background(), project, metric)
			return d, err == nil
		}
	}
	remote, err := vm.Connect(server.URL, options)
	require.NoError(t, err)
	s := &onVictoria{Remote: remote, server: server}
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// SPEC A6: one conformance suite runs on every backend.
func TestVictoria_Store(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, dir string) tsdb.Store { return openVictoria(t, dir, nil) }
	tsdbtest.RunStore(t, open)
	tsdbtest.RunDurable(t, open)
	tsdbtest.RunDescribed(t, openVictoria)
}

// SPEC A6: every script gives the same answers on every backend.
func TestVictoria_Scripts(t *testing.T) {
	t.Parallel()
	tsdbtest.RunScripts(t, openVictoria)
}

// victoriaSeries is a series of a project.
func victoriaSeries(project, device string) *tsdb.Series {
	return &tsdb.Series{
		Project: project, Metric: "m", Resource: "device", Kind: tsdb.Gauge, ValueType: tsdb.Double,
		ResourceLabels: tsdb.Labels{{Name: "device_id", Value: device}},
	}
}

// What looks like a matcher in a name is a name: no project reads another's.
func TestVictoria_ProjectsDoNotLeak(t *testing.T) {
	t.Parallel()
	s := openVictoria(t, t.TempDir(), nil)
	projects := []string{
		"p", "q", "pq", `p"`, `p",project=~".*`, `p"} or {project=~".+`, ".*", ".+", "p|q", "p.", "\x00", "\x00p", "p\n", `p\`, "é", "$p", "{}",
	}
	now := tsdb.Millis(time.Now().UnixMilli())
	for i, p := range projects {
		require.NoError(t, s.Append(t.Context(), []tsdb.Sample{{Series: victoriaSeries(p, `d"}`), Time: now, Value: float64(i)}}))
	}
	within := tsdb.Interval{Start: now - 1000, End: now + 1000}
	for i, p := range projects {
		for _, metric := range []string{"", "m"} {
			var got []float64
			require.NoError(t, s.Select(t.Context(), tsdb.Selection{Project: p, Metric: metric, Interval: within}, func(series *tsdb.Series, points tsdb.Points) error {
				require.Equal(t, p, series.Project)
				got = append(got, points.Values...)
				return nil
			}))
			require.Equal(t, []float64{float64(i)}, got, "%q", p)
		}
		for _, metric := range []string{`m"} or {project="q`, `.*`, `m"`, `m",project="q`} {
			require.NoError(t, s.Select(t.Context(), tsdb.Selection{Project: p, Metric: metric, Interval: within}, func(series *tsdb.Series, _ tsdb.Points) error {
				return fmt.Errorf("%q finds %q of %q", metric, series.Metric, series.Project)
			}))
		}
	}
	require.Equal(t, fault.Invalid, fault.KindOf(s.Select(t.Context(), tsdb.Selection{Interval: within}, nil)))
}

// What the server would drop without a word is refused.
func TestVictoria_RefusesWhatTheServerDrops(t *testing.T) {
	t.Parallel()
	remote, err := vm.Connect("http://127.0.0.1:1", vm.Options{})
	require.NoError(t, err)
	now := tsdb.Millis(time.Now().UnixMilli())
	labels := func(n int) (ls tsdb.Labels) {
		for i := range n {
			ls = append(ls, tsdb.Label{Name: fmt.Sprintf("l%02d", i), Value: "v"})
		}
		return ls
	}
	f := func(want string, change func(*tsdb.Series, *tsdb.Sample)) {
		t.Helper()
		series := victoriaSeries("p", "d")
		sample := tsdb.Sample{Series: series, Time: now, Value: 1}
		change(series, &sample)
		require.Equal(t, want, remote.Check(sample))
		err := remote.Append(t.Context(), []tsdb.Sample{sample})
		if want == "" {
			require.Equal(t, fault.Unavailable, fault.KindOf(err), "it was sent")
			return
		}
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, want, fault.ReasonOf(err))
	}
	f("", func(*tsdb.Series, *tsdb.Sample) {})
	f("", func(s *tsdb.Series, _ *tsdb.Sample) { s.MetricLabels = labels(36) })
	f(vm.InvalidSeries, func(s *tsdb.Series, _ *tsdb.Sample) { s.MetricLabels = labels(37) })
	f(vm.InvalidSeries, func(s *tsdb.Series, _ *tsdb.Sample) { s.Project = "" })
	f(vm.InvalidSeries, func(s *tsdb.Series, _ *tsdb.Sample) {
		s.MetricLabels = tsdb.Labels{{Name: strings.Repeat("n", 250), Value: "v"}}
	})
	f(vm.InvalidSeries, func(s *tsdb.Series, _ *tsdb.Sample) {
		s.MetricLabels = tsdb.Labels{{Name: "n", Value: strings.Repeat("v", 4096)}}
	})
	f(vm.NotFinite, func(_ *tsdb.Series, s *tsdb.Sample) { s.Value = math.Inf(1) })
	f(vm.TooOld, func(_ *tsdb.Series, s *tsdb.Sample) { s.Time = 0 })
	f(vm.TooFarInFuture, func(_ *tsdb.Series, s *tsdb.Sample) { s.Time += tsdb.Millis(72 * time.Hour / time.Millisecond) })
}

// A limit of the identity that Check allows is one that the server keeps.
func TestVictoria_KeepsWhatCheckAllows(t *testing.T) {
	t.Parallel()
	s := openVictoria(t, t.TempDir(), nil)
	series := victoriaSeries("p", strings.Repeat("v", 4095))
	series.MetricLabels = tsdb.Labels{{Name: strings.Repeat("n", 247), Value: "\x00" + strings.Repeat("v", 4094)}}
	for i := range 35 {
		series.MetricLabels = append(series.MetricLabels, tsdb.Label{Name: fmt.Sprintf("o%02d", i), Value: ""})
	}
	now := tsdb.Millis(time.Now().UnixMilli())
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{{Series: series, Time: now, Value: 1}}))
	var got []*tsdb.Series
	require.NoError(t, s.Select(t.Context(), tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: now, End: now}}, func(s *tsdb.Series, _ tsdb.Points) error {
		got = append(got, s)
		return nil
	}))
	require.Equal(t, []*tsdb.Series{series}, got)
}

// A server that is away or answers nonsense is an error and never an answer.
func TestVictoria_ServerFails(t *testing.T) {
	t.Parallel()
	now := tsdb.Millis(time.Now().UnixMilli())
	all := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: now - 1000, End: now}}
	f := func(name string, export func(http.ResponseWriter), want fault.Kind) {
		t.Helper()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/v1/export/native" {
				export(w)
			}
		}))
		defer server.Close()
		remote, err := vm.Connect(strings.Replace(server.URL, "//", "//user:secret@", 1), vm.Options{})
		require.NoError(t, err)
		err = remote.Select(t.Context(), all, func(*tsdb.Series, tsdb.Points) error { return nil })
		require.Equal(t, want, fault.KindOf(err), "%s: %v", name, err)
		require.NotContains(t, err.Error(), "secret")
		require.NoError(t, remote.Append(t.Context(), []tsdb.Sample{{Series: victoriaSeries("p", "d"), Time: now, Value: 1}}))
		require.Equal(t, fault.Unavailable, fault.KindOf(remote.Sync(t.Context())), "there is no snapshot")
	}
	answer := func(text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { _, _ = w.Write([]byte(text)) } // who does not read it fails
	}
	header := strings.Repeat("\x00", 16)
	f("nothing", answer(""), fault.Unavailable)
	f("half a header", answer("12345678"), fault.Unavailable)
	f("half a name", answer(header+"\x00\x00\x00\x05ab"), fault.Unavailable)
	f("no block", answer(header+"\x00\x00\x00\x02ab"), fault.Unavailable)
	f("a name that is none", answer(header+"\x00\x00\x00\x02ab\x00\x00\x00\x02ab"), fault.Unavailable)
	f("too much", answer(header+"\xff\xff\xff\xff"), fault.Unavailable)
	f("overloaded", func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }, fault.Unavailable)
	f("forbidden", func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }, fault.Unavailable)
	f("elsewhere", func(w http.ResponseWriter) { w.Header().Set("Location", "/"); w.WriteHeader(http.StatusFound) }, fault.Unavailable)

	away, err := vm.Connect("http://user:secret@127.0.0.1:1", vm.Options{})
	require.NoError(t, err)
	err = away.Append(t.Context(), []tsdb.Sample{{Series: victoriaSeries("p", "d"), Time: now, Value: 1}})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.NotContains(t, err.Error(), "secret")
	require.Equal(t, fault.Unavailable, fault.KindOf(away.Select(t.Context(), all, nil)))
	for _, address := range []string{"", "localhost:8428", "ftp://h", "http://", "http://user:secret@h:port", "http://h?x=y"} {
		_, err := vm.Connect(address, vm.Options{})
		require.Equal(t, fault.Invalid, fault.KindOf(err), address)
		require.NotContains(t, err.Error(), "secret")
	}
}
