package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

// The layout of the first block of a segment; doc.go draws it. These constants
// are part of the file format and must not change.
const (
	dataStart     = 4096 // of the first frame: one block, so no frame shares the header's
	sealStart     = 512  // another sector than the header's
	headerSize    = 32
	sealSize      = 32
	formatVersion = 1
	headerMagic   = "SLVJ"
	sealMagic     = "SEAL"
)

// The endings of file names.
const (
	segmentSuffix = ".seg"
	cursorSuffix  = ".cur"
	tempSuffix    = ".tmp"
	headName      = "head"
)

// header identifies a segment.
type header struct {
	sequence uint64 // counts the segments of the journal
	first    Offset
	epoch    uint32 // random, never 0
}

// name is the file name, which repeats the header.
func (h header) name() string {
	return fmt.Sprintf("%016x-%016x-%08x%s", h.sequence, uint64(h.first), h.epoch, segmentSuffix)
}

// parseName is the inverse of header.name.
func parseName(name string) (h header, ok bool) {
	if !strings.HasSuffix(name, segmentSuffix) {
		return h, false
	}
	_, err := fmt.Sscanf(name, "%016x-%016x-%08x"+segmentSuffix, &h.sequence, &h.first, &h.epoch)
	return h, err == nil && h.name() == name
}

// encode renders h for the start of the file.
func (h header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, headerMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint64(b, h.sequence)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.first))
	b = binary.LittleEndian.AppendUint32(b, h.epoch)
	return appendSum(b)
}

// decodeHeader reads what encode wrote. ok is false for a damaged header; an
// intact one of another version is an error, since its segment is not damaged.
func decodeHeader(b []byte) (h header, ok bool, err error) {
	if !summed(b, headerSize) || string(b[:4]) != headerMagic {
		return h, false, nil
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != formatVersion {
		return h, false, fmt.Errorf("format version %d is not %d", v, formatVersion)
	}
	h.sequence = binary.LittleEndian.Uint64(b[8:])
	h.first = Offset(binary.LittleEndian.Uint64(b[16:]))
	h.epoch = binary.LittleEndian.Uint32(b[24:])
	return h, true, nil
}

// seal says what a complete segment holds.
type seal struct {
	epoch uint32
	holed bool   // some of the records are lost: Open must look which
	count uint64 // of offsets
	end   int64  // size of the file
}

// holedFlag is bit 0 of a seal's flags.
const holedFlag = 1

// encode renders s for sealStart.
func (s seal) encode() []byte {
	b := make([]byte, 0, sealSize)
	b = append(b, sealMagic...)
	b = binary.LittleEndian.AppendUint32(b, s.epoch)
	flags := uint32(0)
	if s.holed {
		flags |= holedFlag
	}
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint64(b, s.count)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.end))
	return appendSum(b)
}

// decodeSeal reads what encode wrote for the segment with this epoch.
func decodeSeal(b []byte, epoch uint32) (s seal, ok bool) {
	if !summed(b, sealSize) || string(b[:4]) != sealMagic || binary.LittleEndian.Uint32(b[4:]) != epoch {
		return s, false
	}
	s.epoch = epoch
	s.holed = binary.LittleEndian.Uint32(b[8:])&holedFlag != 0
	s.count = binary.LittleEndian.Uint64(b[12:])
	s.end = int64(binary.LittleEndian.Uint64(b[20:]))
	return s, s.end >= dataStart && s.count <= 1<<32
}

// appendSum closes b with the checksum of all of it.
func appendSum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// summed reports whether the first size bytes of b are there and end with the
// checksum of what is before it.
func summed(b []byte, size int) bool {
	if len(b) < size {
		return false
	}
	return crc32.Checksum(b[:size-4], castagnoli) == binary.LittleEndian.Uint32(b[size-4:])
}
