package promql

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// turns let only so many queries run at once, and so many of each project, so that
// one cannot keep the others from theirs.
type turns struct {
	// all has room for those of all projects.
	all chan struct{}
	// projects has the room of each project, a chan struct{}, by its id.
	projects sync.Map
}

// take waits for a turn, which the returned function ends.
func (t *turns) take(ctx context.Context, project string) (func(), error) {
	room, ok := t.projects.Load(project)
	if !ok {
		room, _ = t.projects.LoadOrStore(project, make(chan struct{}, max(1, cap(t.all)/2)))
	}
	own := room.(chan struct{})
	select {
	case own <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for other queries of the project: %w", ctx.Err())
	}
	select {
	case t.all <- struct{}{}:
		return func() { <-t.all; <-own }, nil
	case <-ctx.Done():
		<-own
		return nil, fmt.Errorf("waiting for other queries: %w", ctx.Err())
	}
}

// begin waits for a turn, and bounds the time of that and of what is done then,
// which the returned function ends.
func (e *Engine) begin(ctx context.Context, project string, timeout time.Duration) (context.Context, func(), error) {
	if timeout <= 0 || timeout > e.options.Timeout {
		timeout = e.options.Timeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	end, err := e.turns.take(ctx, project)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return ctx, func() { end(); cancel() }, nil
}
