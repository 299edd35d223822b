// Package state keeps values for a function in the path of messages: for each
// device, or for all together, durable, over the platform's API. How much that
// may be is in functions/reason; a value is JSON, of 64 KiB at most.
//
//	counts := state.New(&rpc.Client{URL: …, Key: …}, script).Of(device)
//	err := state.Update(ctx, counts, "readings", func(n *int) error { *n++; return nil })
//
// Everything here is safe for concurrent use.
package state

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	reasonv1 "selvedge.dev/functions/reason/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/schema"
)

// Caller calls the methods of a platform: a [selvedge.dev/sdk/rpc.Client].
type Caller interface {
	Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error)
}

// State is what a script keeps about a device, or about none.
type State struct {
	caller         Caller
	script, device string
	get, put, del  *schema.Method
	ttl            time.Duration
}

// New is the state of a script, "projects/P/scripts/S": the function is told its
// name in the attribute reasonscript.
func New(c Caller, script string) *State {
	s := &State{caller: c, script: script}
	for _, m := range reasonv1.AddTo(new(schema.Registry)).Methods {
		switch m.Desc.Name() {
		case "GetState":
			s.get = m
		case "PutState":
			s.put = m
		case "DeleteState":
			s.del = m
		}
	}
	return s
}

// Of is the script's state about a device: the attribute selvedgedevice.
func (s *State) Of(device string) *State {
	of := *s
	of.device = device
	return &of
}

// For is the state whose values are kept for so long after they were put; 0 is
// for good.
func (s *State) For(ttl time.Duration) *State {
	of := *s
	of.ttl = ttl
	return &of
}

// Get reads a value into v, and returns its version: 0, and v as it was, if there
// is none.
func (s *State) Get(ctx context.Context, key string, v any) (version int64, err error) {
	m, err := s.caller.Call(ctx, s.get, &reasonv1.GetStateRequest{Name: s.script, Device: s.device, Key: key})
	if fault.ReasonOf(err) == "NO_STATE" {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	out, _ := m.(*reasonv1.State)
	if err := json.Unmarshal(out.GetValue(), v); err != nil {
		return 0, fmt.Errorf("the value of %q: %w", key, err)
	}
	return out.GetVersion(), nil
}

// Put keeps a value, whatever there is.
func (s *State) Put(ctx context.Context, key string, v any) error {
	_, err := s.write(ctx, key, v, nil)
	return err
}

// CompareAndSet keeps a value if there is one of that version, 0 for none, and
// returns its own. Otherwise it is a Conflict fault with the reason OTHER_VERSION.
func (s *State) CompareAndSet(ctx context.Context, key string, version int64, v any) (int64, error) {
	return s.write(ctx, key, v, &version)
}

// write puts a value.
func (s *State) write(ctx context.Context, key string, v any, version *int64) (int64, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("the value of %q: %w", key, err)
	}
	req := &reasonv1.PutStateRequest{Name: s.script, Device: s.device, Key: key, Value: value, IfVersion: version}
	if s.ttl > 0 {
		req.Ttl = durationpb.New(s.ttl)
	}
	m, err := s.caller.Call(ctx, s.put, req)
	out, _ := m.(*reasonv1.State)
	return out.GetVersion(), err
}

// Delete forgets a value, if there is one.
func (s *State) Delete(ctx context.Context, key string) error {
	_, err := s.caller.Call(ctx, s.del, &reasonv1.DeleteStateRequest{Name: s.script, Device: s.device, Key: key})
	return err
}

// tries is how often Update begins again: enough for as many that change one
// value at once.
const tries = 20

// Update changes a value: f is given what there is, or the zero value, and is
// called again if somebody else was faster.
func Update[T any](ctx context.Context, s *State, key string, f func(*T) error) error {
	for try := 1; ; try++ {
		var v T
		version, err := s.Get(ctx, key, &v)
		if err != nil {
			return err
		}
		if err := f(&v); err != nil {
			return err
		}
		_, err = s.CompareAndSet(ctx, key, version, v)
		if fault.ReasonOf(err) != "OTHER_VERSION" || try == tries {
			return err
		}
	}
}
