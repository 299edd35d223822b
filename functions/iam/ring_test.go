package iam

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whenever new keys are made, every token is published with its key as long as it
// is good, also one of a process that learned of the next key late; what signs
// was known for a while, and what nobody needs goes.
func TestRing_TokensOutliveTheirKeys(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		start := time.Unix(1e9, 0)
		minutes := func(most int, what string) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(r, what)) * time.Minute
		}
		var keys ring
		at := start
		ids := []string{firstKey, "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11"}
		for _, id := range ids[:rapid.IntRange(1, len(ids)).Draw(r, "keys")] {
			keys = append(keys, signingKey{id: id, made: at})
			at = at.Add(minutes(200, "until the next"))
		}
		known := func(now time.Time) ring {
			var out ring
			for _, k := range slices.Backward(keys) {
				if !k.made.After(now) {
					out = out.with(k)
				}
			}
			return out
		}
		signed := start.Add(minutes(1000, "signed"))
		late := min(minutes(5, "late"), signed.Sub(start))
		key, ok := known(signed.Add(-late)).current(signed)
		require.True(r, ok)
		checked := signed.Add(minutes(int(tokenLife/time.Minute)-1, "checked"))
		all := known(checked)
		require.True(r, slices.ContainsFunc(all.published(checked), func(k signingKey) bool { return k.id == key.id }), "its key is gone")
		require.True(r, key.id == firstKey || signed.Sub(key.made) >= announced, "nobody knew the key")
		require.Equal(r, all[len(all)-1].id, all.published(checked)[len(all.published(checked))-1].id)
		end := at.Add(tokenLife + grace + announced)
		require.Len(r, known(end).published(end), 1)
		// What was deleted changes nothing of what signs and what is published.
		require.Equal(r, all.published(checked), all.published(checked).published(checked))
		now, _ := all.current(checked)
		rest, _ := all.published(checked).current(checked)
		require.Equal(r, now, rest)
	})
}

// A clock that was wrong for a while does not stop anything.
func TestRing_Clock(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	f := func(want string, due bool, keys ...signingKey) {
		t.Helper()
		var r ring
		for _, k := range keys {
			r = r.with(k)
		}
		key, ok := r.current(now)
		require.Equal(t, want != "", ok)
		require.Equal(t, want, key.id)
		require.Equal(t, due, r.due(now, keyLife))
		if ok {
			require.Contains(t, r.published(now), key)
		}
	}
	const day = 24 * time.Hour
	k := func(id string, ago time.Duration) signingKey { return signingKey{id: id, made: now.Add(-ago)} }
	f("", true)
	f(firstKey, false, k(firstKey, 0))
	f(firstKey, false, k(firstKey, -day))    // made by a clock that was ahead
	f(firstKey, true, k(firstKey, -100*day)) // by far
	f(firstKey, true, k(firstKey, 31*day))   // its time
	f(firstKey, false, k(firstKey, 31*day), k("k2", time.Second))
	f("k2", false, k(firstKey, 31*day), k("k2", time.Minute))
	f(firstKey, true, k(firstKey, 31*day), k("k2", -100*day))
	f("k3", false, k(firstKey, 31*day), k("k2", -100*day), k("k3", time.Hour))
	f("k10", false, k("k9", day), k("k10", day))
	f("k2", false, k("k2", 0)) // all that is left
}
