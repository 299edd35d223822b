package reason

import (
	"context"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	reasonv1 "selvedge.dev/functions/reason/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/readcache"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/triggers/delivery"
)

const (
	// scriptAge is for how long a process of its own believes what it read.
	scriptAge = 5 * time.Second
	// scripts is how many it keeps.
	scripts = 10_000
)

// New returns the function for a process of its own. It reads the scripts of the
// platform at SELVEDGE_URL with the key in SELVEDGE_KEY, and posts events to the
// broker at K_SINK.
func New() *Function {
	return &Function{
		Scripts: NewRemote(&rpc.Client{URL: os.Getenv("SELVEDGE_URL"), Key: os.Getenv("SELVEDGE_KEY")}),
		Publish: PostTo(os.Getenv("K_SINK")),
	}
}

// PostTo posts events to the broker at that address.
func PostTo(address string) func(context.Context, []event.Event) error {
	broker := delivery.HTTP{URL: address}
	return func(ctx context.Context, events []event.Event) error {
		for _, e := range events {
			if result := broker.Deliver(ctx, e); !result.OK() {
				return &fault.Error{Op: "reason.Publish", Kind: fault.Unavailable, Reason: "BROKER_AWAY", Err: result.Err}
			}
		}
		return nil
	}
}

// remote are the scripts of another process.
type remote struct {
	caller Caller
	get    *schema.Method
	cache  *readcache.Cache[resource.Name, *reasonv1.Script]
}

// Caller calls methods: an [rpc.Client].
type Caller interface {
	Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error)
}

// NewRemote are the scripts that are read by calls.
func NewRemote(c Caller) Scripts {
	r := &remote{caller: c, cache: readcache.New[resource.Name, *reasonv1.Script](scripts, scriptAge)}
	for _, m := range reasonv1.AddTo(new(schema.Registry)).Methods {
		if m.Desc.Name() == "GetScript" {
			r.get = m
		}
	}
	return r
}

// Script implements [Scripts].
func (r *remote) Script(ctx context.Context, name resource.Name) (*reasonv1.Script, error) {
	if s, ok, err := r.cache.Get(name); ok {
		return s, err
	}
	return r.cache.Load(name, func() (*reasonv1.Script, error) {
		m, err := r.caller.Call(ctx, r.get, &reasonv1.GetScriptRequest{Name: string(name)})
		s, _ := m.(*reasonv1.Script)
		return s, err
	})
}
