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
	"selvedge.dev/logstore/intake"
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
	server.Restart(t)
	s.Backdate(time.Minute) // a machine needs longer to be there again
	err := s.Sync(t.Context())
	require.Equal(t, "RESTARTED", fault.ReasonOf(err), "%v", err)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.NoError(t, s.Sync(t.Context()), "it was said once")
	there, err := s.Since(t.Context(), "test", 0)
	require.NoError(t, err)
	require.Len(t, there, 20)
}

// TestDelete_Disk: what is deleted goes from the disk: whole parts at once, and
// marked rows when they are half of a part.
func TestDelete_Disk(t *testing.T) {
	t.Parallel()
	d := chtest.New(t)
	s := open(t, clickhouse.Options{DSN: d.Native})
	conn := connect(t, d, false)
	// No part is merged with another meanwhile.
	require.NoError(t, conn.Exec(t.Context(), "ALTER TABLE entries MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1"))
	mixed := entriesOf(100, 1000)
	for i := range mixed {
		mixed[i].Bucket = []string{"b", "c", "d"}[i%3]
	}
	require.NoError(t, s.Append(t.Context(), entriesOf(0, 100)))
	require.NoError(t, s.Append(t.Context(), mixed))
	f := func(bucket string, entries int64, rows uint64) {
		t.Helper()
		require.NoError(t, s.Delete(t.Context(), logstore.Deletion{Project: "p", Bucket: bucket, Before: day.AddDate(0, 0, 1)}))
		usage, err := s.Usage(t.Context(), "p")
		require.NoError(t, err)
		var left int64
		for _, u := range usage {
			require.NotEqual(t, bucket, u.Bucket)
			left += u.Entries
		}
		require.Equal(t, entries, left)
		var there uint64
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT sum(rows) FROM system.parts WHERE database = currentDatabase() AND table = 'entries' AND active").Scan(&there))
		require.Equal(t, rows, there)
	}
	f("b", 600, 900)
	f("c", 300, 300)
	f("d", 0, 0)
}

// TestCancelled: queries whose callers went away end, and all else goes on.
func TestCancelled(t *testing.T) {
	t.Parallel()
	d := chtest.New(t)
	for _, dsn := range []string{d.Native, d.HTTP} {
		s := open(t, clickhouse.Options{DSN: dsn, Once: true})
		require.NoError(t, s.Append(t.Context(), entriesOf(0, 20_000)))
		q := selected(t, `textPayload:"number"`)
		for i := range 40 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			if _, err := s.List(ctx, q); err != nil {
				require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
			}
			cancel()
		}
		all, err := s.List(t.Context(), q)
		require.NoError(t, err)
		require.Len(t, all, logstore.MaxLimit)
	}
}

// TestIntake_Killed: what the intake has acknowledged is in the store once,
// though the server was killed again and again while it was written.
func TestIntake_Killed(t *testing.T) {
	t.Parallel()
	server := chtest.Start(t)
	s := open(t, clickhouse.Options{DSN: server.Named("logs").Native, Once: true})
	in, err := intake.Open(t.TempDir(), s, intake.Options{
		BatchEntries: 300, BatchDelay: time.Millisecond, SyncDelay: 20 * time.Millisecond, RetryDelay: time.Millisecond,
	})
	require.NoError(t, err)
	const batches, size = 90, 100
	for n := range batches {
		outcomes, err := in.Write(t.Context(), entriesOf(n*size, (n+1)*size))
		require.NoError(t, err)
		for _, o := range outcomes {
			require.NoError(t, o.Err)
			require.False(t, o.Duplicate)
		}
		if n%30 == 17 {
			server.Kill(t)
		}
		if n%30 == 24 {
			server.Restart(t)
		}
	}
	for err = in.Flush(t.Context()); fault.KindOf(err) == fault.Unavailable && t.Context().Err() == nil; err = in.Flush(t.Context()) {
		continue // it has not tried again since the server is back
	}
	require.NoError(t, err)
	require.NoError(t, in.Close())
	for _, once := range []bool{true, false} { // without and with a look for what came twice
		s := open(t, clickhouse.Options{DSN: server.Named("logs").Native, Once: once})
		groups, err := s.Count(t.Context(), logstore.Counting{Selection: logstore.Selection{Project: "p"}})
		require.NoError(t, err)
		require.Equal(t, []logstore.Group{{Values: []string{}, Entries: batches * size}}, groups)
	}
}
