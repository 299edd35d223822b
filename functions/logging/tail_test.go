package logging_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// await waits until so many follow entries.
func (w *world) await(n int) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.intake.Stats().Tails == n }, 10*time.Second, time.Millisecond)
}

// Entries are followed over gRPC as they come; a second request on the stream
// changes what is followed, and whoever stops reading is gone.
func TestTail_GRPC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.google(project)
	stream, err := c.TailLogEntries(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&loggingpb.TailLogEntriesRequest{ResourceNames: []string{project}, Filter: `log_id("a")`}))
	w.await(1)
	got := make(chan string, 1000)
	failed := make(chan error, 1)
	go func() {
		for {
			answer, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			for _, e := range answer.GetEntries() {
				got <- e.GetInsertId()
			}
		}
	}()
	w.post(project, "/v2/entries:write", write("b", "1"))
	w.post(project, "/v2/entries:write", write("a", "2"))
	require.Equal(t, "2", <-got)
	require.NoError(t, stream.Send(&loggingpb.TailLogEntriesRequest{ResourceNames: []string{project}, Filter: `log_id("b")`}))
	n := 2
	require.Eventually(t, func() bool {
		n++
		w.post(project, "/v2/entries:write", write("b", fmt.Sprint(n)))
		return len(got) > 0
	}, 10*time.Second, time.Millisecond)
	require.NotEqual(t, "1", <-got)

	other, err := c.TailLogEntries(ctx)
	require.NoError(t, err)
	require.NoError(t, other.Send(&loggingpb.TailLogEntriesRequest{ResourceNames: []string{"projects/q"}}))
	_, err = other.Recv()
	require.Equal(t, codes.PermissionDenied, status.Code(err))

	w.doors.End()
	err = <-failed
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	w.await(0)
}

// Over REST an answer is an array that goes on.
func TestTail_REST(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v2/entries:tail", strings.NewReader(`[{"resourceNames": ["projects/p"]}]`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+project)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }() // it has ended
	require.Equal(t, http.StatusOK, resp.StatusCode)
	w.await(1)
	in := json.NewDecoder(bufio.NewReader(resp.Body))
	begin, err := in.Token()
	require.NoError(t, err)
	require.Equal(t, json.Delim('['), begin)
	for _, id := range []string{"1", "2"} {
		w.post(project, "/v2/entries:write", write("l", id))
		var got struct{ Entries []struct{ InsertID string } }
		require.True(t, in.More())
		require.NoError(t, in.Decode(&got))
		require.Equal(t, id, got.Entries[0].InsertID)
	}
	w.doors.End()
	var last struct{ Error struct{ Status string } }
	require.True(t, in.More())
	require.NoError(t, in.Decode(&last))
	require.Equal(t, "UNAVAILABLE", last.Error.Status)
	require.False(t, in.More())
	_, err = in.Token()
	require.NoError(t, err)
	w.await(0)
}
