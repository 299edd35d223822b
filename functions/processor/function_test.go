package processor_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/functions/processor"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// registry is a registry in memory; away makes it unreachable.
type registry struct {
	devices    map[string]*devicesv1.Device
	aliases    map[string]*devicesv1.Device
	blueprints map[string]*devicesv1.Blueprint
	away       bool
}

var errAway = &fault.Error{Kind: fault.Unavailable, Err: errors.New("registry is away")}

// lookup finds key in m.
func lookup[T any](r *registry, m map[string]*T, key string) (*T, error) {
	if r.away {
		return nil, errAway
	}
	if v, ok := m[key]; ok {
		return v, nil
	}
	return nil, &fault.Error{Kind: fault.NotFound, Name: key}
}

// Device implements devicesv1.Reader.
func (r *registry) Device(_ context.Context, name string) (*devicesv1.Device, error) {
	return lookup(r, r.devices, name)
}

// Resolve implements devicesv1.Reader.
func (r *registry) Resolve(_ context.Context, project string, a devicesv1.External) (*devicesv1.Device, error) {
	return lookup(r, r.aliases, project+" "+a.String())
}

// Blueprint implements devicesv1.Reader.
func (r *registry) Blueprint(_ context.Context, name string) (*devicesv1.Blueprint, error) {
	return lookup(r, r.blueprints, name)
}

// newRegistry has a plain device, one with a blueprint that routes, and one
// with a route of its own besides.
func newRegistry() *registry {
	plain := &devicesv1.Device{Name: "projects/p/devices/plain"}
	print := &devicesv1.Blueprint{Name: "projects/p/blueprints/b", Route: "reason"}
	routed := &devicesv1.Device{Name: "projects/p/devices/routed", Blueprint: print.Name}
	own := &devicesv1.Device{Name: "projects/p/devices/own", Blueprint: print.Name, Route: "mine"}
	return &registry{
		devices:    map[string]*devicesv1.Device{plain.Name: plain, routed.Name: routed, own.Name: own},
		aliases:    map[string]*devicesv1.Device{"p boat/esn/5551212": plain},
		blueprints: map[string]*devicesv1.Blueprint{print.Name: print},
	}
}

// inbound is an event of project p as the door stamps it.
func inbound(source string, extensions ...string) event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource(source)
	e.SetType("com.example.climate")
	e.SetExtension(event.Project, "p")
	e.SetExtension(event.Route, event.RouteProcessor)
	for i := 0; i < len(extensions); i += 2 {
		e.SetExtension(extensions[i], extensions[i+1])
	}
	return e
}

// TestHandle_Routes covers SPEC 1.F 58 (no route means writer) and 59 (the
// device's route wins over its blueprint's).
func TestHandle_Routes(t *testing.T) {
	t.Parallel()
	f := func(e event.Event, device, blueprint, route string) {
		t.Helper()
		reply, err := (&processor.Function{Devices: newRegistry()}).Handle(t.Context(), e)
		require.NoError(t, err)
		require.Equal(t, device, event.Extension(reply, event.Device))
		require.Equal(t, blueprint, event.Extension(reply, event.Blueprint))
		require.Equal(t, route, event.Extension(reply, event.Route))
		require.Equal(t, e.ID(), reply.ID())
		require.Equal(t, e.Source(), reply.Source())
		require.Equal(t, "p", event.Extension(reply, event.Project))
	}
	const alias = "boat"
	f(inbound("//selvedge.dev/projects/p/devices/plain"), "projects/p/devices/plain", "", "writer")
	f(inbound("//selvedge.dev/projects/p/devices/routed"), "projects/p/devices/routed", "projects/p/blueprints/b", "reason")
	f(inbound("//selvedge.dev/projects/p/devices/own"), "projects/p/devices/own", "projects/p/blueprints/b", "mine")
	f(inbound("urn:lorawan:server", "networkid", alias, "aliaskey", "esn", "aliasvalue", "5551212"), "projects/p/devices/plain", "", "writer")
	f(inbound("//selvedge.dev/projects/p/devices/own", "networkid", alias, "aliaskey", "esn", "aliasvalue", "5551212"),
		"projects/p/devices/own", "projects/p/blueprints/b", "mine") // the source wins
}

// TestHandle_Discards covers SPEC 1.F 57: what does not resolve is discarded,
// with a reason for the ledger, and never retried.
func TestHandle_Discards(t *testing.T) {
	t.Parallel()
	f := func(e event.Event, reason string) {
		t.Helper()
		reply, err := (&processor.Function{Devices: newRegistry()}).Handle(t.Context(), e)
		require.Nil(t, reply)
		require.Equal(t, reason, fault.ReasonOf(err))
		require.False(t, fault.Retried(fault.KindOf(err).EventStatus()), "%v", err)
	}
	f(inbound("//selvedge.dev/projects/p/devices/nobody"), processor.ReasonUnknownDevice)
	f(inbound("/x", "networkid", "boat", "aliaskey", "esn", "aliasvalue", "0"), processor.ReasonUnknownDevice)
	f(inbound("/x"), processor.ReasonUnnamedDevice)
	f(inbound("//selvedge.dev/projects/other/devices/plain"), processor.ReasonUnnamedDevice)
	f(inbound("//selvedge.dev/projects/p/things/plain"), processor.ReasonUnnamedDevice)
	f(inbound("/x", "aliaskey", "esn", "aliasvalue", "5551212"), processor.ReasonIncompleteAlias)
	f(inbound("/x", "networkid", "boat", "aliasvalue", "5551212"), processor.ReasonIncompleteAlias)
	f(inbound("/x", "networkid", "boat", "aliaskey", "esn"), processor.ReasonIncompleteAlias)
}

func TestHandle_RegistryAwayIsRetried(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	r.away = true
	_, err := (&processor.Function{Devices: r}).Handle(t.Context(), inbound("//selvedge.dev/projects/p/devices/plain"))
	require.True(t, fault.Retried(fault.KindOf(err).EventStatus()), "%v", err)
}

func TestHandle_BlueprintGoneIsNoRouteToWriter(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	r.blueprints = nil
	_, err := (&processor.Function{Devices: r}).Handle(t.Context(), inbound("//selvedge.dev/projects/p/devices/routed"))
	require.Equal(t, fault.NotFound, fault.KindOf(err), "a route that cannot be known is not guessed")
}

// As a process of its own it watches the registry from its start to its stop,
// which waits for that; with a registry in its process there is nothing to do.
func TestStart_WatchesTheRegistryUntilStop(t *testing.T) {
	t.Parallel()
	came, went := make(chan string, 8), make(chan struct{}, 8)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		came <- r.URL.Path
		_, _ = io.Copy(io.Discard, r.Body) // only then the server sees that the caller went
		<-r.Context().Done()
		went <- struct{}{}
	}))
	t.Cleanup(server.Close)
	f := &processor.Function{Devices: devicesv1.NewClient(server.URL, "key")}
	require.NoError(t, f.Start(t.Context(), nil))
	paths := map[string]int{}
	for range 3 {
		paths[<-came]++
	}
	require.Equal(t, map[string]int{
		"/selvedge.devices.v1.DeviceService/WatchDevices": 2, "/selvedge.devices.v1.BlueprintService/WatchBlueprints": 1,
	}, paths)
	require.NoError(t, f.Stop(t.Context()))
	for range 3 {
		<-went
	}
	inside := &processor.Function{Devices: newRegistry()}
	require.NoError(t, inside.Start(t.Context(), nil))
	require.NoError(t, inside.Stop(t.Context()))
}
