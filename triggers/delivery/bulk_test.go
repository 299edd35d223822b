package delivery_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/triggers/delivery"
)

// bulky takes many events at once: it refuses those of type "bad", drops a part
// of "part" and panics over "panic".
type bulky struct{}

// Handle implements function.Handler.
func (bulky) Handle(context.Context, event.Event) (*event.Event, error) { return nil, nil }

// HandleAll implements function.Bulk.
func (bulky) HandleAll(_ context.Context, events []function.Arrived, outcomes []function.Outcome) {
	for i, e := range events {
		switch string(e.Head.Type()) {
		case "bad":
			outcomes[i].Err = &fault.Error{Kind: fault.Invalid, Reason: "BAD"}
		case "part":
			outcomes[i].Losses = []function.Loss{{Reason: "PART", Count: 2}}
		case "panic":
			panic("boom")
		}
	}
}

// lateBulky is bulky, and becomes durable late.
type lateBulky struct{ bulky }

// Sync implements function.Syncer.
func (lateBulky) Sync(context.Context) error { return nil }

// arrived are events of these types where they lie.
func arrived(t *testing.T, types ...string) []function.Arrived {
	t.Helper()
	var events []function.Arrived
	for _, typ := range types {
		e := event.New()
		e.SetID("1")
		e.SetSource("/s")
		e.SetType(typ)
		record, err := event.AppendRecord(nil, &e)
		require.NoError(t, err)
		head, err := event.ReadHead(record)
		require.NoError(t, err)
		events = append(events, function.Arrived{Head: &head})
	}
	return events
}

func TestInProcess_Bulk(t *testing.T) {
	t.Parallel()
	for _, h := range []function.Handler{bulky{}, lateBulky{}} {
		s := delivery.InProcess(h)
		_, wants := h.(function.Syncer)
		_, is := s.(function.Syncer)
		require.Equal(t, wants, is)
		many, ok := s.(delivery.Bulk)
		require.True(t, ok)

		results, ok := many.DeliverAll(t.Context(), arrived(t, "good", "bad", "part"))
		require.True(t, ok)
		require.Equal(t, delivery.Result{Status: http.StatusAccepted}, results[0])
		require.Equal(t, http.StatusBadRequest, results[1].Status)
		require.Equal(t, "BAD", fault.ReasonOf(results[1].Err))
		require.Contains(t, string(results[1].Body), "BAD")
		require.Equal(t, []function.Loss{{Reason: "PART", Count: 2}}, results[2].Losses)

		_, ok = many.DeliverAll(t.Context(), arrived(t, "good", "panic"))
		require.False(t, ok)
	}
	_, ok := delivery.InProcess(alone{}).(delivery.Bulk)
	require.False(t, ok)
}

// alone takes one event at a time.
type alone struct{}

// Handle implements function.Handler.
func (alone) Handle(context.Context, event.Event) (*event.Event, error) { return nil, nil }
