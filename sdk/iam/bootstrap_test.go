package iam

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
)

// works reports whether key proves an administrator to a keyring that was just
// started, so that nothing comes from a cache.
func works(t *testing.T, store Keys, key string) bool {
	t.Helper()
	p, err := NewKeyring(store).Authenticate(t.Context(), "Bearer "+key)
	if err != nil {
		reason(t, err)
		return false
	}
	require.Equal(t, Admin, p.Kind)
	return true
}

// bootstrap starts a keyring and returns the key that was made.
func bootstrap(t *testing.T, store Keys, key string) string {
	t.Helper()
	k := NewKeyring(store)
	k.rounds = 1000 // quick; see TestBootstrap_StretchesWhatPeopleChoose
	got, err := k.Bootstrap(t.Context(), key)
	require.NoError(t, err)
	if key == "" {
		return got
	}
	require.Empty(t, got, "a given key must not be printed")
	p, err := k.Authenticate(t.Context(), "Bearer "+key)
	require.NoError(t, err)
	require.Equal(t, Admin, p.Kind)
	return ""
}

func TestBootstrap_MakesOneKeyOnce(t *testing.T) {
	t.Parallel()
	store := newMemory()
	key := bootstrap(t, store, "")
	require.NotEmpty(t, key)
	require.True(t, works(t, store, key))
	require.Empty(t, bootstrap(t, store, ""))
	require.Len(t, store.records, 1)
}

func TestBootstrap_ExpiredAdministratorDoesNotCount(t *testing.T) {
	t.Parallel()
	store := newMemory()
	key := bootstrap(t, store, "")
	for id, r := range store.records {
		r.ExpireTime = time.Now().Add(-time.Second)
		store.records[id] = r
	}
	again := bootstrap(t, store, "")
	require.True(t, works(t, store, again))
	require.False(t, works(t, store, key))
}

func TestBootstrap_GivenKeyReplacesTheFormer(t *testing.T) {
	t.Parallel()
	store := newMemory()
	const first, second = "correct horse battery", "staple-staple-staple"
	bootstrap(t, store, first)
	before := store.records[bootstrapID]
	require.NotContains(t, before.Hash, first)
	require.True(t, isStretched(before.Hash))
	bootstrap(t, store, first)
	require.Equal(t, before, store.records[bootstrapID], "the same key again changes nothing")
	require.True(t, works(t, store, first))

	bootstrap(t, store, second)
	require.True(t, works(t, store, second))
	require.False(t, works(t, store, first))
	require.Empty(t, bootstrap(t, store, ""), "the given key counts as an administrator")
	require.True(t, works(t, store, second))
	require.Len(t, store.records, 1)
}

// Whoever reads the database has to pay for every guess.
func TestBootstrap_StretchesWhatPeopleChoose(t *testing.T) {
	t.Parallel()
	store := newMemory()
	_, err := NewKeyring(store).Bootstrap(t.Context(), "correct horse battery")
	require.NoError(t, err)
	first := store.records[bootstrapID].Hash
	require.True(t, strings.HasPrefix(first, "pbkdf2-sha256:600000:"), first)
	require.True(t, works(t, store, "correct horse battery"))

	delete(store.records, bootstrapID)
	_, err = NewKeyring(store).Bootstrap(t.Context(), "correct horse battery")
	require.NoError(t, err)
	require.NotEqual(t, first, store.records[bootstrapID].Hash, "the salt is always another")
}

// An operator may give a key of the made form: the one that was printed, which
// then stays, or one of another installation.
func TestBootstrap_GivenKeyOfTheMadeForm(t *testing.T) {
	t.Parallel()
	store := newMemory()
	printed := bootstrap(t, store, "")
	bootstrap(t, store, "correct horse battery")
	require.True(t, works(t, store, printed), "only a given key is replaced")

	bootstrap(t, store, printed)
	require.True(t, works(t, store, printed))
	require.False(t, works(t, store, "correct horse battery"))
	require.Len(t, store.records, 1)

	foreign := formatKey(newKey())
	bootstrap(t, store, foreign)
	bootstrap(t, store, foreign)
	require.Len(t, store.records, 2)
	require.True(t, works(t, store, foreign))
	bootstrap(t, store, formatKey(newKey()))
	require.False(t, works(t, store, foreign))
	require.Len(t, store.records, 2)
}

// A key that is somebody else's cannot become the administrator's.
func TestBootstrap_KeyOfAnother(t *testing.T) {
	t.Parallel()
	k, _, key, _ := made(t, "projects/p")
	_, err := k.Bootstrap(t.Context(), key)
	require.Equal(t, fault.Exists, fault.KindOf(err))
	p, err := k.Authenticate(t.Context(), "Bearer "+key)
	require.NoError(t, err)
	require.Equal(t, Project, p.Kind)
}

func TestBootstrap_ChecksTheKey(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"x", strings.Repeat("x", 15), strings.Repeat("x", 513), " " + strings.Repeat("x", 16), strings.Repeat("x", 16) + "\n", strings.Repeat("ä", 16)} {
		store := newMemory()
		_, err := NewKeyring(store).Bootstrap(t.Context(), key)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.NotContains(t, err.Error(), "xxx")
		require.Empty(t, store.records)
	}
}

func TestBootstrap_StoreDown(t *testing.T) {
	t.Parallel()
	store := newMemory()
	store.err = errStore
	for _, key := range []string{"", strings.Repeat("x", 16)} {
		_, err := NewKeyring(store).Bootstrap(t.Context(), key)
		require.ErrorIs(t, err, errStore)
	}
}

// What is slow about a chosen key, and how slow.
func BenchmarkStretch(b *testing.B) {
	for b.Loop() {
		if _, err := hashChosen("correct horse battery", stretchRounds); err != nil {
			b.Fatal(err)
		}
	}
}
