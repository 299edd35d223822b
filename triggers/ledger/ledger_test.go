package ledger_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/ledger"
)

// open is a ledger on a real database at path.
func open(t *testing.T, path string) *ledger.SQL {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, ledger.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return ledger.New(db)
}

func TestRecord_TheSameLossCountsOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	l := open(t, path)
	at := time.UnixMilli(1_700_000_000_000).UTC()
	losses := []ledger.Loss{
		{Project: "p", Stream: "processor", Offset: 7, Reason: "UNKNOWN_DEVICE", Count: 1, Source: "/s", ID: "a", Type: "t", Time: at},
		{Project: "p", Stream: "processor", Offset: 8, Reason: "UNKNOWN_DEVICE", Count: 1, Source: "/s", ID: "b", Type: "t", Time: at.Add(time.Second)},
		{Project: "p", Stream: "writer", Offset: 8, Reason: "NOT_FINITE", Count: 3, Source: "/s", ID: "b", Type: "t", Time: at},
		{Project: "other", Stream: "writer", Offset: 9, Reason: "NOT_FINITE", Count: 1, Source: "/s", ID: "c", Type: "t", Time: at},
	}
	require.NoError(t, l.Record(t.Context(), losses))
	require.NoError(t, open(t, path).Record(t.Context(), losses[1:]), "a replay after a restart")
	require.NoError(t, l.Record(t.Context(), nil))

	totals, err := l.Totals(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, []ledger.Total{
		{Stream: "processor", Reason: "UNKNOWN_DEVICE", Count: 2, First: at, Last: at.Add(time.Second)},
		{Stream: "writer", Reason: "NOT_FINITE", Count: 3, First: at, Last: at},
	}, totals)

	recent, err := l.Recent(t.Context(), "p", 1)
	require.NoError(t, err)
	require.Equal(t, losses[1:2], recent)
}

func TestPassed_KeepsTheNewestAndTheCounts(t *testing.T) {
	t.Parallel()
	l := open(t, filepath.Join(t.TempDir(), "db"))
	const n = 10_050
	losses := make([]ledger.Loss, n)
	for i := range losses {
		losses[i] = ledger.Loss{Project: "p", Stream: "s", Offset: uint64(i), Reason: "R", Count: 1, Time: time.UnixMilli(int64(i))}
	}
	require.NoError(t, l.Record(t.Context(), losses))
	require.NoError(t, l.Passed(t.Context(), "s", 10))
	recent, err := l.Recent(t.Context(), "p", 2*n)
	require.NoError(t, err)
	require.Len(t, recent, n-10, "those before the offset go first")

	require.NoError(t, l.Passed(t.Context(), "s", n))
	recent, err = l.Recent(t.Context(), "p", 2*n)
	require.NoError(t, err)
	require.Len(t, recent, 10_001)
	require.EqualValues(t, n-1, recent[0].Offset)

	totals, err := l.Totals(t.Context(), "p")
	require.NoError(t, err)
	require.EqualValues(t, n, totals[0].Count)
}
