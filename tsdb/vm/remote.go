package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

const (
	// answerBytes bounds what is read of an answer that is no data.
	answerBytes = 4 << 20
	// quotedBytes is how much of an answer an error repeats.
	quotedBytes = 300
	// remoteTimeout bounds how long a server may take to begin an answer.
	remoteTimeout = 30 * time.Second
	// remoteIdle is how many connections are kept.
	remoteIdle = 16
)

// Remote is a tsdb.Store over a VictoriaMetrics server, single node, version
// 1.150 or later; make one with Connect. Points go there by Prometheus remote
// write and come back by its native export, under the names that Store gives
// them. The project is a label: every selection names it, and a series of
// another project in an answer is an error.
//
// # The server
//
// It must have the retention that Options say (its own default is a month), no
// relabelling, no deduplication but by one millisecond, and its API must not be
// reachable for anybody else: it knows no projects. With the flag
// -dedup.minScrapeInterval=1ms it counts a repeated time as Select does, and
// can align more; see Push. It drops silently what it does not keep, so what
// it would drop is refused here: points outside of the retention, and series of
// over 40 labels, with names over 256 bytes or values over 4 KiB. Its limits of
// series must not be set.
//
// # What is visible
//
// What this Remote appended is in its later Selects, as with Store: the server
// is asked to flush its buffers. What another writer appended is there after a
// second, and a series that another one made after ten.
//
// # What Sync promises
//
// A server acknowledges samples in memory and writes them to files after up to
// five seconds; a crash of it loses those. Sync has it make a snapshot, which
// is removed at once, until its metrics say that nothing is in memory only; so
// what was appended before is in files that the server has synced, whether it
// is then killed or its machine loses power. The server makes its metrics once a
// second, so Append waits for about that long while a Sync is under way (for two
// seconds with a cluster). While other writers are busy that moment may not come:
// then Sync is Unavailable after some tries, and to be called again, by a caller
// that keeps the samples until then. A server that was killed between an Append
// and its Sync is not noticed: only the caller's log has what it lost.
type Remote struct {
	options Options
	http    *http.Client

	// write, read and remove are where points are written, read and deleted:
	// all the same if the server is a single one. There is only read if nothing
	// is to be written.
	write, read, remove *url.URL
	// nodes are who keeps the points: the single server, or see Cluster.
	nodes []*node
	// cluster says that it is no single server, learned that it is known what
	// the nodes are, and forwards that there is a vminsert among them.
	cluster           bool
	learned, forwards atomic.Bool

	// adding is held shared while samples are sent, and exclusively while a
	// mark moves; see Store.
	adding sync.RWMutex
	// added counts the batches that were sent.
	added atomic.Uint64
	// visible and durable say how many of them Select sees and the disk has.
	visible, durable *horizon
	// deduplicates says whether the server counts a repeated time once; nil
	// until it was asked.
	deduplicates atomic.Pointer[bool]

	// mu guards closed; users are the calls that Close waits for.
	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup
}

var _ tsdb.Store = (*Remote)(nil)

// Connect makes a store over the server at the address, "http://HOST:8428", with
// user and password in it if the server wants some. CacheBytes, MinFreeBytes and
// Logger are of no use here. It does not wait for the server: what needs it
// fails with Unavailable while it is away.
func Connect(address string, options Options) (*Remote, error) {
	var p parser
	u := p.parse("series", address)
	if u != nil && (strings.Contains(u.Path, "/insert/") || strings.Contains(u.Path, "/select/")) {
		p.fail("series", errors.New("a path with /insert/ or /select/ is of a cluster, which has several addresses"))
	}
	if p.err != nil {
		return nil, p.err
	}
	r := newRemote(options)
	r.write, r.read, r.remove, r.nodes = u, u, u, []*node{{url: u}}
	return r, nil
}

// ConnectReader makes a store that only reads, beside the one that writes: over a
// server as Connect has it, or over a tenant of a cluster at vmselect, as in
// Cluster. Whatever would change something is Unsupported.
func ConnectReader(address string, options Options) (*Remote, error) {
	var p parser
	r := newRemote(options)
	if r.read = p.parse("series", address); r.read != nil && strings.Contains(r.read.Path, "/select/") {
		r.read, _ = p.tenant("series", address, "select")
		r.cluster = true
	} else {
		r.nodes = []*node{{url: r.read}}
	}
	if r.read != nil && strings.Contains(r.read.Path, "/insert/") {
		p.fail("series", errors.New("want the address of a server, or of a tenant at vmselect"))
	}
	if p.err != nil {
		return nil, p.err
	}
	return r, nil
}

// newRemote is a Remote without addresses.
func newRemote(options Options) *Remote {
	return &Remote{
		options: options.withDefaults(), visible: newHorizon(), durable: newHorizon(),
		http: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: remoteIdle, IdleConnTimeout: time.Minute,
				ResponseHeaderTimeout: remoteTimeout, DisableCompression: true,
			},
			// A server does not redirect; who does is somebody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// use admits a call, which must call r.users.Done when it is done.
func (r *Remote) use(op string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return &fault.Error{Op: op, Kind: fault.Unavailable, Err: errors.New("the store is closed")}
	}
	r.users.Add(1)
	return nil
}

