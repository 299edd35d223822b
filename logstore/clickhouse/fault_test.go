package clickhouse_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/clickhouse"
	"selvedge.dev/logstore/clickhouse/chtest"
	"selvedge.dev/sdk/fault"
)

// quoted is a text as JSON has it.
func quoted(text string) []byte {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return b
}

// TestKilled: a server is killed under load, again and again. What is asked
// meanwhile is Unavailable; when it is back, the same store goes on, and who asks
// Since what is there loses nothing and has nothing twice.
func TestKilled(t *testing.T) {
	t.Parallel()
	server := chtest.Start(t)
	s := open(t, clickhouse.Options{DSN: server.Named("logs").Native, Once: true})
	const batches, size = 60, 200
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	appended := make(chan int, batches)
	done := make(chan error, 1)
	go func() { done <- deliver(ctx, s, batches, size, appended) }()
	for n := range appended {
		if n%20 == 7 {
			server.Kill(t)
			_, err := s.List(t.Context(), logstore.Query{Selection: logstore.Selection{Project: "p"}, Limit: 1})
			require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
			server.Restart(t)
		}
	}
	require.NoError(t, <-done)
	groups, err := s.Count(t.Context(), logstore.Counting{Selection: logstore.Selection{Project: "p"}})
	require.NoError(t, err)
	require.Equal(t, []logstore.Group{{Values: []string{}, Entries: batches * size}}, groups)
	all, err := s.List(t.Context(), logstore.Query{Selection: logstore.Selection{Project: "p"}, Limit: logstore.MaxLimit})
	require.NoError(t, err)
	require.Equal(t, entriesOf(0, logstore.MaxLimit), all)
}

// deliver appends batches, each until it is there as a whole, as intake does; it
// tells the number of each.
func deliver(ctx context.Context, s logstore.Store, batches, size int, appended chan<- int) error {
	defer close(appended)
	for n := 0; n < batches; {
		left := entriesOf(n*size, (n+1)*size)
		there, err := s.Since(ctx, "test", uint64(n*size))
		if err == nil {
			left = slices.DeleteFunc(left, func(e logstore.Entry) bool { return slices.Contains(there, e.Seq) })
			err = s.Append(ctx, left)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			appended <- n
			n++
		case fault.KindOf(err) != fault.Unavailable:
			return err
		}
	}
	return nil
}

// TestSync_Restarted: a server that was started anew may have lost what was
// written before.
func TestSync_Restarted(t *testing.T) {
	t.Parallel()
	server := chtest.Start(t)
	s := open(t, clickhouse.Options{DSN: server.Named("logs").Native})
	require.NoError(t, s.Append(t.Context(), entriesOf(0, 10)))
	require.NoError(t, s.Sync(t.Context()))
	require.NoError(t, s.Append(t.Context(), entriesOf(10, 20)))
	server.Kill(t)
	require.Equal(t, fault.Unavailable, fault.KindOf(s.Sync(t.Context())))
	// As a machine, it needs a while.
	timer := time.NewTimer(4 * time.Second)
	defer timer.Stop()
	<-timer.C
	server.Restart(t)
	err := s.Sync(t.Context())
	require.Equal(t, "RESTARTED", fault.ReasonOf(err), "%v", err)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.NoError(t, s.Sync(t.Context()), "it was said once")
	there, err := s.Since(t.Context(), "test", 0)
	require.NoError(t, err)
	require.Len(t, there, 20)
}
