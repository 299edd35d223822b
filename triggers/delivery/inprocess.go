package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// InProcess returns the sink that calls h in this process; a panic counts as
// an error of kind Internal. When h is a function.Syncer, so is the sink, and it
// is a Bulk when h is a function.Bulk.
func InProcess(h function.Handler) Sink {
	one := inProcess{h}
	many, isBulk := h.(function.Bulk)
	s, isSyncer := h.(function.Syncer)
	switch {
	case isBulk && isSyncer:
		return struct {
			inBulk
			function.Syncer
		}{inBulk{one, many}, s}
	case isBulk:
		return inBulk{one, many}
	case isSyncer:
		return struct {
			inProcess
			function.Syncer
		}{one, s}
	}
	return one
}

// inBulk is a function in this process that takes many events at once.
type inBulk struct {
	inProcess
	bulk function.Bulk
}

var _ Bulk = inBulk{}

// DeliverAll calls the function. After a panic there are no results: delivered
// one by one, the events that are not to blame are taken.
func (s inBulk) DeliverAll(ctx context.Context, events []function.Arrived) (results []Result, ok bool) {
	defer func() {
		if recover() != nil {
			results, ok = nil, false
		}
	}()
	outcomes := make([]function.Outcome, len(events))
	s.bulk.HandleAll(ctx, events, outcomes)
	results = make([]Result, len(events))
	for i, o := range outcomes {
		if o.Err != nil {
			results[i] = refused(o.Err)
		} else {
			results[i] = succeeded(o.Reply, o.Losses)
		}
	}
	return results, true
}

// inProcess is a function in this process.
type inProcess struct{ function function.Handler }

// Deliver calls the function.
func (s inProcess) Deliver(ctx context.Context, e event.Event) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			r = refused(fmt.Errorf("function panicked: %v\n%s", p, debug.Stack()))
		}
	}()
	var drops function.Drops
	reply, err := s.function.Handle(function.WithDrops(ctx, &drops), e)
	if err != nil {
		return refused(err)
	}
	return succeeded(reply, drops.Losses())
}

// refused is the result of a function's error, with the answer that it would
// have given over HTTP.
func refused(err error) Result {
	problem := fault.ProblemOf(err)
	problem.Error.Code = fault.KindOf(err).EventStatus()
	body, _ := json.Marshal(problem) // strings and numbers encode
	return failed(problem.Error.Code, err, body)
}
