package peering_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/reference/peering"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/rpc"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
)

// robot is the type that the regions have objects of.
const robot = "sample.selvedge.dev/Robot"

// service is what both regions have.
const service = "sample.selvedge.dev"

// in is the address of the service in a region.
func in(region string) reference.Address {
	return reference.Address{Service: service, Region: region}
}

// nameIn is the name of a robot of a region.
func nameIn(region, id string) resource.Name {
	return resource.Name("projects/p/regions/" + region + "/robots/" + id)
}

// refTo is a robot of a region.
func refTo(region, id string) reference.Ref {
	return reference.Ref{Type: robot, Name: nameIn(region, id), Region: region}
}

// allow is the table of permissions of the platform.
func allow(ctx context.Context, permission string, name resource.Name) error {
	return iam.Allow(iam.PrincipalOf(ctx), name.Project(), permission)
}

// handler serves a Server as a gateway does. The key of a principal is its name.
func handler(s *peering.Server) http.Handler {
	mux := http.NewServeMux()
	for _, m := range s.Schema().Methods {
		mux.Handle(m.Procedure(), connect.NewUnaryHandler(m.Procedure(), func(ctx context.Context, r *connect.Request[rpc.Message]) (*connect.Response[rpc.Message], error) {
			if key, ok := strings.CutPrefix(r.Header().Get("Authorization"), "Bearer "); ok {
				p, err := iam.ParsePrincipal(key)
				if err != nil {
					return nil, rpc.Error(&fault.Error{Kind: fault.Unauthenticated})
				}
				ctx = iam.WithPrincipal(ctx, p)
			}
			out, err := s.Call(ctx, m, r.Msg.Message)
			if err != nil {
				return nil, rpc.Error(err)
			}
			return connect.NewResponse(&rpc.Message{Message: out}), nil
		}, connect.WithCodec(rpc.Proto{}), connect.WithSchema(m.Desc), connect.WithRequestInitializer(func(_ connect.Spec, v any) error {
			v.(*rpc.Message).Message = m.Input.New().Interface()
			return nil
		})))
	}
	return mux
}

// serve serves h at a port of its own.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// server is a Server for what answers, in a region.
func server(region string, answers reference.Peers) *peering.Server {
	return serverOf(region, answers, func(context.Context) (string, error) { return "the store of " + region, nil })
}

// serverOf is a Server of a store with that identity.
func serverOf(region string, answers reference.Peers, identity func(context.Context) (string, error)) *peering.Server {
	types := &schema.Registry{}
	samplev1.AddTo(types)
	return peering.NewServer(peering.ServerOptions{Region: region, Types: types, Answers: answers, Authorize: allow, Identity: identity})
}

// met takes everybody for who he says he is.
func met(_ context.Context, _, identity string) (string, error) { return identity, nil }

// clientOf is a Client that knows one region.
func clientOf(region, url, key string) *peering.Client {
	return peering.NewClient(peering.Options{Platforms: map[string]peering.Platform{region: {URL: url, Key: key}}, Met: met, Timeout: time.Minute})
}

// clock is a clock that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

// now is what it shows.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// move moves it.
func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// site is the store of a region.
type site struct {
	t      *testing.T
	region string
	st     *store.Store
	ctl    *reference.Controller
	door   *door
}

// world is the same service in eu and us.
type world struct {
	t      *testing.T
	clock  *clock
	eu, us *site
	// open opens a new store of a region, and puts it behind its door.
	open func(region string) *site
	// restart has the client of a region's platform be a new one.
	restart func(region string)
}

// client is how a site asks others.
type client struct{ reference.Peers }

// door is what is in front of a platform: it can answer in its place.
type door struct {
	mu   sync.Mutex
	next http.Handler
	shut http.HandlerFunc
}

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	h, shut := d.next, d.shut
	d.mu.Unlock()
	if shut != nil {
		h = shut
	}
	h.ServeHTTP(w, r)
}

// set puts a platform behind the door.
func (d *door) set(next http.Handler) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = next
}

// close makes the door answer by itself; nil opens it again.
func (d *door) close(with http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = with
}

