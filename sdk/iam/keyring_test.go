package iam

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
)

// made is a keyring with a key for a principal.
func made(t testing.TB, name string) (k *Keyring, store *memory, key string, r Record) {
	t.Helper()
	store = newMemory()
	k = NewKeyring(store)
	key, r, err := k.Make(t.Context(), principal(t, name), "", time.Time{})
	require.NoError(t, err)
	return k, store, key, r
}

// A service account has keys of its own kind, a user none.
func TestKeyring_NoKeysOfAccounts(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"users/ada", "projects/p/serviceAccounts/s"} {
		_, _, err := NewKeyring(newMemory()).Make(t.Context(), principal(t, name), "", time.Time{})
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}

func TestKeyring_AuthenticatesWhatItMade(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"admin", "projects/p", "projects/p/devices/d"} {
		k, store, key, r := made(t, name)
		want := principal(t, name)
		want.KeyID = r.ID
		for _, header := range []string{
			"Bearer " + key, "bearer  " + key + " ", "Token " + key,
			"Basic " + base64.StdEncoding.EncodeToString([]byte("anybody:"+key)),
		} {
			got, err := k.Authenticate(t.Context(), header)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		require.Equal(t, 1, store.reads, "the second check must come from the cache")
		require.NotContains(t, fmt.Sprint(store.records), key[keyLen-secretLen:], "a secret was stored")
	}
}

func TestKeyring_RefusesAllElse(t *testing.T) {
	t.Parallel()
	k, _, key, r := made(t, "admin")
	p, err := k.Authenticate(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, Principal{}, p)

	otherID, otherSecret := newKey()
	for _, warm := range []bool{false, true} {
		if warm {
			_, err := k.Authenticate(t.Context(), "Bearer "+key)
			require.NoError(t, err)
		}
		for _, header := range []string{
			"Bearer", "Bearer ", "Basic " + key, key, "Bearer " + strings.Repeat("x", 5000),
			"Bearer " + key[:len(key)-1], "Bearer " + key + "a", "Bearer " + strings.ToUpper(key),
			"Bearer " + formatKey(r.ID, otherSecret), "Bearer " + formatKey(otherID, key[keyLen-secretLen:]),
			"Bearer " + key[:len(key)-1] + "A", "Bearer " + bootstrapID, "Bearer " + r.Hash,
		} {
			_, err := k.Authenticate(t.Context(), header)
			reason(t, err)
			require.NotContains(t, err.Error(), otherSecret)
			require.NotContains(t, err.Error(), key[keyLen-secretLen:keyLen-1])
		}
	}
}

func TestKeyring_RevocationBitesAtOnce(t *testing.T) {
	t.Parallel()
	k, _, key, r := made(t, "projects/p")
	_, err := k.Authenticate(t.Context(), "Bearer "+key)
	require.NoError(t, err)
	require.NoError(t, k.Revoke(t.Context(), r.ID))
	_, err = k.Authenticate(t.Context(), "Bearer "+key)
	require.Equal(t, "UNKNOWN_KEY", reason(t, err))
	require.Equal(t, fault.NotFound, fault.KindOf(k.Revoke(t.Context(), r.ID)))
}

// Requests that race with a revocation may go either way; those that begin
// after it may not.
func TestKeyring_RevocationBitesUnderLoad(t *testing.T) {
	t.Parallel()
	for range 50 {
		k, _, key, r := made(t, "projects/p")
		var callers sync.WaitGroup
		revoked := make(chan struct{})
		for range 4 {
			callers.Go(func() {
				for {
					over := false
					select {
					case <-revoked:
						over = true
					default:
					}
					_, err := k.Authenticate(context.Background(), "Bearer "+key)
					if over {
						if err == nil {
							t.Error("a revoked key was let in")
						}
						return
					}
				}
			})
		}
		require.NoError(t, k.Revoke(t.Context(), r.ID))
		close(revoked)
		callers.Wait()
	}
}

func TestKeyring_RevokeAllOfAPrincipal(t *testing.T) {
	t.Parallel()
	k, store, _, _ := made(t, "projects/p")
	for range 3 {
		_, _, err := k.Make(t.Context(), principal(t, "projects/p/devices/d"), "", time.Time{})
		require.NoError(t, err)
	}
	require.NoError(t, k.RevokeAll(t.Context(), "projects/p/devices/d"))
	require.Len(t, store.records, 1)
	require.NoError(t, k.RevokeAll(t.Context(), "projects/p/devices/d"))
	store.err = errStore
	require.ErrorIs(t, k.RevokeAll(t.Context(), "projects/p"), errStore)
}

