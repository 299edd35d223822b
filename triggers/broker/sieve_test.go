package broker

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A sieve knows every key of its own and few others, however many there are.
func TestSieve(t *testing.T) {
	t.Parallel()
	keyOf := func(n int) key { sum := sha256.Sum256(fmt.Append(nil, n)); return key(sum[:len(key{})]) }
	for _, size := range []int{0, 1, 3, 4, 100, 65_536} {
		keys := map[key]struct{}{}
		for n := range size {
			keys[keyOf(n)] = struct{}{}
		}
		s := newSieve(keys)
		for k := range keys {
			require.True(t, s.may(k))
		}
		wrong := 0
		for n := range 10_000 {
			if s.may(keyOf(-1 - n)) {
				wrong++
			}
		}
		require.Less(t, wrong, 300, "%d keys", size)
	}
}
