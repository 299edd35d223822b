package e2e

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/processor"
	"selvedge.dev/functions/writer"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tests/process"
	"selvedge.dev/triggers/delivery"
)

// TestRemote_FunctionsOutsideThePlatform runs the processor and the writer as
// they run on a cluster: behind HTTP, made by New from the environment, with
// nothing of the platform but its doors. An event goes through both, and its
// reading is on the platform.
func TestRemote_FunctionsOutsideThePlatform(t *testing.T) {
	p := start(t, t.TempDir())
	register(t, p, "d1")
	t.Setenv("SELVEDGE_URL", p.URL)
	t.Setenv("SELVEDGE_KEY", process.AdminKey)
	serve := func(h function.Handler) delivery.HTTP {
		f := function.HTTP(h, function.Options{})
		require.NoError(t, f.Start(t.Context(), nil))
		t.Cleanup(func() { require.NoError(t, f.Stop(context.Background())) })
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		return delivery.HTTP{URL: server.URL}
	}
	resolve, write := serve(processor.New()), serve(writer.New())

	inbound := func(device string) event.Event {
		e := event.New()
		e.SetID("1")
		e.SetSource("//selvedge.dev/projects/default/devices/" + device)
		e.SetType("com.example.climate")
		e.SetTime(at(10))
		e.SetExtension(event.Project, "default")
		e.SetExtension(event.Route, event.RouteProcessor)
		e.SetDataContentType("application/json")
		e.DataEncoded = []byte(`{"temperature":21.5,"name":"ignored"}`)
		return e
	}
	resolved := resolve.Deliver(t.Context(), inbound("d1"))
	require.NoError(t, resolved.Err)
	require.Equal(t, "projects/default/devices/d1", event.Extension(resolved.Reply, event.Device))
	require.Equal(t, event.RouteWriter, event.Extension(resolved.Reply, event.Route))
	written := write.Deliver(t.Context(), *resolved.Reply)
	require.NoError(t, written.Err)
	require.Equal(t, []point{{at(30), "21.5"}},
		querySeries(t, p, aligned(`metric.type = "com.example.climate/temperature"`, "ALIGN_MEAN"))["com.example.climate/temperature d1"])

	// What the platform drops is reported like what is dropped here.
	mixed := *resolved.Reply
	mixed.SetID("2")
	mixed.DataEncoded = []byte(`{"temperature":true,"big":1e999,"humidity":40}`)
	partly := write.Deliver(t.Context(), mixed)
	require.NoError(t, partly.Err)
	require.ElementsMatch(t, []function.Loss{{Reason: "TYPE_CONFLICT", Count: 1}, {Reason: "NOT_FINITE", Count: 1}}, partly.Losses)

	unknown := resolve.Deliver(t.Context(), inbound("nobody"))
	require.False(t, unknown.Retry(), "an unknown device is not asked for again")
	require.Equal(t, processor.ReasonUnknownDevice, fault.ReasonOf(unknown.Err))

	require.NoError(t, p.Kill())
	away := resolve.Deliver(t.Context(), inbound("d2"))
	require.True(t, away.Retry(), "a platform that is away is no unknown device: %v", away.Err)
}
