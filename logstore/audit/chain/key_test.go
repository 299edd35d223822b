package chain_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit/chain"
)

// TestKeys_ExtendEndsThePeriod: who has only the first key and is given the next
// one does not believe the first one for what comes later, though his own copy says
// no end.
func TestKeys_ExtendEndsThePeriod(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	private := func(seed string) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed([]byte(strings.Repeat(seed, ed25519.SeedSize)))
	}
	public := func(seed string) ed25519.PublicKey { return private(seed).Public().(ed25519.PublicKey) }
	kept := chain.Keys{chain.NewKey("audit.test", public("a"), from)}
	next := chain.NewKey("audit.test", public("b"), from.Add(time.Hour))
	next.Endorse(private("a"), "audit.test")
	all := kept.Extend(chain.Keys{next})
	require.Len(t, all, 2)
	require.Zero(t, kept[0].Until)
	require.Equal(t, next.From, all[0].Until)
	at := func(seed string, offset time.Duration) *chain.Checkpoint {
		c := &chain.Checkpoint{Origin: "audit.test", Project: "p", Size: 1, Time: from.Add(offset)}
		require.NoError(t, c.Sign(private(seed)))
		return c
	}
	require.NoError(t, all.Check(at("a", time.Minute)))
	require.NoError(t, all.Check(at("b", 2*time.Hour)))
	require.NoError(t, kept.Check(at("a", 2*time.Hour)))
	require.ErrorContains(t, all.Check(at("a", 2*time.Hour)), "was not in use")
	require.Error(t, all.Check(at("b", time.Minute)))
}
