package broker

import (
	"encoding/binary"
	"math/bits"
)

// sieve tells of most keys that are not in a full generation that they are not,
// by two bits a key: a new event is looked for in all generations, and in maps of
// that size each look is a walk through memory. It is wrong about one key in
// seventy, which is then looked for in the map.
type sieve []uint64

// sieveBits is how many bits a key has.
const sieveBits = 16

// newSieve is the sieve of keys.
func newSieve(keys map[key]struct{}) sieve {
	words := max(1, len(keys)*sieveBits/64)
	s := make(sieve, 1<<bits.Len(uint(words-1)))
	for k := range keys {
		a, b := s.places(k)
		s[a/64] |= 1 << (a % 64)
		s[b/64] |= 1 << (b % 64)
	}
	return s
}

// places are the two bits of k. A key is a part of a hash already.
func (s sieve) places(k key) (a, b uint64) {
	last := uint64(len(s))*64 - 1
	return binary.LittleEndian.Uint64(k[:8]) & last, binary.LittleEndian.Uint64(k[8:]) & last
}

// may reports whether k may be among the keys.
func (s sieve) may(k key) bool {
	a, b := s.places(k)
	return s[a/64]>>(a%64)&1 == 1 && s[b/64]>>(b%64)&1 == 1
}
