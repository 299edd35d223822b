package registry

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Who does not handle what he is told is let go, with nothing kept for him; a
// snapshot is never too large.
func TestSubscriber_Behind(t *testing.T) {
	t.Parallel()
	s := &subscriber{wake: make(chan struct{}, 1)}
	snapshot := make([]Event, maxBehind+1)
	require.True(t, s.push(snapshot...))
	events, behind, over := s.take()
	require.Len(t, events, len(snapshot))
	require.False(t, behind || over)
	require.True(t, s.push(snapshot[:maxBehind]...))
	require.False(t, s.push(Event{}))
	require.False(t, s.push(Event{}))
	events, behind, _ = s.take()
	require.Empty(t, events)
	require.True(t, behind)
	s.end()
	_, _, over = s.take()
	require.True(t, over)
	require.Len(t, s.wake, 1)
}
