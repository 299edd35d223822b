package retention_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/memory"
	"selvedge.dev/logstore/retention"
	"selvedge.dev/sdk/fault"
)

// now is when the tests are; the day of it began ten hours ago.
var now = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

// filled is a store with one entry in each of the last days of some buckets,
// and gives the size of one.
func filled(t *testing.T, now time.Time, days int, buckets ...string) (*memory.Store, int64) {
	t.Helper()
	s := memory.New()
	for _, b := range buckets {
		for i := range days {
			e := logstore.Entry{Project: "p", Bucket: b, Log: "l", InsertID: "id", Time: now.Add(-time.Duration(i) * 24 * time.Hour), Received: now}
			require.NoError(t, s.Append(t.Context(), []logstore.Entry{e}))
		}
	}
	used, err := s.Usage(t.Context(), "p")
	require.NoError(t, err)
	return s, used[0].Bytes
}

// left is how many days a bucket has.
func left(t *testing.T, s *memory.Store, bucket string) int {
	t.Helper()
	used, err := s.Usage(t.Context(), "p")
	require.NoError(t, err)
	n := 0
	for _, u := range used {
		if u.Bucket == bucket {
			n++
		}
	}
	return n
}

func TestPreviewAndApply(t *testing.T) {
	t.Parallel()
	const d = 24 * time.Hour
	f := func(name string, age time.Duration, entries int, reason retention.Reason, days int) {
		t.Helper()
		s, size := filled(t, now, 10, "b", "other")
		policy := retention.Policy{Project: "p", Bucket: "b", Age: age, Bytes: int64(entries) * size}
		steps, err := retention.Preview(t.Context(), s, []retention.Policy{policy}, now)
		require.NoError(t, err)
		require.Equal(t, 10, left(t, s, "b"), "%s: a preview deletes nothing", name)
		if days == 0 {
			require.Empty(t, steps, name)
			return
		}
		require.Len(t, steps, 1, name)
		require.Equal(t, reason, steps[0].Reason, name)
		require.Equal(t, days, steps[0].Days, name)
		require.Equal(t, int64(days), steps[0].Entries, name)
		require.Equal(t, int64(days)*size, steps[0].Bytes, name)
		require.NoError(t, retention.Apply(t.Context(), s, steps), name)
		require.Equal(t, 10-days, left(t, s, "b"), name)
		require.Equal(t, 10, left(t, s, "other"), name)
		steps, err = retention.Preview(t.Context(), s, []retention.Policy{policy}, now)
		require.NoError(t, err)
		require.Empty(t, steps, "%s: once done nothing is left to do", name)
	}
	f("no bound", 0, 0, "", 0)
	f("all young enough", 9*d, 0, "", 0)
	f("the day with the bound in it stays", 8*d, 0, retention.Age, 1)
	f("less than a day keeps today, and yesterday until its last is old", 11*time.Hour, 0, retention.Age, 8)
	f("since midnight", 10*time.Hour, 0, retention.Age, 9)
	f("small enough", 0, 10, "", 0)
	f("too large", 0, 7, retention.Size, 3)
	f("today stays", 0, 1, retention.Size, 9)
	f("age asks for more", 3*d, 7, retention.Age, 6)
	f("size asks for more", 6*d, 2, retention.Size, 8)
}

func TestPreview_TodayStaysHoweverLarge(t *testing.T) {
	t.Parallel()
	s, _ := filled(t, now, 1, "b")
	steps, err := retention.Preview(t.Context(), s, []retention.Policy{{Project: "p", Bucket: "b", Bytes: 1}}, now)
	require.NoError(t, err)
	require.Empty(t, steps)
	_, err = retention.Preview(t.Context(), s, []retention.Policy{{Project: "p", Bucket: "b", Age: -1}}, now)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// broken is a store that cannot delete of one bucket.
type broken struct{ *memory.Store }

// Delete implements logstore.Keeper.
func (b broken) Delete(ctx context.Context, d logstore.Deletion) error {
	if d.Bucket == "a" {
		return &fault.Error{Kind: fault.Unavailable, Err: errors.New("away")}
	}
	return b.Store.Delete(ctx, d)
}

func TestApply_OneFailureKeepsNoneFromBeingDone(t *testing.T) {
	t.Parallel()
	s, _ := filled(t, now, 10, "a", "b")
	policies := []retention.Policy{{Project: "p", Bucket: "b", Age: time.Hour}, {Project: "p", Bucket: "a", Age: time.Hour}}
	w := retention.Worker{
		Keeper: broken{s}, Now: func() time.Time { return now },
		Policies: func(context.Context) ([]retention.Policy, error) { return policies, nil },
	}
	err := w.Round(t.Context())
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, 10, left(t, s, "a"))
	require.Equal(t, 1, left(t, s, "b"))
}

func TestWorker_AppliesAsDaysPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, time.Now(), 10, "b")
		failing := true
		w := retention.Worker{Keeper: s, Policies: func(context.Context) ([]retention.Policy, error) {
			if failing {
				failing = false
				return nil, errors.New("away")
			}
			return []retention.Policy{{Project: "p", Bucket: "b", Age: 5 * 24 * time.Hour}}, nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.Run(ctx)
		}()
		synctest.Wait()
		require.Equal(t, 10, left(t, s, "b"), "the first round fails")
		time.Sleep(time.Hour + time.Second)
		require.Equal(t, 6, left(t, s, "b"))
		time.Sleep(2 * 24 * time.Hour)
		require.Equal(t, 4, left(t, s, "b"))
		cancel()
		<-done
	})
}
