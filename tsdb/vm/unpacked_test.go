package vm

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding"
	"github.com/stretchr/testify/require"
)

// What is remembered is what was packed, whoever asks for it how often, and takes
// no more memory than it may.
func TestUnpacked_Of(t *testing.T) {
	t.Parallel()
	const kinds, bytesOfEach = 400, 20_000
	u := newUnpacked()
	plain := func(i int) []byte {
		return bytes.Repeat(binary.BigEndian.AppendUint32(nil, uint32(i)), bytesOfEach/4)
	}
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for i := range 2 * kinds {
				got, err := u.of(encoding.CompressZSTDLevel(nil, plain(i%kinds), 1))
				if err != nil || !bytes.Equal(plain(i%kinds), got) {
					t.Errorf("the values %d are others: %v", i%kinds, err)
				}
			}
		})
	}
	asking.Wait()
	held := 0
	for _, all := range []map[uint64]*values{u.young, u.old} {
		for _, v := range all {
			held += len(v.packed) + cap(v.plain)
		}
	}
	require.Positive(t, held)
	require.LessOrEqual(t, held, unpackedBytes+2*2*bytesOfEach)

	_, err := u.of([]byte("not packed"))
	require.Error(t, err)
}
