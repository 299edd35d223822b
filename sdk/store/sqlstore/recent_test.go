package sqlstore

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/store"
)

// However changes come and go, what is known of them is what a list of all of
// them has, or nothing.
func TestRecent_IsWhatAllWouldSay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var r recent
		var all []store.Change
		last := store.Seq(rapid.IntRange(0, 5).Draw(t, "head"))
		r.after = last
		commit := func() []store.Change {
			var made []store.Change
			for range rapid.IntRange(1, 5).Draw(t, "changes") {
				last += store.Seq(rapid.IntRange(1, 3).Draw(t, "gap"))
				made = append(made, store.Change{Seq: last, After: make([]byte, rapid.SampledFrom([]int{1, maxRecentBytes / 3}).Draw(t, "size"))})
			}
			all = append(all, made...)
			return made
		}
		trimmed := store.Seq(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			before := last
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0:
				commit() // of another process
			case 1:
				trimmed = max(trimmed, store.Seq(rapid.IntRange(0, int(last)).Draw(t, "trim")))
				r.trim(trimmed)
			default:
				r.add(before, commit())
			}
			bytes := 0
			for i := range r.changes {
				bytes += weight(&r.changes[i])
			}
			require.Equal(t, bytes, r.bytes)
			require.LessOrEqual(t, bytes, maxRecentBytes)
			after := store.Seq(rapid.IntRange(0, int(last)+1).Draw(t, "after"))
			got := r.read(after, 3)
			want := []store.Seq{}
			for _, c := range all {
				if c.Seq > after && len(want) < len(got) {
					want = append(want, c.Seq)
				}
			}
			seqs := []store.Seq{}
			for _, c := range got {
				seqs = append(seqs, c.Seq)
			}
			require.Equal(t, want, seqs)
			if len(got) > 0 {
				require.Greater(t, got[0].Seq, trimmed)
			}
		}
		if n := len(all); n > 0 && last == all[n-1].Seq && r.last() == last && len(r.changes) > 0 {
			require.Len(t, r.read(r.changes[0].Seq-1, 1), 1, "what was made last is known")
		}
	})
}
