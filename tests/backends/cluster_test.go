package backends

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tests/process"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/tsdbtest"
	"selvedge.dev/tsdb/vm"
)

// proxyProgram builds vmauth, VictoriaMetrics' own proxy, of the version of the
// server.
var proxyProgram = sync.OnceValues(func() (string, error) {
	root, err := process.Root()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", folder+string(filepath.Separator), "github.com/VictoriaMetrics/VictoriaMetrics/app/vmauth")
	cmd.Dir = filepath.Join(root, "tests", "bench", "victoria")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build vmauth: %w\n%s", err, text)
	}
	return filepath.Join(folder, "vmauth"), nil
})

// proxy is a running vmauth that has the paths of a cluster for the tenant 7:3,
// and no others.
type proxy struct {
	url  string
	cmd  *exec.Cmd
	done chan struct{}
}

// startProxy runs vmauth, which sends writes, reads and deletions to servers.
func startProxy(t *testing.T, write, read, remove string) *proxy {
	t.Helper()
	program, err := proxyProgram()
	require.NoError(t, err)
	config := "unauthorized_user:\n  url_map:\n"
	for _, route := range [][2]string{
		{"/insert/7:3/prometheus/api/v1/write", write},
		{"/select/7:3/prometheus/api/v1/(export/native|series|query_range)", read},
		{"/delete/7:3/prometheus/api/v1/admin/tsdb/delete_series", remove},
	} {
		config += fmt.Sprintf("  - src_paths: [%q]\n    drop_src_path_prefix_parts: 3\n    url_prefix: %q\n", route[0], route[1])
	}
	file := filepath.Join(t.TempDir(), "vmauth.yml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	p := &proxy{cmd: exec.Command(program, "-auth.config="+file, "-httpListenAddr=127.0.0.1:0"), done: make(chan struct{})}
	output, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	address := make(chan string, 1)
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if _, rest, ok := strings.Cut(lines.Text(), "started server at "); ok {
				address <- strings.TrimRight(rest, "/")
			}
		}
		_ = p.cmd.Wait() // it is killed, and says so
	}()
	select {
	case p.url = <-address:
	case <-p.done:
		require.FailNow(t, "vmauth ended before it listened")
	}
	return p
}

// kill ends the proxy.
func (p *proxy) kill() error {
	err := p.cmd.Process.Kill()
	<-p.done
	return err
}

// cluster is what the proxy has the paths of, with nodes behind it.
func (p *proxy) cluster(nodes ...string) vm.Cluster {
	return vm.Cluster{Write: p.url + "/insert/7:3/prometheus", Read: p.url + "/select/7:3/prometheus", Nodes: nodes}
}

// clustered is a store over a server behind a proxy of its own, which are killed
// right after the store is closed.
type clustered struct {
	onVictoria

	proxy *proxy
}

// Close closes the store and kills server and proxy, the first time.
func (s *clustered) Close() error {
	err := s.onVictoria.Close()
	if s.proxy == nil {
		return err
	}
	p := s.proxy
	s.proxy = nil
	return errors.Join(err, p.kill())
}

// openClustered opens a store over a server in the folder that is reached by the
// paths of a cluster, with descriptors.
func openClustered(t *testing.T, dir string, ds tsdb.Descriptors) tsdb.Store {
	t.Helper()
	server := startVictoria(t, dir)
	front := startProxy(t, server.URL, server.URL, server.URL)
	options := vm.Options{Retention: decades}
	if ds != nil {
		options.Describe = func(project, metric string) (tsdb.Descriptor, bool) {
			d, err := ds.Descriptor(context.Background(), project, metric)
			return d, err == nil
		}
	}
	remote, err := vm.ConnectCluster(front.cluster(server.URL), options)
	require.NoError(t, err)
	s := &clustered{onVictoria{Remote: remote, server: server}, front}
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// SPEC A6: the conformance suites pass by the paths of a cluster.
func TestCluster_Store(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, dir string) tsdb.Store { return openClustered(t, dir, nil) }
	tsdbtest.RunStore(t, open)
	tsdbtest.RunDurable(t, open)
	tsdbtest.RunDescribed(t, openClustered)
	tsdbtest.RunOperations(t, open)
	tsdbtest.RunDeletedDurable(t, open)
}

// SPEC A6: every script gives the same answers by the paths of a cluster.
func TestCluster_Scripts(t *testing.T) {
	t.Parallel()
	tsdbtest.RunScripts(t, openClustered)
}

