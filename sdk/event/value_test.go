package event_test

import (
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
)

func TestValue_KeepsTheType(t *testing.T) {
	t.Parallel()
	for _, version := range []string{ce.CloudEventsVersionV1, ce.CloudEventsVersionV03} {
		e := ce.New(version)
		e.SetExtension("level", 5)
		v, ok := event.Value(&e, "level")
		require.True(t, ok, version)
		require.Equal(t, int32(5), v, version)
		_, ok = event.Value(&e, "other")
		require.False(t, ok, version)
	}
	_, ok := event.Value(&event.Event{}, "level")
	require.False(t, ok, "an event without a context has no attributes")
}
