package feed

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
		var keys Ring
		at := start
		ids := []string{FirstKey, "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11"}
		for _, id := range ids[:rapid.IntRange(1, len(ids)).Draw(r, "keys")] {
			keys = append(keys, SigningKey{ID: id, Made: at})
			at = at.Add(minutes(200, "until the next"))
		}
		known := func(now time.Time) Ring {
			var out Ring
			for _, k := range slices.Backward(keys) {
				if !k.Made.After(now) {
					out = out.With(k)
				}
			}
			return out
		}
		signed := start.Add(minutes(1000, "signed"))
		late := min(minutes(5, "late"), signed.Sub(start))
		key, ok := known(signed.Add(-late)).Current(signed)
		require.True(r, ok)
		checked := signed.Add(minutes(int(TokenLife/time.Minute)-1, "checked"))
		all := known(checked)
		require.True(r, slices.ContainsFunc(all.Published(checked), func(k SigningKey) bool { return k.ID == key.ID }), "its key is gone")
		require.True(r, key.ID == FirstKey || signed.Sub(key.Made) >= Announced, "nobody knew the key")
		require.Equal(r, all[len(all)-1].ID, all.Published(checked)[len(all.Published(checked))-1].ID)
		end := at.Add(TokenLife + grace + Announced)
		require.Len(r, known(end).Published(end), 1)
		// What was deleted changes nothing of what signs and what is published.
		require.Equal(r, all.Published(checked), all.Published(checked).Published(checked))
		now, _ := all.Current(checked)
		rest, _ := all.Published(checked).Current(checked)
		require.Equal(r, now, rest)
	})
}

// A clock that was wrong for a while does not stop anything.
func TestRing_Clock(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	f := func(want string, due bool, keys ...SigningKey) {
		t.Helper()
		var r Ring
		for _, k := range keys {
			r = r.With(k)
		}
		key, ok := r.Current(now)
		require.Equal(t, want != "", ok)
		require.Equal(t, want, key.ID)
		require.Equal(t, due, r.Due(now, 30*24*time.Hour))
		if ok {
			require.Contains(t, r.Published(now), key)
		}
	}
	const day = 24 * time.Hour
	k := func(id string, ago time.Duration) SigningKey { return SigningKey{ID: id, Made: now.Add(-ago)} }
	f("", true)
	f(FirstKey, false, k(FirstKey, 0))
	f(FirstKey, false, k(FirstKey, -day))    // made by a clock that was ahead
	f(FirstKey, true, k(FirstKey, -100*day)) // by far
	f(FirstKey, true, k(FirstKey, 31*day))   // its time
	f(FirstKey, false, k(FirstKey, 31*day), k("k2", time.Second))
	f("k2", false, k(FirstKey, 31*day), k("k2", time.Minute))
	f(FirstKey, true, k(FirstKey, 31*day), k("k2", -100*day))
	f("k3", false, k(FirstKey, 31*day), k("k2", -100*day), k("k3", time.Hour))
	f("k10", false, k("k9", day), k("k10", day))
	f("k2", false, k("k2", 0)) // all that is left
}