// What is pushed to a cluster is what is equal whatever its flags are; and a
// snapshot names the node that has it. SPEC A6
func TestCluster_PushAndSnapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, ok := openClustered(t, dir, nil).(*clustered)
	require.True(t, ok)
	counted := &counting{store.Remote, map[string]int{}}
	end := time.Now().Truncate(time.Second).Add(-time.Hour)
	require.NoError(t, store.Append(t.Context(), scattered(end)))
	for _, aligner := range []string{"ALIGN_MAX", "ALIGN_MIN", "ALIGN_SUM", "ALIGN_COUNT", "ALIGN_MEAN"} {
		req := query.Request{
			Project: "p", Filter: `metric.type = "m"`, Start: end.Add(-3 * time.Hour), End: end,
			Aggregation: query.Aggregation{PerSeriesAligner: aligner, AlignmentPeriod: 7 * time.Minute},
		}
		got, err := query.New(counted, query.Options{}).List(t.Context(), req)
		require.NoError(t, err)
		want, err := query.New(plain{store}, query.Options{}).List(t.Context(), req)
		require.NoError(t, err)
		require.NotEmpty(t, want.Results)
		require.Equal(t, want, got, aligner)
	}
	require.Equal(t, map[string]int{"ALIGN_MAX": 1}, counted.pushed)
	snapshot, err := store.ServerSnapshot(t.Context())
	require.NoError(t, err)
	host, name, found := strings.Cut(snapshot, "=")
	require.True(t, found)
	require.Equal(t, strings.TrimPrefix(store.server.URL, "http://"), host)
	require.DirExists(t, filepath.Join(dir, "snapshots", name, "data"))
}

// A part of a cluster that is away is an error of what needs it, and never an
// answer without what is there. SPEC A6
func TestCluster_PartAway(t *testing.T) {
	t.Parallel()
	first, second := startVictoria(t, t.TempDir()), startVictoria(t, t.TempDir())
	t.Cleanup(func() { require.NoError(t, first.Kill()) })
	front := startProxy(t, first.URL, second.URL, first.URL)
	t.Cleanup(func() { require.NoError(t, front.kill()) })
	remote, err := vm.ConnectCluster(front.cluster(first.URL, second.URL), vm.Options{})
	require.NoError(t, err)
	onFirst, err := vm.ConnectCluster(front.cluster(first.URL), vm.Options{})
	require.NoError(t, err)
	now := tsdb.Millis(time.Now().UnixMilli())
	sample := []tsdb.Sample{{Series: victoriaSeries("p", "d"), Time: now, Value: 1}}
	sel := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: now - 1000, End: now}}
	visits := 0
	visit := func(*tsdb.Series, tsdb.Points) error { visits++; return nil }
	require.NoError(t, remote.Append(t.Context(), sample))
	require.NoError(t, remote.Select(t.Context(), sel, visit))
	require.NoError(t, remote.Sync(t.Context()))
	require.NoError(t, onFirst.Append(t.Context(), sample))
	require.Zero(t, visits, "it reads from the other server")

	require.NoError(t, second.Kill())
	for _, r := range []*vm.Remote{remote, onFirst} { // without a node, and without the reader alone
		require.NoError(t, r.Append(t.Context(), sample), "the one that is written to is there")
		require.Equal(t, fault.Unavailable, fault.KindOf(r.Select(t.Context(), sel, visit)))
		require.Equal(t, fault.Unavailable, fault.KindOf(r.Survey(t.Context(), sel, func(*tsdb.Series) error { visits++; return nil })))
		_, err := r.Delete(t.Context(), sel)
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
	}
	require.Equal(t, fault.Unavailable, fault.KindOf(remote.Sync(t.Context())), "nobody says what is in the files of one")
	require.NoError(t, onFirst.Sync(t.Context()))
	require.Zero(t, visits)
}

// parts is what stands in for the programs of a cluster: their pages, by path.
type parts struct {
	mu    sync.Mutex
	pages map[string]string
	asked []string
	// watched is called when the page at path was asked for often enough.
	path    string
	left    int
	watched func()
}

// after has f called when a page was asked for n times.
func (p *parts) after(path string, n int, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.path, p.left, p.watched = path, n, f
}

// ServeHTTP implements http.Handler.
func (p *parts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r.Method+" "+r.URL.Path+" "+r.URL.Query().Get("deny_partial_response"))
	if p.watched != nil && r.URL.Path == p.path {
		if p.left--; p.left == 0 {
			p.watched()
		}
	}
	page, ok := p.pages[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
	}
	_, _ = w.Write([]byte(page)) // who does not read it fails
}

