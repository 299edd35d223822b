package chain

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"iter"
	"math/bits"
	"slices"

	"selvedge.dev/sdk/fault"
)

// Tree is a Merkle tree of RFC 6962 over the hashes of a chain's records, as
// far as more records and the root need it: the roots of its complete subtrees,
// the largest first. The zero value is the empty tree.
type Tree struct {
	// Size is the number of leaves.
	Size uint64
	// Peaks are as many as Size has bits that are set.
	Peaks []Hash
}

// leaf is the hash of a leaf.
func leaf(h Hash) Hash {
	var b [1 + len(h)]byte
	copy(b[1:], h[:])
	return sha256.Sum256(b[:])
}

// node is the hash of two subtrees.
func node(left, right Hash) Hash {
	var b [1 + 2*len(left)]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+len(left):], right[:])
	return sha256.Sum256(b[:])
}

// Append adds the next record's hash.
func (t *Tree) Append(h Hash) {
	h = leaf(h)
	for s := t.Size; s&1 == 1; s >>= 1 {
		h = node(t.Peaks[len(t.Peaks)-1], h)
		t.Peaks = t.Peaks[:len(t.Peaks)-1]
	}
	t.Peaks = append(t.Peaks, h)
	t.Size++
}

// Root is the tree's hash.
func (t *Tree) Root() Hash {
	if len(t.Peaks) == 0 {
		return sha256.Sum256(nil)
	}
	root := t.Peaks[len(t.Peaks)-1]
	for _, p := range slices.Backward(t.Peaks[:len(t.Peaks)-1]) {
		root = node(p, root)
	}
	return root
}

// Clone is a tree of its own.
func (t *Tree) Clone() Tree { return Tree{Size: t.Size, Peaks: slices.Clone(t.Peaks)} }

// Valid reports whether there are as many peaks as the size needs.
func (t *Tree) Valid() bool { return len(t.Peaks) == bits.OnesCount64(t.Size) }

// span is the leaves from from to to, without it.
type span struct{ from, to uint64 }

// split is where a tree over s is divided: at the largest power of two that is
// less than its size.
func (s span) split() uint64 { return s.from + 1<<(bits.Len64(s.to-s.from-1)-1) }

// pathOf are the subtrees whose hashes prove that leaf i is in the tree over s,
// the lowest first (RFC 6962, 2.1.1).
func pathOf(i uint64, s span) []span {
	if s.to-s.from <= 1 {
		return nil
	}
	k := s.split()
	if i < k {
		return append(pathOf(i, span{s.from, k}), span{k, s.to})
	}
	return append(pathOf(i, span{k, s.to}), span{s.from, k})
}

// growthOf are the subtrees whose hashes prove that the tree over s begins with
// the one that ends at old (RFC 6962, 2.1.2). whole says that the old tree is
// s's beginning itself, whose hash is known.
func growthOf(old uint64, s span, whole bool) []span {
	if old == s.to {
		if whole {
			return nil
		}
		return []span{s}
	}
	k := s.split()
	if old <= k {
		return append(growthOf(old, span{s.from, k}, whole), span{k, s.to})
	}
	return append(growthOf(old, span{k, s.to}, false), span{s.from, k})
}

// outside is the error for a number that a chain does not have.
func outside(seq, size uint64) error {
	return &fault.Error{Op: "chain.Prove", Kind: fault.Invalid, Reason: "AUDIT_NO_SUCH_RECORD", Err: fmt.Errorf("%d is not from 1 to %d", seq, size)}
}

// ProveInclusion makes the proof that record seq is in the chain's first size
// records, out of the hashes of all of them.
func ProveInclusion(seq, size uint64, hashes iter.Seq2[Hash, error]) ([]Hash, error) {
	if seq < 1 || seq > size {
		return nil, outside(seq, size)
	}
	return subtrees(pathOf(seq-1, span{0, size}), hashes)
}

// ProveConsistency makes the proof that the chain's first size records begin
// with its first old ones, out of the hashes of all of them.
func ProveConsistency(old, size uint64, hashes iter.Seq2[Hash, error]) ([]Hash, error) {
	if old < 1 || old > size {
		return nil, outside(old, size)
	}
	return subtrees(growthOf(old, span{0, size}, true), hashes)
}

// subtrees computes the hashes of subtrees, in their order, in one pass.
func subtrees(want []span, hashes iter.Seq2[Hash, error]) ([]Hash, error) {
	order := make([]int, len(want))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(want[a].from, want[b].from) })
	found := make([]Hash, len(want))
	var tree Tree
	at := uint64(0)
	for h, err := range hashes {
		if err != nil {
			return nil, err
		}
		if len(order) == 0 {
			break
		}
		s := want[order[0]]
		if at >= s.from {
			tree.Append(h)
		}
		if at++; at == s.to {
			found[order[0]], order, tree = tree.Root(), order[1:], Tree{}
		}
	}
	if len(order) > 0 {
		return nil, outside(want[order[0]].to, at)
	}
	return found, nil
}

// Included reports whether proof shows that the record of number seq and hash h
// is in the tree of that size and root.
func Included(h Hash, seq uint64, head Checkpoint, proof []Hash) bool {
	if seq < 1 || seq > head.Size {
		return false
	}
	i, last, sum := seq-1, head.Size-1, leaf(h)
	for _, p := range proof {
		if last == 0 {
			return false
		}
		if i&1 == 1 || i == last {
			sum = node(p, sum)
			for i&1 == 0 && i != 0 {
				i, last = i>>1, last>>1
			}
		} else {
			sum = node(sum, p)
		}
		i, last = i>>1, last>>1
	}
	return last == 0 && sum == head.Root
}

// Grown reports whether proof shows that the tree of head begins with that of
// old: nothing that old covers was changed since.
func Grown(old, head Checkpoint, proof []Hash) bool {
	switch {
	case old.Size == 0 || old.Size > head.Size:
		return false
	case old.Size == head.Size:
		return len(proof) == 0 && old.Root == head.Root
	}
	if old.Size&(old.Size-1) == 0 {
		proof = append([]Hash{old.Root}, proof...)
	}
	if len(proof) == 0 {
		return false
	}
	i, last := old.Size-1, head.Size-1
	for i&1 == 1 {
		i, last = i>>1, last>>1
	}
	before, after := proof[0], proof[0]
	for _, p := range proof[1:] {
		if last == 0 {
			return false
		}
		if i&1 == 1 || i == last {
			before, after = node(p, before), node(p, after)
			for i&1 == 0 && i != 0 {
				i, last = i>>1, last>>1
			}
		} else {
			after = node(after, p)
		}
		i, last = i>>1, last>>1
	}
	return last == 0 && before == old.Root && after == head.Root
}
