package google

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	logging "cloud.google.com/go/logging"
	loggingapi "cloud.google.com/go/logging/apiv2"
	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/logging/logadmin"
	"github.com/stretchr/testify/require"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/tests/process"
)

// options are what Google's clients are given to speak to a platform.
func options(t *testing.T) []option.ClientOption {
	t.Helper()
	return []option.ClientOption{
		option.WithEndpoint(strings.TrimPrefix(start(t).URL, "http://")),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithPerRPCCredentials(bearer(process.AdminKey))),
	}
}

// The Logger writes as in any program, and the admin client reads it back, in
// pages, filtered and in both orders. SPEC A5
func TestLoggingClient(t *testing.T) {
	t.Parallel()
	o, ctx := options(t), t.Context()
	c, err := logging.NewClient(ctx, project, o...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	c.OnError = func(err error) { t.Error(err) }
	require.NoError(t, c.Ping(ctx))

	begin := time.Now().Add(-time.Minute)
	log := c.Logger("press/shift", logging.CommonLabels(map[string]string{"site": "north"}),
		logging.CommonResource(&monitoredres.MonitoredResource{Type: "generic_node", Labels: map[string]string{"node_id": "n1"}}))
	for i := range 30 {
		log.Log(logging.Entry{Timestamp: begin.Add(time.Duration(i) * time.Second), Severity: logging.Info, Payload: map[string]any{"n": i, "word": "hello"}})
	}
	require.NoError(t, log.LogSync(ctx, logging.Entry{Severity: logging.Error, Payload: "it broke", Labels: map[string]string{"site": "south"}, Trace: "projects/default/traces/t"}))
	require.NoError(t, log.Flush())
	log.StandardLogger(logging.Warning).Println("from the standard library")
	require.NoError(t, log.Flush())

	admin, err := logadmin.NewClient(ctx, "default", o...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	texts := func(filter string, more ...logadmin.EntriesOption) []*logging.Entry {
		t.Helper()
		return all(t, admin.Entries(ctx, append(more, logadmin.Filter(filter))...).Next)
	}
	require.Len(t, texts(`logName = "projects/default/logs/press%2Fshift"`, logadmin.PageSize(7)), 32)
	got := texts(`severity >= ERROR AND labels.site = "south"`)
	require.Len(t, got, 1)
	require.Equal(t, "it broke", got[0].Payload)
	require.Equal(t, logging.Error, got[0].Severity)
	require.Equal(t, "projects/default/traces/t", got[0].Trace)
	require.Equal(t, "n1", got[0].Resource.GetLabels()["node_id"])
	require.Len(t, texts(`jsonPayload.n >= 10 AND jsonPayload.n < 20 AND labels.site = "north"`), 10)
	require.Len(t, texts(`severity = WARNING AND "standard library"`), 1)
	newest := texts(`jsonPayload.word : "HELL"`, logadmin.NewestFirst())
	require.Len(t, newest, 30)
	require.True(t, newest[0].Timestamp.After(newest[29].Timestamp))

	// The client itself writes to some others.
	require.Contains(t, all(t, admin.Logs(ctx).Next), "press/shift")
	require.NoError(t, admin.DeleteLog(ctx, "press/shift"))
	require.NotContains(t, all(t, admin.Logs(ctx).Next), "press/shift")
	require.Empty(t, texts(`log_id("press/shift")`))
	require.NotEmpty(t, all(t, admin.ResourceDescriptors(ctx).Next))
}

// The client finds which entries of a request were refused; the others are kept.
func TestLoggingClient_PartialErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, err := loggingapi.NewClient(ctx, options(t)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	entry := func(id string, labels map[string]string) *loggingpb.LogEntry {
		return &loggingpb.LogEntry{LogName: project + "/logs/l", InsertId: id, Labels: labels, Payload: &loggingpb.LogEntry_TextPayload{TextPayload: id}}
	}
	req := &loggingpb.WriteLogEntriesRequest{PartialSuccess: true, Entries: []*loggingpb.LogEntry{
		entry("a", nil), entry("b", map[string]string{"": "x"}), entry("c", nil),
	}}
	_, err = c.WriteLogEntries(ctx, req)
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
	var partial *loggingpb.WriteLogEntriesPartialErrors
	for _, d := range status.Convert(err).Details() {
		if p, ok := d.(*loggingpb.WriteLogEntriesPartialErrors); ok {
			partial = p
		}
	}
	require.Len(t, partial.GetLogEntryErrors(), 1)
	require.Contains(t, partial.GetLogEntryErrors()[1].GetMessage(), "a key is empty")
	require.Len(t, all(t, c.ListLogEntries(ctx, &loggingpb.ListLogEntriesRequest{ResourceNames: []string{project}}).Next), 2)
}

// Entries are followed as they come.
func TestLoggingClient_Tail(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := loggingapi.NewClient(ctx, options(t)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	stream, err := c.TailLogEntries(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&loggingpb.TailLogEntriesRequest{ResourceNames: []string{project}, Filter: `severity >= ERROR`}))
	got := make(chan string)
	ended := make(chan error, 1)
	go func() {
		for {
			answer, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			for _, e := range answer.GetEntries() {
				got <- e.GetTextPayload()
			}
		}
	}()
	// When it is followed nobody says: what is written until the first comes is
	// written again.
	write := func(text string) {
		_, err := c.WriteLogEntries(ctx, &loggingpb.WriteLogEntriesRequest{Entries: []*loggingpb.LogEntry{{
			LogName: project + "/logs/l", Timestamp: timestamppb.Now(), Payload: &loggingpb.LogEntry_TextPayload{TextPayload: "info"},
		}, {
			LogName: project + "/logs/l", Severity: 500, Timestamp: timestamppb.Now(), Payload: &loggingpb.LogEntry_TextPayload{TextPayload: text},
		}}})
		require.NoError(t, err)
	}
	for first := ""; first == ""; {
		write("broke")
		select {
		case first = <-got:
			require.Equal(t, "broke", first)
		case <-time.After(50 * time.Millisecond):
		}
	}
	require.NoError(t, stream.CloseSend())
	cancel()
	for err := error(nil); err == nil; {
		select {
		case <-got:
		case err = <-ended:
			require.NotErrorIs(t, err, io.EOF)
		}
	}
}