// set changes a page.
func (p *parts) set(path, page string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages[path] = page
}

// An answer that is marked as partial is none, and every read asks for it not to
// be made. SPEC A6
func TestCluster_PartialAnswers(t *testing.T) {
	t.Parallel()
	const base = "/select/0/prometheus/api/v1/"
	p := &parts{pages: map[string]string{
		"/metrics":              "vm_pending_rows{type=\"storage\"} 0\nvm_rows_inserted_total{type=\"promremotewrite\"} 1\n",
		base + "export/native":  strings.Repeat("\x00", 16),
		"/internal/force_flush": "",
	}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	remote, err := vm.ConnectCluster(vm.Cluster{
		Write: server.URL + "/insert/0/prometheus", Read: server.URL + "/select/0/prometheus/", Nodes: []string{server.URL},
	}, vm.Options{})
	require.NoError(t, err)
	now := tsdb.Millis(time.Now().UnixMilli())
	sel := tsdb.Selection{Project: "p", Metric: "m", Interval: tsdb.Interval{Start: now - 1000, End: now}}
	survey := func() error { return remote.Survey(t.Context(), sel, func(*tsdb.Series) error { return nil }) }
	push := func() error {
		_, err := remote.Push(t.Context(), sel, tsdb.Alignment{Aligner: "ALIGN_MAX", End: now, Period: 60_000, Windows: 5}, func(*tsdb.Series, tsdb.Points) error { return nil })
		return err
	}
	p.set(base+"series", `{"status":"success","isPartial":false,"data":[]}`)
	p.set(base+"query_range", `{"status":"success","isPartial":false,"data":{"resultType":"matrix","result":[]}}`)
	require.NoError(t, survey())
	require.NoError(t, push())
	require.NoError(t, remote.Select(t.Context(), sel, nil))
	p.set(base+"series", `{"status":"success","isPartial":true,"data":[]}`)
	p.set(base+"query_range", `{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}`)
	require.Equal(t, fault.Unavailable, fault.KindOf(survey()))
	require.Equal(t, fault.Unavailable, fault.KindOf(push()))
	reads := 0
	for _, request := range p.asked {
		if strings.Contains(request, base) {
			reads++
			require.True(t, strings.HasSuffix(request, " 1"), request)
		}
	}
	require.Equal(t, 5, reads)
}

// What a vminsert has in memory is waited for, and what it lost is an error.
// SPEC A6
func TestCluster_Forwarding(t *testing.T) {
	t.Parallel()
	counters := func(pushed, sent, lacking, dropped int) string {
		return fmt.Sprintf(`vm_rows_inserted_total{type="promremotewrite"} 5
vm_rpc_rows_pushed_total{name="vminsert", addr="a:8400", rpc_call="w"} 3
vm_rpc_rows_pushed_total{name="vminsert", addr="b:8400", rpc_call="w"} %d
vm_rpc_rows_sent_total{name="vminsert", addr="a:8400", rpc_call="w"} 0
vm_rpc_rows_sent_total{name="vminsert", addr="b:8400", rpc_call="w"} %d
vm_rpc_rows_incompletely_replicated_total{name="vminsert"} %d
vm_rpc_rows_dropped_on_overload_total{name="vminsert", addr="b:8400", rpc_call="w"} %d
`, pushed-3, sent, lacking, dropped)
	}
	const stores = "vm_pending_rows{type=\"storage\"} 0\nvm_pending_rows{type=\"indexdb\"} 0\nvm_parts{type=\"storage/inmemory\"} 0\nvm_parts{type=\"indexdb/inmemory\"} 0\n"
	f := func(insert, flags, store, want string) {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			vminsert := &parts{pages: map[string]string{"/metrics": insert, "/flags": flags, "/insert/0/prometheus/api/v1/write": ""}}
			vmstorage := &parts{pages: map[string]string{
				"/metrics": store, "/flags": "", "/internal/force_flush": "", "/snapshot/create": `{"status":"ok","snapshot":"s"}`, "/snapshot/delete": "",
			}}
			a, b := httptest.NewServer(vminsert), httptest.NewServer(vmstorage)
			defer a.Close()
			defer b.Close()
			remote, err := vm.ConnectCluster(vm.Cluster{
				Write: a.URL + "/insert/0/prometheus", Read: b.URL + "/select/0/prometheus", Nodes: []string{a.URL, b.URL},
			}, vm.Options{})
			require.NoError(t, err)
			now := tsdb.Millis(time.Now().UnixMilli())
			require.NoError(t, remote.Append(t.Context(), []tsdb.Sample{{Series: victoriaSeries("p", "d"), Time: now, Value: 1}}))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			vminsert.after("/metrics", 3, cancel) // it was asked and asked again
			err = remote.Sync(ctx)
			if want != "" {
				require.ErrorContains(t, err, want)
				require.NotContains(t, strings.Join(vmstorage.asked, "\n"), "/snapshot/create")
				return
			}
			require.NoError(t, err)
			require.NotContains(t, strings.Join(vminsert.asked, "\n"), "force_flush", "it has none")
			require.Contains(t, strings.Join(vmstorage.asked, "\n"), "/snapshot/create")
		})
	}
	f(counters(8, 8, 0, 0), "", stores, "")
	f(counters(8, 7, 0, 0), "", stores, "canceled")
	f(counters(8, 15, 0, 0), `-replicationFactor="2"`, stores, "canceled")
	f(counters(8, 16, 0, 0), `-replicationFactor="2"`, stores, "")
	f(counters(8, 15, 1, 0), `-replicationFactor="2"`, stores, "")
	f(counters(8, 24, 0, 0), `-replicationFactor="3"`, stores, "replicationFactor of 3")
	f(counters(8, 7, 0, 1), "", stores, "has dropped 1 rows")
	f(counters(8, 8, 0, 0), "", counters(8, 8, 0, 0), "none of the nodes is a vmstorage")
	f(stores, "", stores, "none of the nodes is a vminsert")
	f(counters(8, 8, 0, 0), "", "vm_other 1\n", "neither a vmstorage nor a vminsert")
}