// useToWrite is use for a call that changes something.
func (r *Remote) useToWrite(op string) error {
	if r.write == nil {
		return &fault.Error{Op: op, Kind: fault.Unsupported, Reason: "READ_ONLY", Err: errors.New("the store only reads")}
	}
	return r.use(op)
}

// Close implements tsdb.Store: it waits for the calls that are under way and
// syncs. Closing again does nothing.
func (r *Remote) Close() error {
	err := r.Sync(context.Background())
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	r.users.Wait()
	r.http.CloseIdleConnections()
	return err
}

// request is a request to a server.
type request struct {
	method string
	// at is the address and path what is added to it; params go behind that.
	at     *url.URL
	path   string
	params url.Values
	// body are samples, nil for none.
	body []byte
}

// denied is the parameter by which vmselect is told to make no answer that lacks
// what one vmstorage has. A single server does not know it.
const denied = "deny_partial_response"

// get is a request for data.
func (r *Remote) get(path string, params url.Values) request {
	params.Set(denied, "1")
	return request{method: http.MethodGet, at: r.read, path: path, params: params}
}

// do makes a request and returns the body of the answer, which the caller
// closes.
func (r *Remote) do(ctx context.Context, what request) (io.ReadCloser, error) {
	path := what.path
	u := *what.at
	u.Path, u.RawQuery = u.Path+path, what.params.Encode()
	req, err := http.NewRequestWithContext(ctx, what.method, u.String(), bytes.NewReader(what.body))
	if err != nil {
		return nil, unavailable(path, err)
	}
	if what.body != nil {
		req.Header.Set("Content-Type", "application/x-protobuf")
		req.Header.Set("Content-Encoding", "zstd")
		req.Header.Set("X-VictoriaMetrics-Remote-Write-Version", "1")
	}
	resp, err := r.http.Do(req)
	if err != nil {
		var cause *url.Error
		if errors.As(err, &cause) {
			err = cause.Err // without the address
		}
		return nil, unavailable(path, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, quotedBytes))
	err = errors.Join(fmt.Errorf("status %d: %q", resp.StatusCode, text), err, resp.Body.Close())
	if resp.StatusCode == http.StatusBadRequest {
		return nil, &fault.Error{Op: "tsdb/vm.Remote", Name: path, Kind: fault.Internal, Err: err}
	}
	return nil, unavailable(path, err)
}

// unavailable is the error of a server that does not do what it should.
func unavailable(path string, err error) error {
	return &fault.Error{Op: "tsdb/vm.Remote", Name: path, Kind: fault.Unavailable, Err: err}
}

// call makes a request whose answer is short, and returns that.
func (r *Remote) call(ctx context.Context, what request) ([]byte, error) {
	answer, err := r.do(ctx, what)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(answer, answerBytes))
	if err = errors.Join(err, answer.Close()); err != nil {
		return nil, unavailable(what.path, err)
	}
	return text, nil
}

// advance has a horizon reach all that was added, by a move that may fail.
func (r *Remote) advance(ctx context.Context, h *horizon, rest time.Duration, move func(context.Context) error) error {
	var failed error
	err := h.reach(ctx, r.added.Load(), func() (uint64, time.Duration) {
		r.adding.Lock()
		defer r.adding.Unlock()
		if failed = move(ctx); failed != nil {
			return h.mark.Load(), 0
		}
		return r.added.Load(), rest
	})
	if failed != nil {
		return failed
	}
	return err
}

// show makes all that was added visible to searches.
func (r *Remote) show(ctx context.Context) error {
	if !r.cluster {
		return r.advance(ctx, r.visible, revealRest, r.reveal)
	}
	// Appends go on meanwhile: they would wait for long.
	var failed error
	err := r.visible.reach(ctx, r.added.Load(), func() (uint64, time.Duration) {
		mark := r.added.Load()
		if failed = r.reveal(ctx); failed != nil {
			return r.visible.mark.Load(), 0
		}
		return mark, revealRest
	})
	if failed != nil {
		return failed
	}
	return err
}

// reveal makes all that was added before the call visible to searches.
func (r *Remote) reveal(ctx context.Context) error {
	if err := r.settle(ctx); err != nil {
		return err
	}
	return r.each(func(_ int, n *node) error { return r.flush(ctx, n) })
}

// settle gives a vminsert the time that it takes to send on what it was given.
func (r *Remote) settle(ctx context.Context) error {
	if !r.cluster {
		return nil
	}
	if err := r.learn(ctx); err != nil || !r.forwards.Load() {
		return err
	}
	return pause(ctx, forwardPause)
}

// flush makes what a node has visible. A vminsert has nothing.
func (r *Remote) flush(ctx context.Context, n *node) error {
	if n.inserts() {
		return nil
	}
	_, err := r.ask(ctx, n, "/internal/force_flush", nil)
	return err
}
