package devices_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/devices"
	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// door is the way to a service from outside: what a Client asks by REST, and
// watches by Connect. It is a transport without a network, so that time can be
// a test's own. The credentials are the name of the principal.
type door struct {
	w *world
	// asked counts the questions, without the watches.
	asked atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	out, in := io.Pipe()
	a := &answer{begun: make(chan struct{}), header: http.Header{}, body: in}
	go func() {
		d.serve(a, r)
		a.WriteHeader(http.StatusOK)
		_ = in.Close()
	}()
	stop := context.AfterFunc(r.Context(), func() { _ = in.CloseWithError(r.Context().Err()) })
	select {
	case <-a.begun:
	case <-r.Context().Done():
		stop()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: a.status, Header: a.header, Body: out, Request: r}, nil
}

// serve answers a request.
func (d *door) serve(out http.ResponseWriter, r *http.Request) {
	p, err := iam.ParsePrincipal(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		fault.Write(out, &fault.Error{Kind: fault.Unauthenticated})
		return
	}
	ctx := iam.WithPrincipal(r.Context(), p)
	if r.Method == http.MethodPost {
		d.watch(ctx, out, r)
		return
	}
	d.asked.Add(1)
	name, method := strings.TrimPrefix(r.URL.Path, "/v1/"), "GetDevice"
	var req proto.Message = &devicesv1.GetDeviceRequest{Name: name}
	if parent, ok := strings.CutSuffix(name, "/devices:resolve"); ok {
		q := r.URL.Query()
		method = "ResolveDevice"
		req = &devicesv1.ResolveDeviceRequest{Parent: parent, Network: q.Get("network"), Key: q.Get("key"), Value: q.Get("value")}
	} else if strings.Contains(name, "/blueprints/") {
		method = "GetBlueprint"
		req = &devicesv1.GetBlueprintRequest{Name: name}
	}
	m, err := call[proto.Message](ctx, d.w, method, req)
	if err != nil {
		fault.Write(out, err)
		return
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		fault.Write(out, err)
		return
	}
	_, _ = out.Write(text)
}

// watch answers a watch.
func (d *door) watch(ctx context.Context, out http.ResponseWriter, r *http.Request) {
	var m *schema.Method
	for _, x := range d.w.methods {
		if x.Procedure() == r.URL.Path {
			m = x
		}
	}
	connect.NewServerStreamHandler(m.Procedure(), func(ctx context.Context, req *connect.Request[rpc.Message], to *connect.ServerStream[rpc.Message]) error {
		err := d.w.Stream(ctx, m, req.Msg.Message, func(msg proto.Message) error { return to.Send(&rpc.Message{Message: msg}) })
		if err != nil {
			return rpc.Error(err)
		}
		return nil
	}, connect.WithCodec(rpc.Proto{}), connect.WithRequestInitializer(func(_ connect.Spec, v any) error {
		v.(*rpc.Message).Message = m.Input.New().Interface()
		return nil
	})).ServeHTTP(out, r.WithContext(ctx))
}

// answer is an HTTP answer while it is written.
type answer struct {
	begun  chan struct{}
	once   sync.Once
	status int
	header http.Header
	body   io.Writer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status = status
		close(a.begun)
	})
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// Flush implements http.Flusher.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }

// client is a client of the service for a principal.
func client(w *world, principal string) (*devicesv1.Client, *door) {
	d := &door{w: w}
	return devicesv1.NewClientOver(d, "http://platform.example/", principal), d
}

