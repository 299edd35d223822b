package serving

import (
	"context"
	"sync"
	"time"

	"selvedge.dev/local/cluster/object"
)

// item is an object to be looked at.
type item struct {
	kind object.Key
	named
}

// queue are the objects to be looked at, each once.
type queue struct {
	mu    sync.Mutex
	items []item
	in    map[item]bool
	news  chan struct{}
}

// newQueue is an empty queue.
func newQueue() *queue { return &queue{in: map[item]bool{}, news: make(chan struct{}, 1)} }

// add queues it, unless it is in the queue.
func (q *queue) add(it item) {
	q.mu.Lock()
	if !q.in[it] {
		q.in[it] = true
		q.items = append(q.items, it)
	}
	q.mu.Unlock()
	select {
	case q.news <- struct{}{}:
	default:
	}
}

// later queues it after a while. A queue that nobody reads any more keeps it.
func (q *queue) later(it item, after time.Duration) {
	time.AfterFunc(after, func() { q.add(it) })
}

// take is the item that is in the queue for the longest time.
func (q *queue) take(ctx context.Context) (item, error) {
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			it := q.items[0]
			q.items = q.items[1:]
			delete(q.in, it)
			q.mu.Unlock()
			return it, ctx.Err()
		}
		q.mu.Unlock()
		select {
		case <-q.news:
		case <-ctx.Done():
			return item{}, ctx.Err()
		}
	}
}