// newWorld makes two regions that reach each other over RPC, or in the process
// if local is not nil.
func newWorld(t *testing.T, local *reference.Local) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{t: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}}
	platforms := map[string]peering.Platform{}
	doors := map[string]*door{}
	for _, region := range []string{"eu", "us"} {
		doors[region] = &door{}
		platforms[region] = peering.Platform{URL: serve(t, doors[region]), Key: "admin"}
	}
	clients := map[string]*client{"eu": {local}, "us": {local}}
	w.restart = func(region string) {
		clients[region].Peers = peering.NewClient(peering.Options{Platforms: platforms, Met: func(ctx context.Context, of, identity string) (string, error) {
			return map[string]*site{"eu": w.eu, "us": w.us}[region].st.Met(ctx, of, identity)
		}})
	}
	if local == nil {
		w.restart("eu")
		w.restart("us")
	}
	w.open = func(region string) *site {
		d, err := sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "db"), sqlite.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.Close()) })
		types := &schema.Registry{}
		samplev1.AddTo(types)
		refs := reference.New(reference.Options{Peers: clients[region], Region: region, Now: w.clock.now})
		s := &site{t: t, region: region, door: doors[region]}
		s.st = store.New(d, types, store.Options{Plugins: []store.Plugin{plugins.Meta{}, refs}, Now: w.clock.now})
		s.ctl = refs.Control(s.st)
		s.door.set(handler(serverOf(region, s.ctl, s.st.Identity)))
		if local != nil {
			local.Join(in(region), s.ctl)
		}
		return s
	}
	w.eu, w.us = w.open("eu"), w.open("us")
	return w
}

// settle does all that is due in both regions, and some seconds pass.
func (w *world) settle() {
	w.t.Helper()
	for range 3 {
		require.NoError(w.t, w.eu.ctl.Settle(w.t.Context()))
		require.NoError(w.t, w.us.ctl.Settle(w.t.Context()))
		w.clock.move(2 * time.Second)
	}
}

// pass lets time pass in steps.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	for step := 30 * time.Second; d > 0; d -= step {
		w.settle()
		w.clock.move(step)
	}
	w.settle()
}

// save saves a robot of the region.
func (s *site) save(id string, spec *samplev1.RobotSpec, owners ...*resourcev1.OwnerReference) error {
	m := &samplev1.Robot{Name: string(nameIn(s.region, id)), Spec: spec, Metadata: &resourcev1.Metadata{OwnerReferences: owners}}
	return s.st.Run(s.t.Context(), store.Transaction, func(ctx context.Context) error {
		return s.st.Save(ctx, proto.Clone(m), store.SaveOptions{})
	})
}

// remove deletes a robot of the region.
func (s *site) remove(id string) error {
	return s.st.Run(s.t.Context(), store.Transaction, func(ctx context.Context) error {
		return s.st.Delete(ctx, s.st.Types().Of(&samplev1.Robot{}), nameIn(s.region, id), store.DeleteOptions{})
	})
}

// get is a robot of the region, nil if there is none.
func (s *site) get(id string) *samplev1.Robot {
	s.t.Helper()
	var out *samplev1.Robot
	require.NoError(s.t, s.st.Run(s.t.Context(), store.Consistent, func(ctx context.Context) error {
		tx, _ := s.st.TxOf(ctx)
		m, err := tx.Get(ctx, s.st.Types().Of(&samplev1.Robot{}), nameIn(s.region, id))
		out, _ = m.(*samplev1.Robot)
		return err
	}))
	return out
}

// reason is why the platform changed a robot of the region last.
func (s *site) reason(id string) string {
	s.t.Helper()
	changes, err := s.st.Driver().Changes(s.t.Context(), 0, 1000)
	require.NoError(s.t, err)
	out := ""
	for _, c := range changes {
		if c.Name == nameIn(s.region, id) {
			out = c.Reason
		}
	}
	return out
}

// owner refers to a robot of a region as an owner.
func owner(region, id string) *resourcev1.OwnerReference {
	return &resourcev1.OwnerReference{Name: string(nameIn(region, id)), Type: robot}
}
