package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// recorder takes the replies.
type recorder struct {
	port string
	mu   sync.Mutex
	seen map[string]bool
	// last is when one came, and news tells of it.
	last time.Time
	news chan struct{}
}

// listen starts a recorder on any port.
func listen(ctx context.Context) (*recorder, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "0.0.0.0:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	r := &recorder{port: port, seen: map[string]bool{}, news: make(chan struct{}, 1)}
	server := &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // until the program ends
	return r, nil
}

// ServeHTTP takes a reply.
func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.seen[req.Header.Get("Ce-Id")], r.last = true, time.Now()
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
	w.WriteHeader(http.StatusAccepted)
}

// silence is after how long without a reply no more are waited for: a broker whose
// channel is in memory loses what it cannot deliver.
const silence = 15 * time.Second

// await waits until all replies have come, or nothing comes any more. It returns when
// the last came, and how many did not.
func (r *recorder) await(ctx context.Context, all []string) (last time.Time, missing int) {
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	for next := 0; ; {
		r.mu.Lock()
		for next < len(all) && r.seen[all[next]] {
			next++
		}
		last = r.last
		r.mu.Unlock()
		if next == len(all) {
			return last, 0
		}
		select {
		case <-r.news:
			quiet.Reset(silence)
			continue
		case <-quiet.C:
		case <-ctx.Done():
		}
		return last, r.missing(all)
	}
}

// missing is how many replies have not come.
func (r *recorder) missing(all []string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range all {
		if !r.seen[id] {
			n++
		}
	}
	return n
}
