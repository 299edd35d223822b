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
// an error of kind Internal. When h is a function.Syncer, so is the sink.
func InProcess(h function.Handler) Sink {
	if s, ok := h.(function.Syncer); ok {
		return struct {
			inProcess
			function.Syncer
		}{inProcess{h}, s}
	}
	return inProcess{h}
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
