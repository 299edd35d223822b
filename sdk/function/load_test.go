package function_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	official "github.com/cloudevents/sdk-go/v2/client"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/function"
)

const (
	// clients is how many requests are under way at once, and requests how
	// many there are: the load under which the official receiver was seen to
	// stall for good.
	clients, requests = 64, 20_000
	// leaving is the part of the clients that go away while their event is
	// handled: one in this many.
	leaving = 16
)

// load is many clients of one function.
type load struct {
	url    string
	client *http.Client
	// patience is how long one request may take.
	patience time.Duration
	// cancels are the requests under way whose client will leave.
	cancels sync.Map
	// done counts the requests that were answered or given up on purpose.
	done atomic.Int64
}

// newLoad serves what handler makes of the load's function.
func newLoad(t *testing.T, patience time.Duration, handler func(handle) http.Handler) *load {
	t.Helper()
	l := &load{
		client:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}},
		patience: patience,
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.url = "http://" + listener.Addr().String()
	server := &http.Server{Handler: handler(l.handle)}
	var served errgroup.Group
	served.Go(func() error { return server.Serve(listener) })
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, served.Wait(), http.ErrServerClosed)
		l.client.CloseIdleConnections()
	})
	return l
}

// handle makes the client of e leave if it is one that does, and replies e.
func (l *load) handle(_ context.Context, e event.Event) (*event.Event, error) {
	if cancel, ok := l.cancels.LoadAndDelete(e.ID()); ok {
		cancel.(context.CancelFunc)()
	}
	return &e, nil
}

// run posts all requests, and returns the first error of a client that stayed.
func (l *load) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for c := range clients {
		g.Go(func() error {
			for i := c; i < requests; i += clients {
				if err := l.post(ctx, i); err != nil {
					return fmt.Errorf("after %d requests: %w", l.done.Load(), err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// post posts event i, and checks that the answer is its own.
func (l *load) post(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	id := strconv.Itoa(i)
	leaves := i%leaving == leaving-1
	if leaves {
		l.cancels.Store(id, cancel)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, strings.NewReader(`{"reading":1}`))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Source": "//load", "Ce-Type": "t", "Content-Type": "application/json"} {
		r.Header.Set(name, value)
	}
	resp, err := l.client.Do(r)
	switch {
	case leaves && errors.Is(err, context.Canceled):
		l.done.Add(1)
		return nil
	case err != nil:
		return fmt.Errorf("post: %w", err)
	}
	reply, err := event.FromResponse(resp, event.Limits{})
	if closed := resp.Body.Close(); err == nil {
		err = closed
	}
	switch {
	case leaves:
	case err != nil:
		return fmt.Errorf("read reply: %w", err)
	case reply == nil || reply.ID() != id:
		return fmt.Errorf("event %s got the reply %v", id, reply)
	}
	l.done.Add(1)
	return nil
}

func TestHTTP_DoesNotStallUnderLoad(t *testing.T) {
	t.Parallel()
	l := newLoad(t, time.Minute, func(h handle) http.Handler { return function.HTTP(h, function.Options{}) })
	require.NoError(t, l.run(t.Context()))
	require.EqualValues(t, requests, l.done.Load())
	require.NoError(t, l.post(t.Context(), 0), "one request alone, afterwards")
}

// TestOfficialReceiver_Stalls shows under the same load why the platform has
// a receiver of its own. The official one pairs requests and handlers over one
// channel; a client that leaves at the wrong moment shifts all later pairs by
// one, for good. When that moment does not come within the budget the test
// says so and passes: it is there to notice, by its log, that the reason is
// gone.
func TestOfficialReceiver_Stalls(t *testing.T) {
	t.Parallel()
	const budget, patience = 10 * time.Second, 2 * time.Second
	l := newLoad(t, patience, func(h handle) http.Handler {
		protocol, err := cehttp.New()
		require.NoError(t, err)
		receiver, err := official.NewHTTPReceiveHandler(t.Context(), protocol, func(ctx context.Context, e event.Event) (*event.Event, error) {
			return h(ctx, e)
		})
		require.NoError(t, err)
		return receiver
	})
	ctx, cancel := context.WithTimeout(t.Context(), budget)
	defer cancel()
	start := time.Now()
	err := l.run(ctx)
	alone := l.post(t.Context(), 0)
	t.Logf("load: %v, %v; one request alone, afterwards: %v", time.Since(start).Round(time.Millisecond), err, alone)
}
