package eventingtest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
)

// delivered is a request that a subscriber got.
type delivered struct {
	event  event.Event
	header http.Header
	at     time.Time
}

// answer is what a subscriber says to a delivery.
type answer struct {
	status int
	// reply is an event to answer with, nil for none.
	reply *event.Event
	// contentType and body are answered when there is no reply.
	contentType, body string
}

// subscriber is a function over HTTP that remembers what it got.
type subscriber struct {
	s   *Suite
	url string
	do  func(ctx context.Context, e event.Event, attempt int) answer

	mu       sync.Mutex
	got      []delivered
	attempts map[string]int
	changed  chan struct{}
}

// subscriber starts a subscriber; do is asked with the number of deliveries of
// an event with that id before, and nil takes everything.
func (s *Suite) subscriber(do func(ctx context.Context, e event.Event, attempt int) answer) *subscriber {
	s.Helper()
	l, err := new(net.ListenConfig).Listen(s.Context(), "tcp", s.Listen)
	require.NoError(s, err)
	sub := &subscriber{s: s, url: "http://" + l.Addr().String() + "/", do: do, attempts: map[string]int{}, changed: make(chan struct{})}
	server := &http.Server{Handler: sub, ReadHeaderTimeout: s.Patience}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	s.Cleanup(func() {
		require.NoError(s, server.Close())
		require.ErrorIs(s, <-done, http.ErrServerClosed)
	})
	return sub
}

// says is a subscriber's func that always answers with the status.
func says(status int) func(context.Context, event.Event, int) answer {
	return func(context.Context, event.Event, int) answer { return answer{status: status} }
}

// ServeHTTP implements http.Handler.
func (sub *subscriber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	items, _, err := event.FromRequest(r, event.Limits{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
		return
	}
	e := items[0].Event
	sub.mu.Lock()
	attempt := sub.attempts[e.ID()]
	sub.attempts[e.ID()]++
	sub.mu.Unlock()
	say := answer{status: http.StatusAccepted}
	if sub.do != nil {
		say = sub.do(r.Context(), event.Clone(&e), attempt)
	}
	sub.mu.Lock()
	sub.got = append(sub.got, delivered{e, r.Header.Clone(), at})
	close(sub.changed)
	sub.changed = make(chan struct{})
	sub.mu.Unlock()
	if say.reply == nil {
		if say.contentType != "" {
			w.Header().Set("Content-Type", say.contentType)
		}
		w.WriteHeader(say.status)
		_, _ = w.Write([]byte(say.body)) // the broker may have gone
		return
	}
	if err := event.SetHeaders(w.Header(), say.reply); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(say.status)
	_, _ = w.Write(say.reply.Data()) // the broker may have gone
}

// so is what the subscriber got so far, and what tells that there is more.
func (sub *subscriber) so() ([]delivered, <-chan struct{}) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return append([]delivered(nil), sub.got...), sub.changed
}

// wait waits until the subscriber got n deliveries, and returns them.
func (sub *subscriber) wait(n int) []delivered {
	sub.s.Helper()
	timeout := time.After(sub.s.Patience)
	for {
		got, changed := sub.so()
		if len(got) >= n {
			return got
		}
		select {
		case <-changed:
		case <-timeout:
			require.FailNow(sub.s, "missing deliveries", "got %d of %d", len(got), n)
		}
	}
}

// exactly waits for n deliveries and holds that no more come.
func (sub *subscriber) exactly(n int) []delivered {
	sub.s.Helper()
	sub.wait(n)
	quiet := time.After(sub.s.Quiet)
	for {
		got, changed := sub.so()
		require.Len(sub.s, got, n)
		select {
		case <-changed:
		case <-quiet:
			return got
		}
	}
}

// ids are the ids of the deliveries, in order.
func ids(got []delivered) []string {
	out := make([]string, len(got))
	for i, d := range got {
		out[i] = d.event.ID()
	}
	return out
}
