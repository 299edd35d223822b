package scheduler

import (
	"context"
	"os"

	"google.golang.org/protobuf/proto"

	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// New returns the function for a process of its own, which sets the timers of
// the platform at SELVEDGE_URL with the key in SELVEDGE_KEY.
func New() *Function {
	return &Function{Timers: NewRemote(&rpc.Client{URL: os.Getenv("SELVEDGE_URL"), Key: os.Getenv("SELVEDGE_KEY")})}
}

// Caller calls methods: an [rpc.Client].
type Caller interface {
	Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error)
}

// remote are the timers of another process.
type remote struct {
	caller                   Caller
	get, create, update, del *schema.Method
}

// NewRemote are the timers that are reached by calls.
func NewRemote(c Caller) Timers {
	r := &remote{caller: c}
	for _, m := range schedulerv1.AddTo(new(schema.Registry)).Methods {
		switch m.Desc.Name() {
		case "GetTimer":
			r.get = m
		case "CreateTimer":
			r.create = m
		case "UpdateTimer":
			r.update = m
		case "DeleteTimer":
			r.del = m
		}
	}
	return r
}

// Set implements [Timers]. Of two at once about one name, one is a conflict,
// which the broker delivers again.
func (r *remote) Set(ctx context.Context, t *schedulerv1.Timer) error {
	name := resource.Name(t.GetName())
	_, err := r.caller.Call(ctx, r.create, &schedulerv1.CreateTimerRequest{Parent: string(name.Parent()), TimerId: name.ID(), Timer: t})
	if fault.KindOf(err) != fault.Exists {
		return err
	}
	m, err := r.caller.Call(ctx, r.get, &schedulerv1.GetTimerRequest{Name: t.GetName()})
	old, _ := m.(*schedulerv1.Timer)
	if err != nil || markOf(old) == markOf(t) {
		return err
	}
	fresh := proto.CloneOf(t)
	fresh.Metadata.ResourceVersion = old.GetMetadata().GetResourceVersion()
	_, err = r.caller.Call(ctx, r.update, &schedulerv1.UpdateTimerRequest{Timer: fresh})
	return err
}

// Cancel implements [Timers].
func (r *remote) Cancel(ctx context.Context, name resource.Name) error {
	_, err := r.caller.Call(ctx, r.del, &schedulerv1.DeleteTimerRequest{Name: string(name)})
	if fault.KindOf(err) == fault.NotFound {
		return nil
	}
	return err
}
