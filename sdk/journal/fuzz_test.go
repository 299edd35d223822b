package journal

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzFrame checks that a parsed frame is what append makes of its contents,
// and that no other bytes are a frame.
func FuzzFrame(f *testing.F) {
	c := newCodec(7, 0x12345678, false)
	f.Add(c.append(nil, 3, true, []byte("hello")))
	f.Add(c.append(c.append(nil, 0, false, nil), 1, true, nil))
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, v := c.parse(b)
		switch v {
		case intact:
			require.Equal(t, b[:fr.size], c.append(nil, fr.index, fr.lead, fr.data))
		case short:
			require.Greater(t, fr.size, len(b))
		}
	})
}

// FuzzSlot checks that decoding a slot inverts encoding and takes nothing else.
func FuzzSlot(f *testing.F) {
	f.Add(encodeSlot(1, mark{position: 2, lost: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if sequence, m, ok := decodeSlot(b); ok {
			require.Equal(t, b[:slotSize], encodeSlot(sequence, m))
		}
	})
}

// FuzzCursorFile checks that every name has a file name of its own that leads
// back to it.
func FuzzCursorFile(f *testing.F) {
	for _, name := range []string{"a", "projects/p/triggers/t", "ü", "%", "%41", "..", "a.cur"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if back, ok := cursorName(cursorFile(name)); ok || name != "" {
			require.True(t, ok)
			require.Equal(t, name, back)
		}
		if back, ok := cursorName(name); ok {
			require.Equal(t, name, cursorFile(back))
		}
	})
}
