package clickhouse_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/clickhouse"
	"selvedge.dev/logstore/clickhouse/chtest"
)

// TestLabels_ReadNoMoreThanNeeded: a question for labels of entries that are asked
// for together reads the granules with rows that have all of them, whether anybody
// promoted them or not. Two labels each of which every granule has are the test.
// SPEC A5
func TestLabels_ReadNoMoreThanNeeded(t *testing.T) {
	t.Parallel()
	const n, granule, lines, shifts = 60_000, 2048, 101, 103
	d := chtest.New(t)
	joint, apart := open(t, clickhouse.Options{DSN: d.Native, Once: true}), open(t, clickhouse.Options{DSN: d.Native, Once: true})
	apart.Apart()
	var all []logstore.Entry
	for i := range n {
		e := entry(i)
		e.Time = day.Add(time.Duration(i) * 100 * time.Millisecond)
		e.Labels = map[string]string{"line": fmt.Sprint(i % lines), "shift": fmt.Sprint(i % shifts), "hour": fmt.Sprint(i / granule)}
		all = append(all, e)
	}
	require.NoError(t, joint.Append(t.Context(), all))
	require.NoError(t, connect(t, d, false).Exec(t.Context(), "OPTIMIZE TABLE entries FINAL"))
	f := func(text string, want func(i int) bool) {
		t.Helper()
		needed, selects := map[int]bool{}, 0
		for i := range n {
			if want(i) {
				needed[i/granule] = true
				selects++
			}
		}
		for name, s := range map[string]*clickhouse.Store{"joint": joint, "apart": apart} {
			q := selected(t, text)
			page, err := s.List(t.Context(), q)
			require.NoError(t, err)
			require.Len(t, page, selects, text)
			reads, of, err := s.Granules(t.Context(), q)
			require.NoError(t, err)
			require.InDelta(t, n/granule, of, 2)
			if name == "joint" {
				// Granules of the table need not begin where ours do.
				require.LessOrEqual(t, reads, 2*len(needed), "%s: of %d", text, of)
			} else {
				require.GreaterOrEqual(t, reads, len(needed), "%s: of %d", text, of)
			}
		}
	}
	f(`labels.line="7" AND labels.shift="9"`, func(i int) bool { return i%lines == 7 && i%shifts == 9 })
	f(`severity=DEFAULT (labels.shift="9" labels.line="7")`, func(i int) bool { return i%lines == 7 && i%shifts == 9 })
	f(`labels.hour="3" labels.line="7"`, func(i int) bool { return i/granule == 3 && i%lines == 7 })
	f(`labels.hour="3" labels.hour="4"`, func(int) bool { return false })
	f(`labels.line="200" labels.shift="9"`, func(int) bool { return false })
	reads, of, err := apart.Granules(t.Context(), selected(t, `labels.line="7" AND labels.shift="9"`))
	require.NoError(t, err)
	require.Equal(t, of, reads, "one by one they are everywhere")
}
