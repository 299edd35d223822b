package audit

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"

	"selvedge.dev/logstore/audit/chain"
)

// The names of files.
const (
	segmentSuffix   = ".chain"
	temporarySuffix = ".tmp"
	damagedSuffix   = ".damaged"
)

// segmentName is the name of the file with the project's records from first on.
func segmentName(project string, first uint64) string {
	return strings.ReplaceAll(project, "/", "+") + "-" + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, first)) + segmentSuffix
}

// parseSegment is the inverse of segmentName.
func parseSegment(name string) (project string, first uint64, ok bool) {
	stem, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(stem) < 18 {
		return "", 0, false
	}
	at := len(stem) - 17
	raw, err := hex.DecodeString(stem[at+1:])
	if err != nil {
		return "", 0, false
	}
	project, first = strings.ReplaceAll(stem[:at], "+", "/"), binary.BigEndian.Uint64(raw)
	return project, first, first > 0 && segmentName(project, first) == name
}

// isTemporary reports whether a file is one that was not finished.
func isTemporary(name string) bool { return strings.HasSuffix(name, temporarySuffix) }

// header is the beginning of a segment: the state of the chain before its first
// record.
//
//	| "SLVA" | version u32 | epoch u32 | length u32 | crc u32 | project | tree's size u64 | peaks 32 each | prev 32 | latest i64 | note |
//
// with the length of what follows it and a CRC-32C of that, seeded with the
// epoch. The note is the checkpoint of the records before, "" if there are none.
type header struct {
	project string
	epoch   uint32
	tree    chain.Tree
	prev    chain.Hash
	latest  int64 // the latest time of a record before, 0 if there are none
	note    string
}

// The constants of a header.
const (
	magic         = "SLVA"
	formatVersion = 1
	headerStart   = 20
	maxHeader     = 64 << 10
)

// errHeader is a segment that does not begin as one.
var errHeader = errors.New("the file does not begin as a segment does")

// encode is the header in bytes.
func (h *header) encode() []byte {
	b := appendString(nil, h.project)
	b = binary.LittleEndian.AppendUint64(b, h.tree.Size)
	for _, p := range h.tree.Peaks {
		b = append(b, p[:]...)
	}
	b = append(b, h.prev[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.latest))
	b = appendString(b, h.note)
	out := append([]byte(magic), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(out[4:], formatVersion)
	out = binary.LittleEndian.AppendUint32(out, h.epoch)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(b)))
	out = binary.LittleEndian.AppendUint32(out, checksum(h.epoch, b))
	return append(out, b...)
}

// readHeader reads the header of a file of that size, and where it ends.
func readHeader(file io.ReaderAt, size int64) (h header, end int64, err error) {
	start := make([]byte, headerStart)
	if size < headerStart {
		return h, 0, errHeader
	}
	if _, err := file.ReadAt(start, 0); err != nil {
		return h, 0, err
	}
	h.epoch = binary.LittleEndian.Uint32(start[8:])
	n := int64(binary.LittleEndian.Uint32(start[12:]))
	if string(start[:4]) != magic || binary.LittleEndian.Uint32(start[4:]) != formatVersion || n > maxHeader || headerStart+n > size {
		return h, 0, errHeader
	}
	b := make([]byte, n)
	if _, err := file.ReadAt(b, headerStart); err != nil {
		return h, 0, err
	}
	if checksum(h.epoch, b) != binary.LittleEndian.Uint32(start[16:]) {
		return h, 0, errHeader
	}
	var ok bool
	if h.project, b, ok = cutString(b); !ok || len(b) < 8 {
		return h, 0, errHeader
	}
	h.tree.Size = binary.LittleEndian.Uint64(b)
	b = b[8:]
	for !h.tree.Valid() {
		if len(b) < len(h.prev)+8 || len(h.tree.Peaks) > 64 {
			return h, 0, errHeader
		}
		h.tree.Peaks = append(h.tree.Peaks, chain.Hash(b[:32]))
		b = b[32:]
	}
	if len(b) < len(h.prev)+8 {
		return h, 0, errHeader
	}
	copy(h.prev[:], b)
	h.latest = int64(binary.LittleEndian.Uint64(b[32:]))
	if h.note, _, ok = cutString(b[40:]); !ok {
		return h, 0, errHeader
	}
	return h, headerStart + n, nil
}

// start is the header as readers of chains see it.
func (h *header) start() (*chain.Start, error) {
	s := &chain.Start{Project: h.project, Tree: h.tree.Clone(), Prev: h.prev}
	if h.note == "" {
		return s, nil
	}
	c, err := chain.ParseNote(h.note)
	s.Checkpoint = &c
	return s, err
}

// segmentOf is the index of the segment that record seq is in.
func segmentOf(firsts []uint64, seq uint64) int {
	i, found := slices.BinarySearch(firsts, seq)
	if !found {
		i--
	}
	return max(i, 0)
}
