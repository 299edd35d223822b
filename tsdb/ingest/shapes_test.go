package ingest

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// key is the shape key of the i-th device.
func key(i int) shapeKey { return shapeKey{project: "p", device: strconv.Itoa(i), eventType: "t"} }

// held is how many shapes and series m holds in both generations.
func held(m *shapes) int {
	n := 0
	for _, generation := range []map[shapeKey]*shape{m.young, m.old} {
		for _, sh := range generation {
			n += sh.weight
		}
	}
	return n
}

func TestShapes_KeepsWhatIsInUse(t *testing.T) {
	t.Parallel()
	m := shapes{bound: 100}
	favourite := m.shape(key(-1))
	for i := range 10_000 {
		m.grew(m.shape(key(i)))
		require.Same(t, favourite, m.shape(key(-1)))
		require.LessOrEqual(t, held(&m), 2*m.bound)
	}
}

func TestShapes_ForgetsWhatIsNot(t *testing.T) {
	t.Parallel()
	m := shapes{bound: 100}
	first := m.shape(key(0))
	for i := range 2 * m.bound {
		m.shape(key(i + 1))
	}
	require.NotSame(t, first, m.shape(key(0)))
}

func TestShape_ForgetsMadeUpFields(t *testing.T) {
	t.Parallel()
	sh := newShape(key(0))
	for i := range maxShape + 1 {
		sh.begin()
		require.Len(t, sh.known, i)
		sh.known[strconv.Itoa(i)] = &known{}
		sh.mu.Unlock()
	}
	sh.begin()
	require.Empty(t, sh.known)
}
