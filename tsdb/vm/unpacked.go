package vm

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"sync"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding"
)

// unpacked remembers what the values of blocks were before they were packed, by
// the packed ones. Of a short question, unpacking all of a block for the few points
// in it that are wanted is a tenth of the work, and the next question is about the
// same blocks mostly.
type unpacked struct {
	seed maphash.Seed

	mu sync.Mutex
	// young are those that were used since the last time that there were too many,
	// old those of the time before, and bytes is what the young ones take.
	young, old map[uint64]*values
	bytes      int
}

const (
	// unpackedBytes bounds what is remembered, young and old together: the last
	// blocks of some 200 series.
	unpackedBytes = 2 << 20
	// unpackedBlocks is how many blocks a query may read at most for that they are
	// remembered.
	unpackedBlocks = 32
)

// values are those of a block in both forms, which do not change.
type values struct{ packed, plain []byte }

// newUnpacked remembers nothing yet.
func newUnpacked() *unpacked { return &unpacked{seed: maphash.MakeSeed()} }

// of is what was packed, which is not to be changed.
func (u *unpacked) of(packed []byte) ([]byte, error) {
	key := maphash.Bytes(u.seed, packed)
	if known := u.get(key); known != nil && bytes.Equal(known.packed, packed) {
		return known.plain, nil
	}
	plain, err := encoding.DecompressZSTD(nil, packed)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keep(key, &values{bytes.Clone(packed), plain})
	return plain, nil
}

// get is what is remembered, nil for nothing.
func (u *unpacked) get(key uint64) *values {
	u.mu.Lock()
	defer u.mu.Unlock()
	if v := u.young[key]; v != nil {
		return v
	}
	v := u.old[key]
	if v != nil {
		u.keep(key, v)
	}
	return v
}

// keep makes values young ones. mu is held.
func (u *unpacked) keep(key uint64, v *values) {
	if u.young == nil || u.bytes > unpackedBytes/2 {
		u.old, u.young, u.bytes = u.young, map[uint64]*values{}, 0
	}
	if was := u.young[key]; was != nil {
		u.bytes -= len(was.packed) + cap(was.plain)
	}
	u.young[key] = v
	u.bytes += len(v.packed) + cap(v.plain)
}