func TestKeyring_Expiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := NewKeyring(newMemory())
		_, _, err := k.Make(t.Context(), principal(t, "admin"), "", time.Now())
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		key, _, err := k.Make(t.Context(), principal(t, "admin"), "", time.Now().Add(time.Hour))
		require.NoError(t, err)
		time.Sleep(time.Hour - time.Nanosecond)
		_, err = k.Authenticate(t.Context(), "Bearer "+key)
		require.NoError(t, err)
		time.Sleep(time.Nanosecond)
		for _, again := range []*Keyring{k, NewKeyring(k.keys)} {
			_, err = again.Authenticate(t.Context(), "Bearer "+key)
			require.Equal(t, "KEY_EXPIRED", reason(t, err))
		}
	})
}

func TestKeyring_MakeChecks(t *testing.T) {
	t.Parallel()
	k := NewKeyring(newMemory())
	for _, name := range []string{strings.Repeat("n", 129), "\xff"} {
		_, _, err := k.Make(t.Context(), principal(t, "admin"), name, time.Time{})
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
	_, _, err := k.Make(t.Context(), Principal{}, "", time.Time{})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// A store that does not answer must not look like a wrong key.
func TestKeyring_StoreDown(t *testing.T) {
	t.Parallel()
	k, store, key, _ := made(t, "admin")
	store.err = errStore
	_, err := k.Authenticate(t.Context(), "Bearer "+key)
	require.ErrorIs(t, err, errStore)
	require.Equal(t, fault.Internal, fault.KindOf(err))
	store.err = nil
	_, err = k.Authenticate(t.Context(), "Bearer "+key)
	require.NoError(t, err, "a failure must not be cached")
}

func TestKeyring_DamagedRecordIsNoProof(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{"", "sha256:", "sha256:zz", "md5:00", "pbkdf2-sha256:0::", "pbkdf2-sha256:x:00:" + strings.Repeat("00", 32), strings.Repeat("00", 32)} {
		k, store, key, r := made(t, "admin")
		r.Hash = hash
		store.records[r.ID] = r
		_, err := k.Authenticate(t.Context(), "Bearer "+key)
		require.ErrorIs(t, err, errHash, hash)
		require.Equal(t, fault.Internal, fault.KindOf(err))
	}
	k, store, key, r := made(t, "admin")
	r.Principal = "root"
	store.records[r.ID] = r
	_, err := k.Authenticate(t.Context(), "Bearer "+key)
	require.Equal(t, fault.Internal, fault.KindOf(err))
}

// FuzzSplitKey: nothing but what formatKey makes is a key, and it comes apart
// into the very parts.
func FuzzSplitKey(f *testing.F) {
	id, secret := newKey()
	for _, s := range []string{"", "svk_", formatKey(id, secret), formatKey(secret, id), "svk__", formatKey(id, secret)[:68] + "1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		id, secret, ok := splitKey(key)
		if !ok {
			require.Empty(t, id+secret)
			return
		}
		require.Equal(t, key, formatKey(id, secret))
		require.True(t, ValidKeyID(id))
		require.Equal(t, []int{idLen, secretLen}, []int{len(id), len(secret)})
		require.Empty(t, strings.Trim(id+secret, base32Lower))
	})
}

// FuzzAuthenticate: no header gets in but those with the key.
func FuzzAuthenticate(f *testing.F) {
	k, _, key, _ := made(f, "admin")
	for _, s := range []string{"", "Bearer " + key, "bearer\t" + key, "Bearer Bearer " + key, "Bearer bootstrap", " Bearer " + key} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		p, err := k.Authenticate(t.Context(), header)
		if err == nil && p.Kind != Anonymous {
			require.True(t, strings.HasSuffix(strings.TrimRight(header, " "), " "+key), "%q", header)
			return
		}
		require.Equal(t, header == "", err == nil)
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	k, _, key, _ := made(b, "projects/p/devices/d")
	header := "Bearer " + key
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.Authenticate(b.Context(), header); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
