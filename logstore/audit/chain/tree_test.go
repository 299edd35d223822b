package chain_test

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/logstore/audit/chain"
)

// hashes are n leaves.
func hashes(n int) []chain.Hash {
	all := make([]chain.Hash, n)
	for i := range all {
		all[i] = sha256.Sum256([]byte{byte(i), byte(i >> 8)})
	}
	return all
}

// each gives hashes as ProveInclusion wants them.
func each(all []chain.Hash) iter.Seq2[chain.Hash, error] {
	return func(yield func(chain.Hash, error) bool) {
		for _, h := range all {
			if !yield(h, nil) {
				return
			}
		}
	}
}

// naive is RFC 6962's definition of the tree's hash, word by word.
func naive(all []chain.Hash) chain.Hash {
	switch n := len(all); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, all[0][:]...))
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		left, right := naive(all[:k]), naive(all[k:])
		return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
	}
}

// headOf is a checkpoint of the first n.
func headOf(all []chain.Hash, n int) chain.Checkpoint {
	return chain.Checkpoint{Size: uint64(n), Root: naive(all[:n])}
}

func TestTree_RootIsTheDefinition(t *testing.T) {
	t.Parallel()
	var tree chain.Tree
	empty := tree.Root()
	require.Equal(t, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", hex.EncodeToString(empty[:]))
	all := hashes(130)
	for i, h := range all {
		tree.Append(h)
		require.True(t, tree.Valid())
		require.Equal(t, naive(all[:i+1]), tree.Root(), "%d", i+1)
	}
}

func TestProofs_AllOfSmallTrees(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 33; n++ {
		all := hashes(n)
		head := headOf(all, n)
		for seq := uint64(1); seq <= uint64(n); seq++ {
			proof, err := chain.ProveInclusion(seq, uint64(n), each(all))
			require.NoError(t, err)
			require.True(t, chain.Included(all[seq-1], seq, head, proof), "%d of %d", seq, n)
			require.False(t, chain.Included(all[seq-1], seq+1, head, proof))
			require.False(t, chain.Included(chain.Hash{}, seq, head, proof))

			proof, err = chain.ProveConsistency(seq, uint64(n), each(all))
			require.NoError(t, err)
			old := headOf(all, int(seq))
			require.True(t, chain.Grown(old, head, proof), "%d to %d", seq, n)
			old.Root[3] ^= 1
			require.False(t, chain.Grown(old, head, proof))
		}
	}
	_, err := chain.ProveInclusion(5, 4, each(hashes(4)))
	require.Error(t, err)
	_, err = chain.ProveInclusion(2, 9, each(hashes(4)))
	require.Error(t, err, "fewer than there should be")
	_, err = chain.ProveConsistency(0, 4, each(hashes(4)))
	require.Error(t, err)
}

// TestProofs_Bent changes proofs: none of them is believed any more.
func TestProofs_Bent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 300).Draw(t, "size")
		seq := rapid.IntRange(1, n).Draw(t, "seq")
		all := hashes(n)
		bend := func(proof []chain.Hash) []chain.Hash {
			proof = slices.Clone(proof)
			if len(proof) == 0 {
				return append(proof, chain.Hash{})
			}
			at := rapid.IntRange(0, len(proof)-1).Draw(t, "at")
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				proof[at][rapid.IntRange(0, 31).Draw(t, "byte")] ^= 0x10
			case 1:
				proof = slices.Delete(proof, at, at+1)
			default:
				proof = slices.Insert(proof, at, chain.Hash{9})
			}
			return proof
		}
		proof, err := chain.ProveInclusion(uint64(seq), uint64(n), each(all))
		require.NoError(t, err)
		require.False(t, chain.Included(all[seq-1], uint64(seq), headOf(all, n), bend(proof)))
		proof, err = chain.ProveConsistency(uint64(seq), uint64(n), each(all))
		require.NoError(t, err)
		require.False(t, chain.Grown(headOf(all, seq), headOf(all, n), bend(proof)))
	})
}