// follow runs the client's watch, and the service's hub, until the test ends.
func follow(t *testing.T, w *world, c *devicesv1.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = w.hub.Run(ctx) })
	running.Go(func() { c.Run(ctx, slog.New(slog.DiscardHandler)) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	synctest.Wait()
}

// Both readers, the service itself and the client over HTTP, answer alike.
func TestReader_ServiceAndClientAgree(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	b, err := call[*devicesv1.Blueprint](ctx, w, "CreateBlueprint", &devicesv1.CreateBlueprintRequest{
		Parent: "projects/p", BlueprintId: "b", Blueprint: &devicesv1.Blueprint{Mappings: []*devicesv1.Mapping{{
			EventType: "t", Fields: []*devicesv1.FieldMapping{{Field: "x", Labels: map[string]string{"l": "=<é>"}}},
		}}},
	})
	require.NoError(t, err)
	a := devicesv1.External{Network: "n & m", Key: "k?", Value: "v/1#%"}
	d, err := w.device(ctx, "projects/p/devices/d", a.String())
	require.NoError(t, err)

	c, _ := client(w, "projects/p")
	for _, reader := range []devicesv1.Reader{w, c} {
		for range 2 { // from the source, then from the cache
			got, err := reader.Device(ctx, d.GetName())
			require.NoError(t, err)
			equal(t, d, got)
			got, err = reader.Resolve(ctx, "p", a)
			require.NoError(t, err)
			equal(t, d, got)
			blueprint, err := reader.Blueprint(ctx, b.GetName())
			require.NoError(t, err)
			equal(t, b, blueprint)

			for _, name := range []string{"projects/p/devices/x", b.GetName(), "", "projects/p/devices/../devices/d", "projects/p/devices/d?x"} {
				got, err := reader.Device(ctx, name)
				require.Nil(t, got)
				require.Equal(t, fault.NotFound, fault.KindOf(err), "%T %q: %v", reader, name, err)
			}
			for _, name := range []string{"projects/p/blueprints/x", d.GetName(), ""} {
				_, err := reader.Blueprint(ctx, name)
				require.Equal(t, fault.NotFound, fault.KindOf(err), "%T %q: %v", reader, name, err)
			}
			for project, x := range map[string]devicesv1.External{"": a, "p/devices/d": a, "p": {Network: "n & m", Key: "k?", Value: "v/1"}, "P": {}} {
				_, err := reader.Resolve(ctx, project, x)
				require.Equal(t, fault.NotFound, fault.KindOf(err), "%T %q %v: %v", reader, project, x, err)
			}
		}
	}
	// A key that is refused tells nothing about the device.
	for _, key := range []string{"projects/q", "projects/p/devices/d", "wrong"} {
		c, _ := client(w, key)
		_, err = c.Device(ctx, d.GetName())
		require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	}
}

// Whatever is written, a client that watches answers as the service does as soon
// as there is nothing more to be done: also with the key of a project, which is
// told what it may see. What does not change is not asked for again.
func TestClient_WatchedModel(t *testing.T) {
	t.Parallel()
	for _, principal := range []string{"admin", "projects/p"} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprint(principal, "/", seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := open(t, file(t), devices.Options{})
					c, door := client(w, principal)
					follow(t, w, c)
					random := rand.New(rand.NewPCG(seed, 0))
					for range 100 {
						if step(t, w, random); random.IntN(6) == 0 {
							time.Sleep(time.Minute)
						}
						synctest.Wait()
						compareReaders(t, w, c)
					}
					time.Sleep(time.Hour) // nothing is kept so long
					compareReaders(t, w, c)
					asked := door.asked.Load()
					time.Sleep(time.Minute)
					compareReaders(t, w, c)
					require.Equal(t, asked, door.asked.Load())
				})
			})
		}
	}
}

// What the test of the client is about.
var (
	watchedNames   = []string{"projects/p/devices/a", "projects/p/devices/b", "projects/p/regions/local/devices/a"}
	watchedAliases = []string{"n/k/1", "n/k/2", "n/k/3"}
)

// step changes something, or fails to.
func step(t *testing.T, w *world, random *rand.Rand) {
	ctx := admin(t)
	name := watchedNames[random.IntN(len(watchedNames))]
	text := watchedAliases[random.IntN(len(watchedAliases))]
	alias := external(t, text).Alias()
	var err error
	switch random.IntN(6) {
	case 0, 1:
		_, err = w.device(ctx, name, text)
	case 2:
		_, err = call[*devicesv1.Device](ctx, w, "UpdateDevice", &devicesv1.UpdateDeviceRequest{Device: &devicesv1.Device{Name: name, Route: fmt.Sprint("r", random.IntN(9))}})
	case 3:
		_, err = call[*devicesv1.Device](ctx, w, "AddAlias", &devicesv1.AddAliasRequest{Name: name, Alias: alias})
	case 4:
		_, err = call[*devicesv1.Device](ctx, w, "RemoveAlias", &devicesv1.RemoveAliasRequest{Name: name, Alias: alias})
	default:
		err = w.remove(ctx, name)
	}
	kind := fault.KindOf(err)
	require.True(t, err == nil || kind == fault.NotFound || kind == fault.Exists, "%v", err)
}

// compareReaders compares what a client answers with what the service does.
func compareReaders(t *testing.T, w *world, c *devicesv1.Client) {
	t.Helper()
	same := func(want *devicesv1.Device, wanted error) func(*devicesv1.Device, error) {
		return func(got *devicesv1.Device, err error) {
			t.Helper()
			if wanted != nil {
				require.Equal(t, fault.KindOf(wanted), fault.KindOf(err), "%v, not %v", err, wanted)
				return
			}
			require.NoError(t, err)
			equal(t, want, got)
		}
	}
	for _, name := range watchedNames {
		same(w.Device(t.Context(), name))(c.Device(t.Context(), name))
	}
	for _, text := range watchedAliases {
		a := external(t, text)
		same(w.Resolve(t.Context(), "p", a))(c.Resolve(t.Context(), "p", a))
	}
}
