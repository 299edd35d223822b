package broker

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"selvedge.dev/sdk/journal"
)

// retryQueue holds the tasks that wait for their next attempt. Its length is
// bounded by span, since every task in it holds the trigger's cursor.
type retryQueue struct {
	mu    sync.Mutex
	tasks taskHeap
	// changed tells the redeliverer that the first task may be another.
	changed chan struct{}
}

// newRetryQueue is an empty queue.
func newRetryQueue() *retryQueue { return &retryQueue{changed: make(chan struct{}, 1)} }

// push queues t for the time due.
func (q *retryQueue) push(due time.Time, t task) {
	q.mu.Lock()
	heap.Push(&q.tasks, dueTask{due, t})
	q.mu.Unlock()
	select {
	case q.changed <- struct{}{}:
	default: // it was told already
	}
}

// pop takes the first task if it is due at now, else it says how long to wait;
// with an empty queue that is an hour, since push wakes the waiter.
func (q *retryQueue) pop(now time.Time) (t task, ok bool, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.tasks) == 0 {
		return task{}, false, time.Hour
	}
	if wait := q.tasks[0].due.Sub(now); wait > 0 {
		return task{}, false, wait
	}
	first, isTask := heap.Pop(&q.tasks).(dueTask)
	return first.task, isTask, 0
}

// due is when the event at offset is attempted again, if it waits here.
func (q *retryQueue) due(offset journal.Offset) (time.Time, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.tasks {
		if t.task.offset == offset {
			return t.due.UTC(), true
		}
	}
	return time.Time{}, false
}

// redeliver sends tasks that are due back to their lanes, until ctx ends.
func (r *runner) redeliver(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		t, ok, wait := r.retry.pop(time.Now())
		if ok {
			select {
			case r.lanes[r.lane(t)] <- []task{t}:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-r.retry.changed:
		case <-ctx.Done():
			return
		}
	}
}

// dueTask is a task and when to attempt it.
type dueTask struct {
	due  time.Time
	task task
}

// taskHeap is a heap by due time.
type taskHeap []dueTask

// Len implements heap.Interface.
func (h taskHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h taskHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

// Swap implements heap.Interface.
func (h taskHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *taskHeap) Push(x any) {
	if t, ok := x.(dueTask); ok {
		*h = append(*h, t)
	}
}

// Pop implements heap.Interface.
func (h *taskHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