// Addresses that are none of a cluster are told what is wrong, without what may
// be secret in them.
func TestCluster_Addresses(t *testing.T) {
	t.Parallel()
	const write, read = "http://user:secret@h:8480/insert/42:7/prometheus", "http://user:secret@h:8481/select/42:7/prometheus/"
	nodes := []string{"http://user:secret@s:8482"}
	f := func(field, want string, c vm.Cluster) {
		t.Helper()
		_, err := vm.ConnectCluster(c, vm.Options{})
		if field == "" {
			require.NoError(t, err)
			return
		}
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, field, e.Field)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
	f("", "", vm.Cluster{Write: write, Read: read, Nodes: nodes})
	f("", "", vm.Cluster{Write: "http://h/vm/insert/0/prometheus", Read: "http://h/vm/select/0:0/prometheus", Delete: "http://h/delete/0/prometheus", Nodes: nodes})
	f("write", "http://HOST:PORT/insert/ACCOUNT/prometheus", vm.Cluster{Write: "http://user:secret@h:8480", Read: read, Nodes: nodes})
	f("write", "/insert/ACCOUNT/prometheus", vm.Cluster{Write: read, Read: read, Nodes: nodes})
	f("write", "/insert/ACCOUNT/prometheus", vm.Cluster{Write: "http://h/insert/multitenant/prometheus", Read: read, Nodes: nodes})
	f("write", "numbers below 2^32", vm.Cluster{Write: "http://h/insert/4294967296/prometheus", Read: read, Nodes: nodes})
	f("write", "want http://HOST:PORT", vm.Cluster{Read: read, Nodes: nodes})
	f("read", "/select/ACCOUNT/prometheus", vm.Cluster{Write: write, Read: "http://h:8481/", Nodes: nodes})
	f("read", "the tenants are different", vm.Cluster{Write: write, Read: "http://h/select/42/prometheus", Nodes: nodes})
	f("read", "the tenants are different", vm.Cluster{Write: write, Read: read, Delete: "http://h/delete/42/prometheus", Nodes: nodes})
	f("delete", "/delete/ACCOUNT/prometheus", vm.Cluster{Write: write, Read: read, Delete: read, Nodes: nodes})
	f("nodes", "every vmstorage", vm.Cluster{Write: write, Read: read})
	f("nodes", "without a tenant", vm.Cluster{Write: write, Read: read, Nodes: []string{write}})
	f("nodes", "want http://HOST:PORT", vm.Cluster{Write: write, Read: read, Nodes: []string{"secret:8482"}})
	_, err := vm.Connect(write, vm.Options{})
	require.ErrorContains(t, err, "of a cluster, which has several addresses")
	require.NotContains(t, err.Error(), "secret")
}
