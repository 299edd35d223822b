package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// clients is how many clients make requests at once.
const clients = 16

// repeat calls do from all clients at once for as long as d, and returns how
// many calls a second succeeded, and their latencies, sorted.
func repeat(ctx context.Context, d time.Duration, do func(ctx context.Context, client, n int) error) (float64, []time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	begin := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			var mine []time.Duration
			var err error
			for n := 0; time.Since(begin) < d && err == nil; n++ {
				at := time.Now()
				if err = do(ctx, c, n); err == nil {
					mine = append(mine, time.Since(at))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	return float64(len(all)) / time.Since(begin).Seconds(), all, failed
}

// id is the id of an object that a client makes: 15 letters and digits, which
// is what both servers take.
func id(run string, client, n int) string { return fmt.Sprintf("%s%02dx%08d", run, client, n) }

// creates measures the creation of objects, and gets that of reading those.
func creates(ctx context.Context, t *target, run string, d time.Duration) (create, get figure, err error) {
	var made [clients]atomic.Int64
	create.rate, create.latencies, err = repeat(ctx, d, func(ctx context.Context, c, n int) error {
		method, path, body := t.create(id(run, c, n))
		if err := t.call(ctx, method, path, body, nil); err != nil {
			return err
		}
		made[c].Store(int64(n + 1))
		return nil
	})
	if err != nil {
		return create, get, err
	}
	get.rate, get.latencies, err = repeat(ctx, d, func(ctx context.Context, c, _ int) error {
		return t.call(ctx, http.MethodGet, t.get(id(run, c, rand.IntN(int(made[c].Load())))), nil, nil)
	})
	return create, get, err
}

// lists measures the list of 100 objects with the rare label.
func lists(ctx context.Context, t *target, d time.Duration) (f figure, err error) {
	f.rate, f.latencies, err = repeat(ctx, d, func(ctx context.Context, _, _ int) error {
		return t.call(ctx, http.MethodGet, t.list, nil, nil)
	})
	return f, err
}

// fanOut measures the deliveries a second of changes to watchers, and how long
// after its creation was asked for an object reached each of them. The objects
// are created by all clients at once.
func fanOut(ctx context.Context, t *target, run string, watchers, changes int) (f figure, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	streams, err := follow(ctx, t, run, watchers)
	if err != nil {
		return f, err
	}
	defer func() {
		for _, s := range streams {
			_ = s.body.Close() // of no more use
		}
	}()
	changes -= changes % clients
	begin := time.Now()
	seen := make([][]time.Duration, watchers)
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range streams {
		g.Go(func() error {
			for len(seen[i]) < changes {
				data, err := s.next()
				if err != nil {
					return fmt.Errorf("%s: watcher %d after %d of %d changes: %w", t.name, i, len(seen[i]), changes, err)
				}
				at := time.Since(begin)
				for range t.changes(data) {
					seen[i] = append(seen[i], at)
				}
			}
			return nil
		})
	}
	var mu sync.Mutex
	var asked []time.Duration
	for c := range clients {
		g.Go(func() error {
			for n := range changes / clients {
				method, path, body := t.create(id(run, c, n))
				t.watched(body, run)
				mu.Lock()
				asked = append(asked, time.Since(begin))
				mu.Unlock()
				if err := t.call(ctx, method, path, body, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return f, err
	}
	f.rate = float64(watchers*changes) / time.Since(begin).Seconds()
	// The n-th change that a watcher sees is taken for the n-th that was asked
	// for; with all in flight at once they differ by some places.
	for _, times := range seen {
		for n, at := range times[:changes] {
			f.latencies = append(f.latencies, at-asked[n])
		}
	}
	slices.Sort(f.latencies)
	return f, nil
}

// follow opens streams, all clients at once.
func follow(ctx context.Context, t *target, run string, watchers int) ([]*events, error) {
	streams := make([]*events, watchers)
	var g errgroup.Group // by itself it would end the streams when all are open
	g.SetLimit(clients)
	for i := range streams {
		g.Go(func() (err error) {
			if streams[i], err = t.watch(ctx, t, run); err != nil {
				return fmt.Errorf("%s: watcher %d: %w", t.name, i, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		for _, s := range streams {
			if s != nil {
				_ = s.body.Close() // of no more use
			}
		}
		return nil, err
	}
	return streams, nil
}

// figure is what was measured.
type figure struct {
	rate      float64
	latencies []time.Duration
}

// quantile is the q-quantile of the latencies.
func (f figure) quantile(q float64) time.Duration {
	if len(f.latencies) == 0 {
		return 0
	}
	return f.latencies[min(len(f.latencies)-1, int(q*float64(len(f.latencies))))]
}
