package reason_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/reason"
	reasonv1 "selvedge.dev/functions/reason/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// A process of its own reads scripts by calls, and posts events to a broker.
func TestRemote(t *testing.T) {
	t.Parallel()
	var posted []event.Event
	status := http.StatusServiceUnavailable
	broker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		items, _, err := event.FromRequest(r, event.Limits{})
		if err == nil && status/100 == 2 {
			posted = append(posted, items[0].Event)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(broker.Close)
	w := newWorld(t, "")
	f := &reason.Function{Scripts: reason.NewRemote(caller{w}), Publish: reason.PostTo(broker.URL), Functions: map[string]function.Handler{
		"s": handler(func(event.Event) (*event.Event, error) { return reply(t, "com.example.other", 1), nil }),
	}}
	require.NoError(t, f.Start(t.Context(), nil))
	w.create("s", &reasonv1.Script{Sink: &reasonv1.Script_Function{Function: "s"}})
	_, err := f.Handle(w.ctx, message(t, "reason.s"))
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	status = http.StatusAccepted
	out, err := f.Handle(w.ctx, message(t, "reason.s"))
	require.NoError(t, err)
	require.Equal(t, "writer", event.Extension(out, event.Route))
	require.Len(t, posted, 1)
	require.Equal(t, "com.example.other", posted[0].Type())
	out, err = f.Handle(w.ctx, message(t, "reason.none"))
	require.NoError(t, err)
	require.Equal(t, "writer", event.Extension(out, event.Route))
}
