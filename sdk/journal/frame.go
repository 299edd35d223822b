package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// The layout of a frame; doc.go draws it. These constants are part of the file
// format and must not change.
const (
	frameHeader  = 16
	frameCRC     = 0  // u32, over everything behind it
	frameLength  = 4  // u32, bit 31 is leadBit
	frameEpoch   = 8  // u32
	frameIndex   = 12 // u32
	leadBit      = 1 << 31
	maxFrameData = maxQueuedBytes // no batch is larger, and so no record
)

// castagnoli is the polynomial that processors compute in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is one record as it lies in a segment.
type frame struct {
	index uint32 // offset − first of the segment
	lead  bool   // first of its commit group
	size  int    // with the header
	data  []byte // aliases what was parsed
}

// verdict is what parsing a frame came to.
type verdict uint8

// The verdicts.
const (
	intact  verdict = iota
	short           // plausible, but more bytes are needed: frame.size says how many
	damaged         // not a frame of this segment, or changed since it was written
)

// codec writes and reads the frames of one segment.
type codec struct {
	epoch     uint32
	seed      uint32 // of every checksum: what is known without being stored
	unchecked bool   // see Options.unchecked
}

// newCodec is the codec of the segment that begins with offset first.
func newCodec(first Offset, epoch uint32, unchecked bool) codec {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(first))
	return codec{epoch: epoch, seed: crc32.Checksum(b[:], castagnoli), unchecked: unchecked}
}

// append adds the frame of data to dst.
func (c *codec) append(dst []byte, index uint32, lead bool, data []byte) []byte {
	length := uint32(len(data))
	if lead {
		length |= leadBit
	}
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, length)
	dst = binary.LittleEndian.AppendUint32(dst, c.epoch)
	dst = binary.LittleEndian.AppendUint32(dst, index)
	dst = append(dst, data...)
	sum := crc32.Update(c.seed, castagnoli, dst[at+frameLength:])
	binary.LittleEndian.PutUint32(dst[at:], sum)
	return dst
}

// parse reads the frame at the start of b.
func (c *codec) parse(b []byte) (frame, verdict) {
	if len(b) < frameHeader {
		return frame{size: frameHeader}, short
	}
	length := binary.LittleEndian.Uint32(b[frameLength:])
	if binary.LittleEndian.Uint32(b[frameEpoch:]) != c.epoch || length&^leadBit > maxFrameData {
		return frame{}, damaged
	}
	f := frame{
		index: binary.LittleEndian.Uint32(b[frameIndex:]),
		lead:  length&leadBit != 0,
		size:  frameHeader + int(length&^leadBit),
	}
	if len(b) < f.size {
		return f, short
	}
	f.data = b[frameHeader:f.size:f.size]
	sum := crc32.Update(c.seed, castagnoli, b[frameLength:f.size])
	if sum != binary.LittleEndian.Uint32(b) && !c.unchecked {
		return f, damaged
	}
	return f, intact
}
